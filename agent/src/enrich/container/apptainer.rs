//! Apptainer and Singularity start a container as a plain child of the shell, without a control group of its own. What shows it is a mount
//! namespace that is not the host's and the variables that its start-up sets inside. The variables are the process's claim; the namespace is not.

use std::path::Path;

use picket_event::Container;

use super::files::clean;

/// Knows the host's mount namespace.
pub(crate) struct Apptainer {
    host_mnt_ns: u32,
}

impl Apptainer {
    /// Of this host.
    pub(crate) fn host() -> Self {
        Self { host_mnt_ns: mnt_ns(Path::new("/proc/1/ns/mnt")) }
    }

    /// The container of a process with these variables in this mount namespace.
    pub(crate) fn container(&self, environment: &[(String, String)], mnt_ns: u32) -> Option<Container> {
        if mnt_ns == 0 || self.host_mnt_ns == 0 || mnt_ns == self.host_mnt_ns {
            return None;
        }
        let variable = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| clean(value)).filter(|value| !value.is_empty());
        // Apptainer sets the old names as well, for what was built for Singularity.
        let (runtime, image, name) = match (variable("APPTAINER_CONTAINER"), variable("SINGULARITY_CONTAINER")) {
            (Some(image), _) => ("apptainer", image, variable("APPTAINER_NAME")),
            (None, Some(image)) => ("singularity", image, variable("SINGULARITY_NAME")),
            (None, None) => return None,
        };
        let name = name.unwrap_or_else(|| image.rsplit('/').next().unwrap_or_default().to_owned());
        Some(Container { uid: format!("mnt-{mnt_ns}"), name, image, runtime: runtime.to_owned(), ..Container::default() })
    }
}

/// `mnt:[4026531841]`
fn mnt_ns(link: &Path) -> u32 {
    let target = std::fs::read_link(link).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default();
    target.strip_prefix("mnt:[").and_then(|rest| rest.strip_suffix(']')).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_and_the_variables_together() {
        let apptainer = Apptainer { host_mnt_ns: 10 };
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        let both = pairs(&[("APPTAINER_CONTAINER", "/img/torch.sif"), ("APPTAINER_NAME", "torch.sif"), ("SINGULARITY_CONTAINER", "/img/torch.sif")]);
        let found = apptainer.container(&both, 11).unwrap();
        assert_eq!([found.runtime.as_str(), &found.image, &found.name, &found.uid], ["apptainer", "/img/torch.sif", "torch.sif", "mnt-11"]);
        assert_eq!(apptainer.container(&both, 10), None, "a variable alone, on the host");
        assert_eq!(apptainer.container(&both, 0), None, "a namespace that nobody told");
        assert_eq!(apptainer.container(&[], 11), None, "another kind of sandbox");
        let old = apptainer.container(&pairs(&[("SINGULARITY_CONTAINER", "/img/old.simg")]), 12).unwrap();
        assert_eq!([old.runtime.as_str(), &old.name], ["singularity", "old.simg"]);
    }

    #[test]
    fn this_host_s_namespace_is_known() {
        if std::fs::read_link("/proc/1/ns/mnt").is_err() {
            eprintln!("SKIPPED this_host_s_namespace_is_known: /proc/1/ns cannot be read without privileges");
            return;
        }
        assert_ne!(Apptainer::host().host_mnt_ns, 0);
    }
}
