//! OCSF `file` and File System Activity.

use serde::{Deserialize, Serialize};

use crate::{Sha256, numbered::numbered};

/// OCSF File System Activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSystemActivity {
    /// What was done.
    pub kind: FileActivityKind,
    /// How it was opened.
    pub access: Access,
    /// The file, by its path before the activity.
    pub file: File,
    /// Its new name, for `Rename` and `Link`.
    pub file_result: Option<File>,
    /// Bytes that this process read of this file since its open, where they are counted.
    pub bytes_read: Option<u64>,
    /// Bytes that it wrote.
    pub bytes_written: Option<u64>,
    /// By which ways.
    pub methods: FileMethods,
    /// For `Read` and `Update` with sums: true at the close or exit, false while the file is still open.
    pub until_end: bool,
    /// Name of an extended attribute, target of a symbolic link, type and options of a mount; empty elsewhere.
    pub detail: String,
}

impl FileSystemActivity {
    /// An activity with a file and nothing more.
    #[must_use]
    pub const fn new(kind: FileActivityKind, access: Access, file: File) -> Self {
        Self { kind, access, file, file_result: None, bytes_read: None, bytes_written: None, methods: FileMethods(0), until_end: false, detail: String::new() }
    }
}

/// By which ways a file was reached. Bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMethods(pub u32);

impl FileMethods {
    /// Every way, with the name that `picket.method` shows.
    pub const NAMES: [(Self, &'static str); 16] = [
        (Self::MMAP, "mmap"),
        (Self::MMAP_SHARED_WRITE, "mmap_shared_write"),
        (Self::SENDFILE, "sendfile"),
        (Self::SPLICE, "splice"),
        (Self::COPY_FILE_RANGE, "copy_file_range"),
        (Self::DIRECT, "direct"),
        (Self::IO_URING, "io_uring"),
        (Self::HANDLE, "handle"),
        (Self::COMPAT32, "compat32"),
        (Self::CLONE, "clone"),
        (Self::CONNECT, "connect"),
        (Self::HARD_LINK, "hard_link"),
        (Self::SYMBOLIC_LINK, "symbolic_link"),
        (Self::XATTR, "xattr"),
        (Self::TRUNCATE, "truncate"),
        (Self::WATCH, "watch"),
    ];
    /// Mapped.
    pub const MMAP: Self = Self(1);
    /// Mapped shared and writable: what is written shows as no write call.
    pub const MMAP_SHARED_WRITE: Self = Self(1 << 1);
    /// `sendfile`
    pub const SENDFILE: Self = Self(1 << 2);
    /// `splice`, `tee`, `vmsplice`
    pub const SPLICE: Self = Self(1 << 3);
    /// `copy_file_range`
    pub const COPY_FILE_RANGE: Self = Self(1 << 4);
    /// Past the page cache.
    pub const DIRECT: Self = Self(1 << 5);
    /// Through a ring.
    pub const IO_URING: Self = Self(1 << 6);
    /// `open_by_handle_at`
    pub const HANDLE: Self = Self(1 << 7);
    /// A 32-bit caller.
    pub const COMPAT32: Self = Self(1 << 8);
    /// `FICLONE` and `FICLONERANGE`
    pub const CLONE: Self = Self(1 << 9);
    /// A local (Unix) socket was connected to: `Open` of the socket's file.
    pub const CONNECT: Self = Self(1 << 10);
    /// `link`
    pub const HARD_LINK: Self = Self(1 << 11);
    /// `symlink`
    pub const SYMBOLIC_LINK: Self = Self(1 << 12);
    /// An extended attribute.
    pub const XATTR: Self = Self(1 << 13);
    /// `truncate`, `ftruncate`, `fallocate`
    pub const TRUNCATE: Self = Self(1 << 14);
    /// Seen by a watch on the file system (inotify): no process is known.
    pub const WATCH: Self = Self(1 << 15);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, with commas between.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<&str> = Self::NAMES.into_iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| name).collect();
        names.join(",")
    }
}

numbered! {
    /// OCSF `activity_id` of File System Activity.
    FileActivityKind {
        /// 1: made by this open.
        Create = 1 "Create",
        /// 2: bytes were read through an open file.
        Read = 2 "Read",
        /// 3: closed after it was open for writing, or bytes were written through an open file.
        Update = 3 "Update",
        /// 4
        Delete = 4 "Delete",
        /// 5
        Rename = 5 "Rename",
        /// 6: times, extended attributes.
        SetAttributes = 6 "Set Attributes",
        /// 7: mode, owner, access control list.
        SetSecurity = 7 "Set Security",
        /// 12: a file system was mounted on this folder.
        Mount = 12 "Mount",
        /// 13
        Unmount = 13 "Unmount",
        /// 14
        Open = 14 "Open",
        /// 99: got another name (`file_result`); OCSF has no word for links.
        Link = 99 "Link",
    }
}

/// How a file was opened. Bits as OCSF has no finer word than `access_mask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(pub u8);

impl Access {
    /// For reading (an `mmap` reads through such an open).
    pub const READ: Self = Self(1);
    /// For writing.
    pub const WRITE: Self = Self(2);
    /// Truncated on open.
    pub const TRUNCATE: Self = Self(4);
    /// Past the page cache.
    pub const DIRECT: Self = Self(8);

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// OCSF `file`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// As the kernel resolved it from the opened file, in the host's root where that can be told.
    pub path: String,
    /// Inode number.
    pub inode: u64,
    /// Kernel device number (`major << 20 | minor`).
    pub device: u32,
    /// Size at the time, where the kernel told it.
    pub size_bytes: Option<u64>,
    /// Type and permission bits (`i_mode`).
    pub mode: u16,
    /// Owner.
    pub owner_uid: u32,
    /// model, dataset, code, credential, registry; empty where nothing registered it.
    pub asset_class: String,
    /// Digest of the content, where it was read whole.
    pub sha256: Option<Sha256>,
}
