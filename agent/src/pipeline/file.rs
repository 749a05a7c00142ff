use std::path::Path;

use picket_ebpf::record::{self, File as FileRecord, FileChange, FileOp};
use picket_event::{Access, File, FileActivityKind, FileMethods, FileSystemActivity};

use super::{Pipeline, text};

/// `O_TRUNC` and `O_DIRECT` of x86-64 and of the generic ABI.
const O_TRUNC: u32 = 0o1000;
const O_DIRECT: u32 = if cfg!(target_arch = "aarch64") { 0o20_0000 } else { 0o4_0000 };

/// The probes' bits for a way are the event's; what was changed is a way as well.
fn methods(record: &FileRecord) -> FileMethods {
    let ways = [
        (record::FileMethods::MMAP, FileMethods::MMAP),
        (record::FileMethods::MMAP_WRITE, FileMethods::MMAP_SHARED_WRITE),
        (record::FileMethods::SENDFILE, FileMethods::SENDFILE),
        (record::FileMethods::SPLICE, FileMethods::SPLICE),
        (record::FileMethods::COPY, FileMethods::COPY_FILE_RANGE),
        (record::FileMethods::DIRECT, FileMethods::DIRECT),
        (record::FileMethods::IO_URING, FileMethods::IO_URING),
        (record::FileMethods::HANDLE, FileMethods::HANDLE),
        (record::FileMethods::COMPAT, FileMethods::COMPAT32),
    ];
    let change = match record.op {
        FileOp::Change(FileChange::ExtendedAttribute) => FileMethods::XATTR,
        FileOp::Change(FileChange::Size | FileChange::Space) => FileMethods::TRUNCATE,
        FileOp::Link => FileMethods::HARD_LINK,
        _ => FileMethods::default(),
    };
    ways.into_iter().filter(|(way, _)| record.methods.contains(*way)).fold(change, |all, (_, way)| all.union(way))
}

impl Pipeline {
    pub(super) fn file(&self, record: FileRecord) -> FileSystemActivity {
        let kind = match record.op {
            FileOp::Open if record.created => FileActivityKind::Create,
            FileOp::Open => FileActivityKind::Open,
            FileOp::CloseWrite | FileOp::Change(FileChange::Size | FileChange::Space) => FileActivityKind::Update,
            FileOp::Use if record.bytes_written > 0 => FileActivityKind::Update,
            FileOp::Use => FileActivityKind::Read,
            FileOp::Change(FileChange::Mode | FileChange::Owner) => FileActivityKind::SetSecurity,
            FileOp::Change(FileChange::Times | FileChange::ExtendedAttribute) => FileActivityKind::SetAttributes,
            FileOp::Link => FileActivityKind::Link,
            FileOp::Rename => FileActivityKind::Rename,
            FileOp::Unlink => FileActivityKind::Delete,
        };
        let access = [
            (record.mode_bits & 1 != 0, Access::READ),
            (record.mode_bits & 2 != 0, Access::WRITE),
            (record.open_flags & O_TRUNC != 0, Access::TRUNCATE),
            (record.open_flags & O_DIRECT != 0, Access::DIRECT),
        ];
        let access = Access(access.into_iter().filter(|(is, _)| *is).fold(0, |bits, (_, bit)| bits | bit.0));
        let file = |path: &[u8]| {
            let path = text::text(path);
            File {
                asset_class: self.asset_class(record.watch_id, &path),
                path,
                inode: record.inode,
                device: record.device,
                size_bytes: Some(record.size),
                mode: record.i_mode,
                owner_uid: record.owner_uid,
                sha256: None,
            }
        };
        let file_result = matches!(record.op, FileOp::Rename | FileOp::Link).then(|| file(&record.new_path));
        let summed = matches!(record.op, FileOp::Use | FileOp::CloseWrite);
        FileSystemActivity {
            file_result,
            bytes_read: summed.then_some(record.bytes_read),
            bytes_written: summed.then_some(record.bytes_written),
            methods: methods(&record),
            until_end: record.until_end,
            ..FileSystemActivity::new(kind, access, file(&record.path))
        }
    }

    /// Of the watch that matched; else by extension.
    pub(super) fn asset_class(&self, watch_id: u32, path: &str) -> String {
        let rules = self.rules.load();
        if let Some(class) = rules.watch_classes.get(&watch_id) {
            return (*class).to_owned();
        }
        let extension = Path::new(path).extension().map(|extension| format!(".{}", extension.to_string_lossy().to_lowercase()));
        extension.and_then(|extension| rules.extension_classes.get(&extension)).map(|class| (*class).to_owned()).unwrap_or_default()
    }
}
