//! What the running kernel offers.

/// What the running kernel offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSupport {
    /// `/sys/kernel/btf/vmlinux` is there.
    pub btf: bool,
    /// Active security modules; empty where securityfs is not mounted.
    pub lsms: Vec<String>,
    /// `uname -r`.
    pub release: String,
}

pub(crate) fn kernel_support() -> KernelSupport {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    KernelSupport {
        btf: std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
        lsms: text("/sys/kernel/security/lsm").trim().split(',').filter(|name| !name.is_empty()).map(String::from).collect(),
        release: text("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}
