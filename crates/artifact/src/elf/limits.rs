//! What one ELF file may make its reader hold.

/// Program and section headers looked at. The largest libraries of deep learning have some hundred.
pub(super) const HEADERS_MAX: u16 = 4096;
/// The path of the program interpreter; file systems end at 4096 bytes a path.
pub(super) const INTERPRETER_BYTES_MAX: u64 = 4096;
/// How far from the start a packer leaves its mark.
pub(super) const MARK_BYTES: u64 = 4096;
