//! What a row of the lake keeps of an event beside its columns: one short JSON text, empty where there is nothing to add.
//!
//! The second process of an event (the one launched or ended) and the new name of a file are kept as differences from the actor and
//! from the old name, which they mostly equal. Nothing in here changes from one event of a process to the next but the thread,
//! so that the column packs well.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    Activity, AppProtocol, ComplianceFinding, Container, DetectionFinding, DnsActivity, ExeFlags, File, FileMethods, FileSystemActivity, GpuState, Job,
    KernelActivity, KernelExtensionActivity, MemoryActivity, ModuleActivity, ParentProcess, Process, ProcessActivityKind, ProcessRole, ProcessUid,
    ScanActivity, Sha256, StoredEvent, Timestamp,
};

/// Everything of an event that has no column.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rest<'a> {
    /// The actor's parts without a column.
    #[serde(rename = "a", skip_serializing_if = "ProcessRest::is_empty")]
    pub(crate) actor: ProcessRest<'a>,
    /// The second process, as its difference from the actor.
    #[serde(rename = "p", skip_serializing_if = "ProcessRest::is_empty")]
    pub(crate) process: ProcessRest<'a>,
    #[serde(rename = "f", skip_serializing_if = "FileRest::is_empty")]
    pub(crate) file: FileRest<'a>,
    /// The new name, as its difference from the old.
    #[serde(rename = "r", skip_serializing_if = "FileRest::is_empty")]
    pub(crate) file_result: FileRest<'a>,
    /// Signal that ended the process.
    #[serde(rename = "s", skip_serializing_if = "is_zero_signal")]
    pub(crate) signal: i32,
    /// Nanoseconds of the duration below its whole milliseconds.
    #[serde(rename = "d", skip_serializing_if = "is_zero_nanos")]
    pub(crate) duration_below_ms: u32,
    /// The sensor's report.
    #[serde(rename = "j", skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<Cow<'a, serde_json::Value>>,
    /// [`FileMethods`]: the column has their names.
    #[serde(rename = "m", skip_serializing_if = "is_zero_nanos")]
    pub(crate) file_methods: u32,
    #[serde(rename = "e", skip_serializing_if = "is_false")]
    pub(crate) until_end: bool,
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<Cow<'a, str>>,
    #[serde(rename = "q", skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<AppProtocol>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<u32>,
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    pub(crate) healed: Option<Timestamp>,
    /// The whole body of a class that is rare enough to repeat what its columns say.
    #[serde(rename = "b", skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Box<Body<'a>>>,
}

