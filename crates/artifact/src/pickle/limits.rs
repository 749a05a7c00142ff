//! What one pickle may make the machine hold.

/// Values on the stack at once, 32 bytes each: 32 MiB. CPython's pickler hands lists over in batches of 1000; only one tuple or
/// frozen set of a million items gets there.
pub(super) const STACK_MAX: usize = 1 << 20;
/// Memo entries, 32 bytes each: 64 MiB. A vocabulary of a million words memoises a million strings.
pub(super) const MEMO_MAX: usize = 2 << 20;
/// A number or name that stands on a line of its own (protocol 0). Longer text lines are data and are skipped.
pub(super) const LINE_BYTES_MAX: u64 = 1 << 20;
/// Distinct imports of one pickle. The largest frameworks need some hundred.
pub(super) const GLOBALS_MAX: usize = 20_000;
/// Pickles one after another in one stream. `torch.save` writes five, loggers append thousands.
pub(super) const STACKED_MAX: u32 = 100_000;
/// Bytes constants looked at for a pickle inside, per stream.
pub(super) const NESTED_MAX: usize = 1000;
/// Bytes of a constant that is examined as a file of its own when something unpickles it.
pub(super) const NESTED_BYTES_MAX: u64 = 256 << 20;
/// Object arrays inside object arrays of a joblib file; each level is one stack frame of ours.
pub(super) const INLINE_DEPTH_MAX: u32 = 16;
/// Storages remembered from persistent ids, to know where the tensors of a legacy file end.
pub(super) const STORAGES_MAX: usize = 200_000;
/// Calls shown for one import; more of the same tell nothing new.
pub(super) const CALLS_SHOWN_MAX: u32 = 3;
/// Functions that call their argument, inside one another.
pub(super) const CALL_DEPTH_MAX: u32 = 8;
