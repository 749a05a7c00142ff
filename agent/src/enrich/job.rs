//! The training or batch job a process belongs to: docs/context.md has the same tables for people.

use picket_event::Job;

/// What a job id may take in an event.
const ID_CHARS_MAX: usize = 256;

/// A scheduler or launcher that names its job in the environment.
struct Launcher {
    scheduler: &'static str,
    /// The first that is set names the job.
    id: &'static [&'static str],
    /// The first that is set names the step or task within it.
    step: &'static [&'static str],
}

/// In the order of precedence: who allocated the nodes, then who started the ranks, then who records the run.
const LAUNCHERS: [Launcher; 9] = [
    Launcher { scheduler: "slurm", id: &["SLURM_JOB_ID", "SLURM_JOBID"], step: &["SLURM_STEP_ID", "SLURM_STEPID"] },
    Launcher { scheduler: "pbs", id: &["PBS_JOBID"], step: &["PBS_TASKNUM"] },
    Launcher { scheduler: "lsf", id: &["LSB_JOBID"], step: &["LSB_JOBINDEX"] },
    Launcher { scheduler: "flux", id: &["FLUX_JOB_ID"], step: &[] },
    Launcher { scheduler: "ray", id: &["RAY_JOB_ID"], step: &[] },
    // torchrun names an unnamed run "none"; a rank and a world size alone come from other launchers too.
    Launcher { scheduler: "torchrun", id: &["TORCHELASTIC_RUN_ID"], step: &[] },
    Launcher { scheduler: "mpi", id: &["PMIX_NAMESPACE", "PMI_JOBID"], step: &[] },
    Launcher { scheduler: "mlflow", id: &["MLFLOW_RUN_ID"], step: &[] },
    Launcher { scheduler: "wandb", id: &["WANDB_RUN_ID"], step: &[] },
];

/// The rank, from the innermost launcher outwards: under Slurm, torchrun starts several ranks in one Slurm task.
const RANKS: [&str; 8] =
    ["RANK", "HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID", "JOB_COMPLETION_INDEX"];

/// The job of a process, by its selected environment and its control groups. The environment is the process owner's to write: it says what
/// the process claims. Slurm's control groups are root's and win over it; a pod is named only where nothing in it names a job.
pub(crate) fn job_of(environment: &[(String, String)], cgroups: &str) -> Option<Job> {
    let variable = |name: &&str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
    let rank = RANKS.iter().filter_map(variable).find_map(|rank| rank.parse().ok());
    let cut = |text: &str| text.chars().filter(|char| !char.is_control()).take(ID_CHARS_MAX).collect::<String>();
    let job = |scheduler: &str, uid: &str, step: &str| Job { scheduler: scheduler.to_owned(), uid: cut(uid), step: cut(step), rank };
    if let Some((id, step)) = slurm_cgroup(cgroups) {
        return Some(job("slurm", id, step));
    }
    for launcher in &LAUNCHERS {
        if let Some(id) = launcher.id.iter().find_map(variable) {
            return Some(job(launcher.scheduler, id, launcher.step.iter().find_map(variable).unwrap_or_default()));
        }
    }
    super::container::pod_uid(cgroups).map(|pod| job("kubernetes", &pod, ""))
}

/// Only what root's control groups say.
pub(crate) fn job_of_cgroup(cgroups: &str) -> Option<Job> {
    job_of(&[], cgroups)
}

