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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::{Arg, Command};

    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
    const BEGIN: &str = "<!-- picketctl: begin, written by its tests -->\n";
    const END: &str = "<!-- picketctl: end -->";

    fn usage(argument: &Arg) -> String {
        let value = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let takes_value = argument.get_action().takes_values();
        match (argument.get_long(), value) {
            (Some(long), Some(value)) if takes_value => format!("--{long} {value}"),
            (Some(long), _) => format!("--{long}"),
            (None, value) => value.unwrap_or_default(),
        }
    }

    fn own_arguments(command: &Command) -> Vec<&Arg> {
        command.get_arguments().filter(|argument| !argument.is_global_set() && !matches!(argument.get_id().as_str(), "help" | "version")).collect()
    }

    /// A leaf's heading with its positionals, its words, its options.
    fn leaf(text: &mut String, path: &str, command: &Command) {
        let arguments = own_arguments(command);
        let positionals: String = arguments
            .iter()
            .filter(|argument| argument.is_positional())
            .map(|argument| if argument.is_required_set() { format!(" {}", usage(argument)) } else { format!(" [{}]", usage(argument)) })
            .collect();
        let _ = write!(text, "\n### `{path}{positionals}`\n\n{}.\n", command.get_about().map(ToString::to_string).unwrap_or_default());
        if !arguments.is_empty() {
            text.push('\n');
        }
        for argument in arguments {
            let default = argument
                .get_default_values()
                .first()
                .filter(|default| !default.is_empty() && argument.get_action().takes_values())
                .map(|default| format!(" (default `{}`)", default.to_string_lossy()))
                .unwrap_or_default();
            let _ = writeln!(text, "- `{}`: {}{default}", usage(argument), argument.get_help().map(ToString::to_string).unwrap_or_default());
        }
    }

    fn walk(text: &mut String, path: &str, command: &Command) {
        let alone = !command.is_subcommand_required_set() && command.get_name() != "picketctl";
        if alone && command.get_arguments().next().is_some() {
            leaf(text, path, command);
        }
        for below in command.get_subcommands() {
            walk(text, &format!("{path} {}", below.get_name()), below);
        }
    }

    fn written() -> String {
        let mut command = Cli::command();
        command.build();
        let mut text = String::from("\nOn every command:\n\n");
        for argument in command.get_arguments().filter(|argument| argument.is_global_set()) {
            let _ = writeln!(text, "- `{}`: {}", usage(argument), argument.get_help().map(ToString::to_string).unwrap_or_default());
        }
        walk(&mut text, "picketctl", &command);
        text.push('\n');
        text
    }

    /// `PICKET_WRITE_DOCS=1 cargo test -p picketctl` writes it.
    #[test]
    fn the_document_lists_every_command_and_option() {
        let document = std::fs::read_to_string(DOCUMENT).unwrap();
        let (head, rest) = document.split_once(BEGIN).unwrap();
        let (_, tail) = rest.split_once(END).unwrap();
        let fresh = format!("{head}{BEGIN}{}{END}{tail}", written());
        if std::env::var_os("PICKET_WRITE_DOCS").is_some() {
            std::fs::write(DOCUMENT, &fresh).unwrap();
        }
        assert!(
            fresh == document || std::env::var_os("PICKET_WRITE_DOCS").is_some(),
            "docs/cli.md differs from the arguments: PICKET_WRITE_DOCS=1 cargo test -p picketctl"
        );
    }
}
