//! What shells and `man` want to know; needs no server.

use std::io::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::CtlError;

/// The completion script of a shell.
pub(super) fn completion(shell: Shell) -> Result<(), CtlError> {
    // Into memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "picketctl", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// One page a command into a folder, or the first page on stdout.
pub(super) fn man(folder: Option<&Path>) -> Result<(), CtlError> {
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            Ok(clap_mangen::generate_to(Cli::command(), folder)?)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            Ok(std::io::stdout().lock().write_all(&page)?)
        }
    }
}