/// `/slurm/uid_1000/job_12/step_0/…`, `/slurm_NODE/uid_1000/…` (v1) or `/system.slice/slurmstepd.scope/job_12/step_0/…`,
/// `/system.slice/NODE_slurmstepd.scope/…` (v2). Anywhere else a user or a container could have named the group so.
fn slurm_cgroup(cgroups: &str) -> Option<(&str, &str)> {
    cgroups.lines().filter_map(super::container::root_path).find_map(|path| {
        let path = path.trim_start_matches('/');
        let (first, rest) = path.strip_prefix("system.slice/").unwrap_or(path).split_once('/')?;
        let slurm = first == "slurm" || first.starts_with("slurm_") || first == "slurmstepd.scope" || first.ends_with("_slurmstepd.scope");
        let part = |prefix: &str| rest.split('/').take(3).find_map(|part| part.strip_prefix(prefix));
        let id = part("job_").filter(|id| slurm && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some((id, part("step_").unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(pairs: &[(&str, &str)], cgroups: &str) -> Option<(String, String, String, Option<u32>)> {
        job_of(&environment(pairs), cgroups).map(|job| (job.scheduler, job.uid, job.step, job.rank))
    }

    fn is(scheduler: &str, uid: &str, step: &str, rank: Option<u32>) -> Option<(String, String, String, Option<u32>)> {
        Some((scheduler.to_owned(), uid.to_owned(), step.to_owned(), rank))
    }

    #[test]
    fn jobs_are_found_where_the_host_shows_them() {
        assert_eq!(found(&[], "0::/user.slice"), None);
        assert_eq!(found(&[("SLURM_JOB_ID", "12"), ("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "3")], ""), is("slurm", "12", "0", Some(3)));
        assert_eq!(found(&[("SLURM_JOB_ID", "99")], "0::/system.slice/slurmstepd.scope/job_12/step_1/user/task_0"), is("slurm", "12", "1", None));
        assert_eq!(found(&[], "0::/system.slice/n1_slurmstepd.scope/job_12/step_1/user/task_0"), is("slurm", "12", "1", None));
        assert_eq!(found(&[], "4:memory:/slurm/uid_1000/job_7/step_batch/task_0"), is("slurm", "7", "batch", None));
        assert_eq!(found(&[("PBS_JOBID", "7.head"), ("PBS_TASKNUM", "2")], ""), is("pbs", "7.head", "2", None));
        assert_eq!(found(&[("LSB_JOBID", "8")], ""), is("lsf", "8", "", None));
        assert_eq!(found(&[("FLUX_JOB_ID", "ƒ3")], ""), is("flux", "ƒ3", "", None));
        assert_eq!(found(&[("RAY_JOB_ID", "01000000"), ("MLFLOW_RUN_ID", "x")], ""), is("ray", "01000000", "", None));
        assert_eq!(found(&[("TORCHELASTIC_RUN_ID", "none"), ("RANK", "1")], ""), is("torchrun", "none", "", Some(1)));
        assert_eq!(found(&[("PMIX_NAMESPACE", "prterun-1@1"), ("PMIX_RANK", "4")], ""), is("mpi", "prterun-1@1", "", Some(4)));
        assert_eq!(found(&[("MLFLOW_RUN_ID", "m"), ("WANDB_RUN_ID", "w")], ""), is("mlflow", "m", "", None));
        assert_eq!(found(&[("WANDB_RUN_ID", "w")], ""), is("wandb", "w", "", None));
        assert_eq!(found(&[("RANK", "1"), ("WORLD_SIZE", "2")], ""), None, "a launcher that names no job");
        let pod = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-aa.scope";
        assert_eq!(found(&[("JOB_COMPLETION_INDEX", "2")], pod), is("kubernetes", "0a1b2c3d-1111-2222-3333-444455556666", "", Some(2)));
        assert_eq!(found(&[("TORCHELASTIC_RUN_ID", "t")], pod), is("torchrun", "t", "", None), "the pod stands in the container");
    }

    #[test]
    fn the_innermost_launcher_numbers_the_ranks() {
        assert_eq!(found(&[("SLURM_JOB_ID", "1"), ("SLURM_PROCID", "0"), ("RANK", "5")], ""), is("slurm", "1", "", Some(5)));
        assert_eq!(found(&[("SLURM_JOB_ID", "1"), ("SLURM_PROCID", "0"), ("RANK", "x")], ""), is("slurm", "1", "", Some(0)), "a rank that is no number");
    }

    #[test]
    fn a_group_that_a_user_or_a_container_named_is_no_job() {
        for path in [
            "0::/user.slice/user-1000.slice/user@1000.service/slurm/uid_0/job_7/step_0",
            "0::/user.slice/user-1000.slice/user@1000.service/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice",
            "0::/system.slice/docker-aa.scope/slurm/uid_0/job_7/step_0",
            "0::/system.slice/slurmstepd.scope/system",
            "0::/system.slice/slurmstepd.scope/job_x/step_0",
        ] {
            assert_eq!(found(&[], path), None, "{path}");
        }
    }

    #[test]
    fn every_variable_of_the_tables_is_read_by_default() {
        let read = picket_ebpf::DEFAULT_ENVIRONMENT;
        let used = LAUNCHERS.iter().flat_map(|launcher| launcher.id.iter().chain(launcher.step)).chain(&RANKS);
        let missing: Vec<_> = used.filter(|name| !read.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_variable_of_the_tables_is_documented() {
        let document = include_str!("../../../docs/context.md");
        let used = LAUNCHERS.iter().flat_map(|launcher| launcher.id.iter().chain(launcher.step)).chain(&RANKS);
        let missing: Vec<_> = used.filter(|name| !document.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
