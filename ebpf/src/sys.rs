//! The kernel interfaces that aya does not offer: an iterator over the elements of a map, the run time of programs, and a map that no system call changes
//! any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_FREEZE: libc::c_long = 22;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_ENABLE_STATS: libc::c_long = 32;
const BPF_TRACE_ITER: u32 = 28;
const BPF_STATS_RUN_TIME: u32 = 0;

/// `link_create` of `union bpf_attr` (`include/uapi/linux/bpf.h`), as far as an iterator needs it.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    padding: u32,
}

/// `iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// `map` of `union bpf_iter_link_info`; the kernel takes the union at its full size.
#[repr(C)]
struct IterLinkInfo {
    map_fd: u32,
    padding: [u32; 3],
}

/// `enable_stats` of `union bpf_attr`.
#[repr(C)]
struct EnableStats {
    kind: u32,
}

/// `link_update` of `union bpf_attr`.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// While this is open the kernel measures the run time of every program on the host. Takes `CAP_SYS_ADMIN`.
pub(crate) fn measure_run_time() -> io::Result<OwnedFd> {
    call(BPF_ENABLE_STATS, &EnableStats { kind: BPF_STATS_RUN_TIME })
}

/// A program of type `iter/bpf_map_elem`, bound to one map.
#[derive(Debug)]
pub(crate) struct MapIterator {
    link: OwnedFd,
}

impl MapIterator {
    /// Binds a loaded program to a map.
    pub(crate) fn new(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<Self> {
        let info = IterLinkInfo { map_fd: unsigned(map.as_raw_fd())?, padding: [0; 3] };
        let attributes = LinkCreate {
            prog_fd: unsigned(program.as_raw_fd())?,
            target_fd: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            iter_info: (&raw const info) as u64,
            // The size of the smallest kernel's union (5.15): later ones take it as well.
            iter_info_len: 4,
            padding: 0,
        };
        Ok(Self { link: call(BPF_LINK_CREATE, &attributes)? })
    }

    /// A file: each read to its end runs the program once for every element.
    pub(crate) fn open(&self) -> io::Result<File> {
        Ok(call(BPF_ITER_CREATE, &IterCreate { link_fd: unsigned(self.link.as_raw_fd())?, flags: 0 })?.into())
    }
}

/// From now on system calls can read the map and not change it; programs still can.
pub(crate) fn freeze_map(map: BorrowedFd<'_>) -> io::Result<()> {
    // `map_fd` is the only attribute of this command.
    result(BPF_MAP_FREEZE, &unsigned(map.as_raw_fd())?).map(drop)
}

/// The link runs this program from now on, whatever it ran before.
pub(crate) fn update_link(link: i32, program: i32) -> io::Result<()> {
    result(BPF_LINK_UPDATE, &LinkUpdate { link_fd: unsigned(link)?, new_prog_fd: unsigned(program)?, flags: 0, old_prog_fd: 0 }).map(drop)
}

fn unsigned(fd: i32) -> io::Result<u32> {
    u32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))
}

/// For commands that answer with a descriptor.
#[expect(unsafe_code, reason = "the kernel gives descriptors as numbers")]
fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let fd = result(command, attributes)?;
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "bpf(2) has no safe wrapper and aya has none of these commands")]
fn result<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes behind the pointer, which live until the call returns; for these commands
    // it writes nothing back. Pointers inside point to values that the caller keeps alive.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match i32::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
