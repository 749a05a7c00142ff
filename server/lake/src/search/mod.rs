//! The search language: one text for `picketctl`, the console and the API. `docs/search.md` is its reference.
//!
//! A text is cut into tokens ([`lexer`]), read into a tree ([`parser`]), its fields and values are resolved against the table ([`fields`]),
//! and the whole becomes one expression ([`compile`]) that serves a stored search and a live tail alike.

mod compile;
mod fields;
mod lexer;
mod matcher;
mod parser;
mod values;

pub(crate) use compile::compile;

use crate::LakeError;

/// What is wrong with a query, for its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryError {
    /// What, and what may have been meant.
    pub(crate) message: String,
    /// Character at which it goes wrong, from 0.
    pub(crate) position: usize,
}

impl QueryError {
    fn new(message: impl Into<String>, position: usize) -> Self {
        Self { message: message.into(), position }
    }
}

impl From<QueryError> for LakeError {
    fn from(error: QueryError) -> Self {
        Self::BadQuery { message: error.message, position: Some(error.position) }
    }
}
