//! Queries over many stored events: the lake's own generator and benchmark, with DuckDB over the same files beside it.

use anyhow::Result;

use crate::figure::Figure;

pub(crate) fn queries() -> Result<Vec<Figure>> {
    anyhow::bail!("the lake's benchmark is not there yet")
}
