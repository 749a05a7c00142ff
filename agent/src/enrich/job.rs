use picket_event::Job;

/// The job a process belongs to, by its selected environment and its control groups. The environment is the process owner's to write:
/// it says what the process claims; the Slurm and Kubernetes control groups are root's and win.
pub(crate) fn job_of(environment: &[(String, String)], cgroups: &str) -> Option<Job> {
    let variable = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
    let rank = || ["SLURM_PROCID", "RANK", "OMPI_COMM_WORLD_RANK"].into_iter().find_map(variable).and_then(|rank| rank.parse().ok());
    let job = |scheduler: &str, uid: &str, step: &str| Some(Job { scheduler: scheduler.to_owned(), uid: uid.to_owned(), step: step.to_owned(), rank: rank() });
    if let Some((id, step)) = slurm_cgroup(cgroups) {
        return job("slurm", id, step);
    }
    if let Some(id) = variable("SLURM_JOB_ID") {
        return job("slurm", id, variable("SLURM_STEP_ID").unwrap_or_default());
    }
    if let Some(id) = variable("PBS_JOBID") {
        return job("pbs", id, "");
    }
    if let Some(id) = variable("RAY_JOB_ID") {
        return job("ray", id, "");
    }
    // torchrun names an unnamed run "none"; a rank and a world size alone come from other launchers too.
    if let Some(id) = variable("TORCHELASTIC_RUN_ID") {
        return job("torchrun", id, "");
    }
    if let Some(id) = variable("MLFLOW_RUN_ID") {
        return job("mlflow", id, "");
    }
    if let Some(id) = variable("WANDB_RUN_ID") {
        return job("wandb", id, "");
    }
    super::container::pod_uid(cgroups).and_then(|pod| job("kubernetes", &pod, ""))
}

/// `…/slurm/uid_1000/job_12/step_0/…` (v1) or `…/slurmstepd.scope/job_12/step_0/…` (v2).
fn slurm_cgroup(cgroups: &str) -> Option<(&str, &str)> {
    let line = cgroups.lines().find(|line| line.contains("slurm") && line.contains("/job_"))?;
    let part = |prefix: &str| line.split('/').find_map(|part| part.strip_prefix(prefix));
    let id = part("job_").filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((id, part("step_").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn jobs_are_found_where_the_host_shows_them() {
        let found = |pairs: &[(&str, &str)], cgroups: &str| job_of(&environment(pairs), cgroups).map(|job| (job.scheduler, job.uid, job.step, job.rank));
        let job = |scheduler: &str, uid: &str, step: &str, rank| Some((scheduler.to_owned(), uid.to_owned(), step.to_owned(), rank));
        assert_eq!(found(&[], "0::/user.slice"), None);
        assert_eq!(found(&[("SLURM_JOB_ID", "12"), ("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "3")], ""), job("slurm", "12", "0", Some(3)));
        assert_eq!(found(&[("SLURM_JOB_ID", "99")], "0::/system.slice/slurmstepd.scope/job_12/step_1/user/task_0"), job("slurm", "12", "1", None));
        assert_eq!(found(&[], "4:memory:/slurm/uid_1000/job_7/step_batch/task_0"), job("slurm", "7", "batch", None));
        assert_eq!(found(&[("TORCHELASTIC_RUN_ID", "none"), ("RANK", "1")], ""), job("torchrun", "none", "", Some(1)));
        assert_eq!(found(&[("RAY_JOB_ID", "01000000"), ("MLFLOW_RUN_ID", "x")], ""), job("ray", "01000000", "", None));
        assert_eq!(found(&[("RANK", "1"), ("WORLD_SIZE", "2")], ""), None);
        let pod = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-aa.scope";
        assert_eq!(found(&[], pod), job("kubernetes", "0a1b2c3d-1111-2222-3333-444455556666", "", None));
    }
}