/// A body as a whole.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "always behind a box")]
pub(crate) enum Body<'a> {
    Memory(Cow<'a, MemoryActivity>),
    Module(Cow<'a, ModuleActivity>),
    KernelExtension(Cow<'a, KernelExtensionActivity>),
    Kernel(Cow<'a, KernelActivity>),
    Dns(Cow<'a, DnsActivity>),
    Scan(Cow<'a, ScanActivity>),
    Finding(Cow<'a, DetectionFinding>),
    Compliance(Cow<'a, ComplianceFinding>),
    Gpu(Cow<'a, GpuState>),
}

impl Body<'_> {
    pub(crate) fn into_activity(self) -> Activity {
        match self {
            Self::Memory(body) => Activity::Memory(Box::new(body.into_owned())),
            Self::Module(body) => Activity::Module(Box::new(body.into_owned())),
            Self::KernelExtension(body) => Activity::KernelExtension(Box::new(body.into_owned())),
            Self::Kernel(body) => Activity::Kernel(Box::new(body.into_owned())),
            Self::Dns(body) => Activity::Dns(Box::new(body.into_owned())),
            Self::Scan(body) => Activity::Scan(Box::new(body.into_owned())),
            Self::Finding(body) => Activity::Finding(Box::new(body.into_owned())),
            Self::Compliance(body) => Activity::Compliance(Box::new(body.into_owned())),
            Self::Gpu(body) => Activity::Gpu(Box::new(body.into_owned())),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero_signal(value: &i32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero_nanos(value: &u32) -> bool {
    *value == 0
}

/// Writes the text for the column `rest`; empty where the columns hold everything.
#[must_use]
pub fn encode(stored: &StoredEvent) -> String {
    // Nothing in it can fail to become JSON: every key is a string, every number whole.
    let text = serde_json::to_string(&Rest::of(stored)).unwrap_or_default();
    if text == "{}" { String::new() } else { text }
}

/// Reads the text of the column `rest`.
///
/// # Errors
/// When the text is not what [`encode`] writes.
pub fn decode(text: &str) -> Result<Rest<'static>, serde_json::Error> {
    if text.is_empty() { Ok(Rest::default()) } else { serde_json::from_str(text) }
}

impl<'a> Rest<'a> {
    fn of(stored: &'a StoredEvent) -> Self {
        let nobody = Process::default();
        let mut rest = Self::default();
        if let Some(actor) = &stored.event.actor {
            rest.actor = ProcessRest::beside_actor_columns(&actor.process);
        }
        match &stored.event.activity {
            Activity::Process(activity) => {
                let base = stored.event.actor.as_ref().map_or(&nobody, |actor| &actor.process);
                rest.process = ProcessRest::beside_process_columns(&activity.process, base);
                if let ProcessActivityKind::Terminate { signal, .. } = activity.kind {
                    rest.signal = signal;
                }
            }
            Activity::File(activity) => rest.set_file(activity),
            Activity::Network(activity) => {
                rest.duration_below_ms = u32::try_from(activity.duration_ns % 1_000_000).unwrap_or_default();
                rest.app = activity.app;
            }
            Activity::Loss(loss) => (rest.cpu, rest.healed) = (loss.cpu, loss.healed),
            Activity::Sensor(state) => rest.report = Some(Cow::Borrowed(&state.report)),
            Activity::Memory(body) => rest.body = Some(Box::new(Body::Memory(Cow::Borrowed(body)))),
            Activity::Module(body) => rest.body = Some(Box::new(Body::Module(Cow::Borrowed(body)))),
            Activity::KernelExtension(body) => rest.body = Some(Box::new(Body::KernelExtension(Cow::Borrowed(body)))),
            Activity::Kernel(body) => rest.body = Some(Box::new(Body::Kernel(Cow::Borrowed(body)))),
            Activity::Dns(body) => rest.body = Some(Box::new(Body::Dns(Cow::Borrowed(body)))),
            Activity::Scan(body) => rest.body = Some(Box::new(Body::Scan(Cow::Borrowed(body)))),
            Activity::Finding(body) => rest.body = Some(Box::new(Body::Finding(Cow::Borrowed(body)))),
            Activity::Compliance(body) => rest.body = Some(Box::new(Body::Compliance(Cow::Borrowed(body)))),
            Activity::Gpu(body) => rest.body = Some(Box::new(Body::Gpu(Cow::Borrowed(body)))),
        }
        rest
    }

    fn set_file(&mut self, activity: &'a FileSystemActivity) {
        self.file = FileRest::beside_columns(&activity.file);
        if let Some(result) = &activity.file_result {
            self.file_result = FileRest::difference(result, &activity.file);
        }
        self.file_methods = activity.methods.0;
        self.until_end = activity.until_end;
        self.detail = present(&activity.detail);
    }

    /// What stands beside the columns of a file activity.
    pub(crate) fn take_file_extras(&mut self) -> (FileMethods, bool, String) {
        (FileMethods(self.file_methods), self.until_end, self.detail.take().map(Cow::into_owned).unwrap_or_default())
    }
}

/// A process beside its columns. `None` is "as the base": a process of defaults for the actor, the actor for the second process.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProcessRest<'a> {
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    exe_inode: Option<u64>,
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    exe_device: Option<u32>,
    #[serde(rename = "F", skip_serializing_if = "Option::is_none")]
    exe_flags: Option<u8>,
    #[serde(rename = "w", skip_serializing_if = "Option::is_none")]
    working_directory: Option<Cow<'a, str>>,
    #[serde(rename = "U", skip_serializing_if = "Option::is_none")]
    user_uid: Option<u32>,
    #[serde(rename = "N", skip_serializing_if = "Option::is_none")]
    user_name: Option<Cow<'a, str>>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    user_euid: Option<u32>,
    #[serde(rename = "G", skip_serializing_if = "Option::is_none")]
    user_gid: Option<u32>,
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    user_auid: Option<u32>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    created_time: Option<i64>,
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    capabilities: Option<u64>,
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    namespaces: Option<[u32; 4]>,
    #[serde(rename = "g", skip_serializing_if = "Option::is_none")]
    cgroup: Option<Cow<'a, str>>,
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    tty: Option<Cow<'a, str>>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    environment: Option<Cow<'a, [(String, String)]>>,
    #[serde(rename = "T", skip_serializing_if = "Option::is_none")]
    exec_tree: Option<Cow<'a, str>>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    role: Option<Cow<'a, str>>,
    /// Whole, none or one.
    #[serde(rename = "C", skip_serializing_if = "Option::is_none")]
    container: Option<Cow<'a, [Container]>>,
    /// Image, runtime, pod, where the other parts have columns.
    #[serde(rename = "K", skip_serializing_if = "Option::is_none")]
    container_rest: Option<(Cow<'a, str>, Cow<'a, str>, Cow<'a, str>)>,
    /// Name and namespace of the pod.
    #[serde(rename = "O", skip_serializing_if = "Option::is_none")]
    pod: Option<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(rename = "J", skip_serializing_if = "Option::is_none")]
    job: Option<Cow<'a, [Job]>>,
    #[serde(rename = "S", skip_serializing_if = "Option::is_none")]
    job_step: Option<Cow<'a, str>>,
    #[serde(rename = "P", skip_serializing_if = "Option::is_none")]
    parent: Option<Cow<'a, [ParentProcess]>>,
    /// The parent is the actor: a fork.
    #[serde(rename = "A", skip_serializing_if = "Option::is_none")]
    parent_is_base: Option<bool>,
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    parent_path: Option<Cow<'a, str>>,
}

fn changed<T: PartialEq + Copy>(value: T, base: T) -> Option<T> {
    (value != base).then_some(value)
}

fn changed_text<'a>(value: &'a str, base: &str) -> Option<Cow<'a, str>> {
    (value != base).then_some(Cow::Borrowed(value))
}

fn present(value: &str) -> Option<Cow<'_, str>> {
    changed_text(value, "")
}

impl<'a> ProcessRest<'a> {
    fn is_empty(&self) -> bool {
        self.created_time.is_none()
            && self.tid.is_none()
            && self.exe_inode.is_none()
            && self.exe_device.is_none()
            && self.exe_flags.is_none()
            && self.working_directory.is_none()
            && self.user_uid.is_none()
            && self.user_name.is_none()
            && self.user_euid.is_none()
            && self.user_gid.is_none()
            && self.user_auid.is_none()
            && self.capabilities.is_none()
            && self.namespaces.is_none()
            && self.cgroup.is_none()
            && self.tty.is_none()
            && self.environment.is_none()
            && self.exec_tree.is_none()
            && self.role.is_none()
            && self.container.is_none()
            && self.container_rest.is_none()
            && self.pod.is_none()
            && self.job.is_none()
            && self.job_step.is_none()
            && self.parent.is_none()
            && self.parent_is_base.is_none()
            && self.parent_path.is_none()
    }

    /// Parts that have no column on either process.
    fn common(process: &'a Process, base: &Process) -> Self {
        Self {
            tid: changed(process.tid, base.tid),
            exe_inode: changed(process.exe_inode, base.exe_inode),
            exe_device: changed(process.exe_device, base.exe_device),
            exe_flags: changed(process.exe_flags.0, base.exe_flags.0),
            working_directory: changed_text(&process.working_directory, &base.working_directory),
            user_euid: changed(process.user.euid, base.user.euid),
            user_gid: changed(process.user.gid, base.user.gid),
            user_auid: changed(process.user.auid, base.user.auid),
            created_time: changed(process.created_time.0, base.created_time.0),
            capabilities: changed(process.capabilities, base.capabilities),
            namespaces: (process.namespaces != base.namespaces).then_some(process.namespaces.as_array()),
            cgroup: changed_text(&process.cgroup, &base.cgroup),
            tty: changed_text(&process.tty, &base.tty),
            environment: (process.environment != base.environment).then_some(Cow::Borrowed(&process.environment)),
            ..Self::default()
        }
    }

    fn beside_actor_columns(process: &'a Process) -> Self {
        let mut rest = Self::common(process, &Process::default());
        rest.parent_path = process.parent.as_ref().and_then(|parent| present(&parent.path));
        rest.job_step = process.job.as_ref().and_then(|job| present(&job.step));
        rest.container_rest = process
            .container
            .as_ref()
            .filter(|container| !(container.image.is_empty() && container.runtime.is_empty() && container.pod_uid.is_empty()))
            .map(|container| (Cow::Borrowed(&*container.image), Cow::Borrowed(&*container.runtime), Cow::Borrowed(&*container.pod_uid)));
        rest.pod = process
            .container
            .as_ref()
            .filter(|container| !(container.pod_name.is_empty() && container.pod_namespace.is_empty()))
            .map(|container| (Cow::Borrowed(&*container.pod_name), Cow::Borrowed(&*container.pod_namespace)));
        rest
    }

    fn beside_process_columns(process: &'a Process, base: &Process) -> Self {
        let mut rest = Self::common(process, base);
        rest.user_uid = changed(process.user.uid, base.user.uid);
        rest.user_name = changed_text(&process.user.name, &base.user.name);
        rest.exec_tree = changed_text(process.exec_tree.as_str(), base.exec_tree.as_str());
        rest.role = (process.role != base.role).then_some(Cow::Borrowed(process.role.name()));
        rest.container = (process.container != base.container).then_some(Cow::Borrowed(process.container.as_slice()));
        rest.job = (process.job != base.job).then_some(Cow::Borrowed(process.job.as_slice()));
        if process.parent.as_ref().is_some_and(|parent| parent.is_of(base)) {
            rest.parent_is_base = Some(true);
        } else if process.parent != base.parent {
            rest.parent = Some(Cow::Borrowed(process.parent.as_slice()));
        }
        rest
    }

    /// Lays these parts over a process that holds the base's.
    pub(crate) fn apply(self, process: &mut Process) {
        set(&mut process.tid, self.tid);
        set(&mut process.exe_inode, self.exe_inode);
        set(&mut process.exe_device, self.exe_device);
        set(&mut process.exe_flags, self.exe_flags.map(ExeFlags));
        set_text(&mut process.working_directory, self.working_directory);
        set(&mut process.user.uid, self.user_uid);
        set_text(&mut process.user.name, self.user_name);
        set(&mut process.user.euid, self.user_euid);
        set(&mut process.user.gid, self.user_gid);
        set(&mut process.user.auid, self.user_auid);
        set(&mut process.created_time, self.created_time.map(Timestamp));
        set(&mut process.capabilities, self.capabilities);
        set(&mut process.namespaces, self.namespaces.map(Into::into));
        set_text(&mut process.cgroup, self.cgroup);
        set_text(&mut process.tty, self.tty);
        set(&mut process.environment, self.environment.map(Cow::into_owned));
        set(&mut process.exec_tree, self.exec_tree.map(|uid| ProcessUid(uid.into_owned())));
        set(&mut process.role, self.role.map(|name| ProcessRole::from_name(&name)));
        set(&mut process.container, self.container.map(|one| one.into_owned().pop()));
        set(&mut process.job, self.job.map(|one| one.into_owned().pop()));
        set(&mut process.parent, self.parent.map(|one| one.into_owned().pop()));
        if let (Some((image, runtime, pod_uid)), Some(container)) = (self.container_rest, &mut process.container) {
            container.image = image.into_owned();
            container.runtime = runtime.into_owned();
            container.pod_uid = pod_uid.into_owned();
        }
        if let (Some((name, namespace)), Some(container)) = (self.pod, &mut process.container) {
            container.pod_name = name.into_owned();
            container.pod_namespace = namespace.into_owned();
        }
        if let Some(job) = &mut process.job {
            set_text(&mut job.step, self.job_step);
        }
        if let Some(parent) = &mut process.parent {
            set_text(&mut parent.path, self.parent_path);
        }
    }

    pub(crate) fn parent_is_base(&self) -> bool {
        self.parent_is_base == Some(true)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_text(field: &mut String, value: Option<Cow<'_, str>>) {
    set(field, value.map(Cow::into_owned));
}

/// A file beside its columns. `None` is "as the base".
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileRest<'a> {
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    device: Option<u32>,
    /// None or one size.
    #[serde(rename = "z", skip_serializing_if = "Option::is_none")]
    size_bytes: Option<Cow<'a, [u64]>>,
    #[serde(rename = "m", skip_serializing_if = "Option::is_none")]
    mode: Option<u16>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    owner_uid: Option<u32>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    asset_class: Option<Cow<'a, str>>,
    /// None or one digest.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    sha256: Option<Cow<'a, [Sha256]>>,
}

impl<'a> FileRest<'a> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn beside_columns(file: &File) -> Self {
        Self { device: changed(file.device, 0), mode: changed(file.mode, 0), owner_uid: changed(file.owner_uid, 0), ..Self::default() }
    }

    fn difference(file: &'a File, base: &File) -> Self {
        Self {
            inode: changed(file.inode, base.inode),
            device: changed(file.device, base.device),
            size_bytes: (file.size_bytes != base.size_bytes).then_some(Cow::Borrowed(file.size_bytes.as_slice())),
            mode: changed(file.mode, base.mode),
            owner_uid: changed(file.owner_uid, base.owner_uid),
            asset_class: changed_text(&file.asset_class, &base.asset_class),
            sha256: (file.sha256 != base.sha256).then_some(Cow::Borrowed(file.sha256.as_slice())),
        }
    }

    /// Lays these parts over a file that holds the base's.
    pub(crate) fn apply(self, file: &mut File) {
        set(&mut file.inode, self.inode);
        set(&mut file.device, self.device);
        set(&mut file.size_bytes, self.size_bytes.map(|one| one.into_owned().pop()));
        set(&mut file.mode, self.mode);
        set(&mut file.owner_uid, self.owner_uid);
        set_text(&mut file.asset_class, self.asset_class);
        set(&mut file.sha256, self.sha256.map(|one| one.into_owned().pop()));
    }
}
