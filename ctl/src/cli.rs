//! The arguments. Words that tests, scripts and other tools depend on: change them with a line in CHANGELOG.md.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::output::Format;

/// The command line of Picket: see hosts, hunt in events, let hosts in and out.
#[derive(Parser)]
#[command(
    name = "picketctl",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 denied, 5 partial answer."
)]
pub(crate) struct Cli {
    /// Server to speak to, by the name of its context
    #[arg(long, global = true, env = "PICKET_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Cut nothing to the width of the terminal
    #[arg(long, global = true)]
    pub(crate) wide: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign in to a server with a one-time code
    Login(Login),
    /// End the sign-in, here and on the server
    Logout,
    /// Who the server takes you for
    Whoami,
    /// The servers that you have signed in to
    Contexts {
        #[command(subcommand)]
        command: Option<Contexts>,
    },
    /// The hosts that are enrolled
    #[command(args_conflicts_with_subcommands = true)]
    Hosts {
        #[command(subcommand)]
        command: Option<Hosts>,
        #[command(flatten)]
        list: HostList,
    },
    /// What the hosts saw
    #[command(subcommand)]
    Events(Events),
    /// Read-only SQL over the table `events` and its views
    Sql(Sql),
    /// Tokens that let a host in, once
    #[command(subcommand)]
    Tokens(Tokens),
    /// Judge model files and archives on this machine, without any server
    #[command(after_help = "Exit codes: 0 nothing found, 1 findings, 2 could not finish.")]
    Scan(Scan),
    /// Models on this machine: their signatures and their bills of materials
    #[command(subcommand)]
    Assets(Assets),
    /// Scans on hosts
    #[command(subcommand)]
    Scans(Scans),
    /// The server itself
    #[command(subcommand)]
    Server(Server),
    /// Who asked what of the server
    Audit {
        /// Newest entries to show
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// Completion for a shell, on stdout
    Completion {
        /// Shell
        shell: Shell,
    },
    /// Manual pages: one a command into a folder, or the first on stdout
    Man {
        /// Folder to write into
        folder: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct Login {
    /// Address of the API, as https://HOST:8443
    pub(crate) url: String,
    /// File with the code that `picket-server sign-in` printed
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    pub(crate) code_file: Option<PathBuf>,
    /// `-`: read the code from stdin. A code itself does not belong on a command line
    #[arg(long, value_name = "-")]
    pub(crate) code: Option<String>,
    /// Name of the context; the host and port where not given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Label of the sign-in on the server, as analyst@laptop
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Contexts {
    /// List them; * marks the one in use
    List,
    /// Use this one from now on
    Use {
        /// Name of the context
        name: String,
    },
    /// Forget one; its token on the server stays valid until it expires (logout ends it)
    Remove {
        /// Name of the context
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct HostList {
    /// Show again every two seconds
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Subcommand)]
pub(crate) enum Hosts {
    /// Every host
    List(HostList),
    /// One host in full: system, probes, watches, losses
    Show {
        /// Device uid or a unique host name
        host: String,
    },
    /// Ask a connected host for its state now
    Refresh {
        /// Device uid or a unique host name
        host: String,
    },
    /// Shut a host out: end its session and refuse its certificate
    Revoke {
        /// Device uid or a unique host name
        host: String,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Attempts to get in that were refused, and why
    Refusals {
        /// Newest rows to show
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
}

#[derive(Subcommand)]
pub(crate) enum Events {
    /// Stored events that match, newest first
    Search {
        /// Query of the search language; empty for everything
        #[arg(default_value = "")]
        query: String,
        /// From here on: 15m, 24h, 7d, or an instant in RFC 3339
        #[arg(long, default_value = "24h", value_name = "TIME")]
        since: String,
        /// Up to here
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_name = "N", conflicts_with = "all")]
        limit: u64,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// Events as they are stored, until Ctrl-C
    Tail {
        /// Query of the search language; empty for everything
        #[arg(default_value = "")]
        query: String,
        /// Begin with so many of the newest that are stored already
        #[arg(long, default_value_t = 10, value_name = "N")]
        last: u32,
    },
    /// The columns of the table `events`
    Columns,
}

#[derive(Args)]
pub(crate) struct Sql {
    /// The statement, or `-` to read it from stdin
    pub(crate) statement: String,
    /// At most so many rows
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) limit: u32,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u32,
}

#[derive(Subcommand)]
pub(crate) enum Tokens {
    /// A new enrolment token on stdout, shown this once
    Create {
        /// How long it may be used, at most 24h
        #[arg(long, default_value = "1h", value_name = "SPAN")]
        ttl: String,
        /// What it is for
        #[arg(long, default_value = "", value_name = "TEXT")]
        label: String,
    },
    /// All tokens and what became of them
    List,
    /// Make an unused token worthless
    Revoke {
        /// Id of the token
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Scans {
    /// Have a connected host judge files and folders; the id of the command on stdout
    Start {
        /// Device uid or a unique host name
        #[arg(long, value_name = "HOST")]
        host: String,
        /// Absolute paths on that host
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<String>,
    },
    /// Scans on hosts, newest first: what asked for them, how far they are, what they found
    List {
        /// From here on: 15m, 24h, 7d, or an instant in RFC 3339
        #[arg(long, default_value = "24h", value_name = "TIME")]
        since: String,
        /// Only of this host: device uid or host name
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
        /// Those of single files that changed as well
        #[arg(long)]
        all: bool,
    },
    /// One scan with its findings
    Show {
        /// Id of the scan, or of the command that asked for it
        id: String,
        /// Begun since: 15m, 24h, 7d, or an instant in RFC 3339
        #[arg(long, default_value = "7d", value_name = "TIME")]
        since: String,
    },
}

#[derive(Args)]
pub(crate) struct Scan {
    /// Files and folders; `-` reads one file from stdin
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Exit with 1 from this severity on; lesser findings are printed all the same
    #[arg(long, value_enum, default_value = "low", value_name = "SEVERITY")]
    pub(crate) fail_on: Threshold,
    /// SHA-256 and BLAKE3 of every file and of each tensor in it, which reads every byte
    #[arg(long)]
    pub(crate) digest: bool,
    /// YARA rules beside the built-in ones: a file, or a folder of .yar files; may be given more than once
    #[arg(long, value_name = "PATH", conflicts_with = "no_yara")]
    pub(crate) yara: Vec<PathBuf>,
    /// Apply no YARA rules, not even the built-in ones
    #[arg(long)]
    pub(crate) no_yara: bool,
    /// Apply YARA rules to tensors as well, which reads every byte
    #[arg(long, conflicts_with = "no_yara")]
    pub(crate) yara_all: bool,
    /// Keep the digests in this file, to compare with later; PATH is one file or folder
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Compare with a manifest of the same PATH: which tensors changed, which files came and went
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Do not read a file again whose inode, size and times are as in the baseline; only root can forge that
    #[arg(long, requires = "baseline", conflicts_with_all = ["digest", "manifest"])]
    pub(crate) quick: bool,
    /// Files judged at once; one a core where not given
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    pub(crate) threads: usize,
}

#[derive(Subcommand)]
pub(crate) enum Assets {
    /// Verify the OpenSSF signature of a model, without any server or network
    #[command(after_help = "Exit codes: 0 as signed, 1 not as signed or not by whom is trusted, 2 could not finish.")]
    Verify(Verify),
    /// Write a CycloneDX bill of materials of a model: files, digests, licences, data sets, base models
    #[command(after_help = "Exit codes: 0 written, 2 could not finish; what could not be read is named in the document.")]
    Bom(Bom),
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("trust").required(true).args(["public_key", "certificate_chain", "trusted_root"])))]
pub(crate) struct Verify {
    /// Folder of the model, or the one file that was signed
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// The bundle; `model.sig` in the folder where not given
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Trust the holder of this key (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: Option<PathBuf>,
    /// Trust signers with a certificate below these (PEM); may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_chain: Vec<PathBuf>,
    /// When the model was signed, in RFC 3339: certificates must be valid then instead of now
    #[arg(long, value_name = "TIME", requires = "certificate_chain")]
    pub(crate) signed_at: Option<String>,
    /// Trust one identity of the sigstore instance with this `trusted_root.json`
    #[arg(long, value_name = "FILE", requires_all = ["identity", "identity_provider"])]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Mail address or URI of the signer
    #[arg(long, value_name = "ID", requires = "trusted_root")]
    pub(crate) identity: Option<String>,
    /// OpenID Connect issuer that vouched for the signer, as https://accounts.google.com
    #[arg(long, value_name = "URL", requires = "trusted_root")]
    pub(crate) identity_provider: Option<String>,
    /// A file or folder that need not be signed; may be given more than once
    #[arg(long, value_name = "PATH")]
    pub(crate) ignore: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Bom {
    /// Folder of the model, or one file
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Where to write; stdout where not given
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Name each tensor with its digest
    #[arg(long)]
    pub(crate) tensors: bool,
}

/// OCSF severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Threshold {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Threshold {
    /// The severity it names.
    pub(crate) fn severity(self) -> picket_artifact::Severity {
        match self {
            Self::Informational => picket_artifact::Severity::Informational,
            Self::Low => picket_artifact::Severity::Low,
            Self::Medium => picket_artifact::Severity::Medium,
            Self::High => picket_artifact::Severity::High,
            Self::Critical => picket_artifact::Severity::Critical,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Server {
    /// Version, storage, connected agents
    Status,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hosts_alone_lists_them() {
        for line in [vec!["picketctl", "hosts"], vec!["picketctl", "hosts", "--watch"], vec!["picketctl", "hosts", "list", "--watch"]] {
            assert!(matches!(Cli::try_parse_from(&line).unwrap().command, Command::Hosts { .. }), "{line:?}");
        }
    }

    #[test]
    fn global_options_go_anywhere() {
        let cli = Cli::try_parse_from(["picketctl", "events", "search", "x", "--format", "jsonl", "--context", "lab"]).unwrap();
        assert_eq!((cli.format, cli.context.as_deref()), (Format::Jsonl, Some("lab")));
    }
}
