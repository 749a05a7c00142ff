//! A corpus of hostile and harmless artifacts, one file a technique, written from nothing: the same bytes on every machine.
//!
//! Payloads are `os.system('id')` and the like: they are never run, and would do nothing if they were.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a generator that fails is a failed test")]

pub(crate) mod build;
mod containers;
mod formats;
mod harmless;
mod pickles;
mod repository;

/// What a scanner should say about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// Code runs, or a file outside is read or written, when the file is loaded as its loader does.
    Executes,
    /// Built to mislead a scanner or a loader, or reaching code by a way that is not certain.
    Hides,
    /// What honest tools write.
    Harmless,
}

/// One file.
pub(crate) struct Case {
    /// The technique: unique, and the folder's name in a corpus on disk.
    pub(crate) name: String,
    /// The file's name, as an attacker would choose it.
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) label: Label,
}

pub(crate) fn case(label: Label, name: impl Into<String>, file: &str, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name: name.into(), file: file.to_owned(), bytes: bytes.into(), label }
}

/// Every case, in a fixed order.
pub(crate) fn all() -> Vec<Case> {
    [pickles::cases(), containers::cases(), formats::cases(), repository::cases(), harmless::cases()].into_iter().flatten().collect()
}
