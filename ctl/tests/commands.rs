//! `picketctl` as a program against a server double: what it prints where, and how it exits.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod double;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use double::{Double, STORED, TOKEN};
use serde_json::Value;
use tempfile::TempDir;

/// A user with a home of their own.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn signed_in(double: &Double) -> Self {
        let user = Self::new();
        let ran = user.login(&double.url, &double.code());
        assert_eq!(ran.code, 0, "{}", ran.errors);
        user
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picketctl"));
        command.args(arguments).env("PICKET_CONFIG", self.config()).env_remove("PICKET_CONTEXT").env_remove("COLUMNS").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    fn login(&self, url: &str, code: &str) -> Ran {
        let file = self.folder.path().join("code");
        fs::write(&file, code).unwrap();
        self.run(&["login", url, "--code-file", file.to_str().unwrap(), "--name", "lab"])
    }
}

struct Ran {
    code: i32,
    text: String,
    errors: String,
}

impl Ran {
    fn from(output: Output) -> Self {
        let code = output.status.code().unwrap();
        Self { code, text: String::from_utf8(output.stdout).unwrap(), errors: String::from_utf8(output.stderr).unwrap() }
    }

    /// Standard output where it ended well.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, 0, "{}", self.errors);
        self.text
    }

    fn values(&self) -> Vec<Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn signing_in_keeps_the_token_for_the_owner_alone_and_sends_no_pin() {
    let double = Double::start();
    let user = User::signed_in(&double);
    assert_eq!(fs::metadata(user.config()).unwrap().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(user.config()).unwrap();
    assert!(kept.contains(TOKEN) && kept.contains(&double.pin), "{kept}");
    assert_eq!(double.calls().first().unwrap(), "SignIn ps1.id.secret");
    assert_eq!(user.run(&["whoami"]).good().trim(), format!("admin (admin) at {}, server {}", double.url, env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_code_comes_from_stdin_too() {
    let double = Double::start();
    let user = User::new();
    let mut child = user.command(&["login", &double.url, "--code", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", double.code()).as_bytes()).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.text.as_str()), (0, ""), "{}", ran.errors);
    assert!(!ran.errors.contains("secret"), "{}", ran.errors);
}

#[test]
fn a_server_with_another_key_is_refused_before_the_code_is_sent() {
    let (real, impostor) = (Double::start(), Double::start());
    let user = User::new();
    let ran = user.login(&impostor.url, &real.code());
    assert_eq!(ran.code, 1);
    assert!(ran.errors.contains("certificate is not of the deployment"), "{}", ran.errors);
    assert_eq!(impostor.calls(), Vec::<String>::new());
}

#[test]
fn a_kept_sign_in_does_not_go_to_a_server_with_another_key() {
    let (real, impostor) = (Double::start(), Double::start());
    let user = User::signed_in(&real);
    let moved = fs::read_to_string(user.config()).unwrap().replace(&real.url, &impostor.url);
    fs::write(user.config(), moved).unwrap();
    assert_eq!(user.run(&["whoami"]).code, 1);
    assert_eq!(impostor.calls(), Vec::<String>::new());
}

#[test]
fn a_used_code_is_denied_and_says_how_to_get_another() {
    let double = Double::start();
    let ran = User::new().login(&double.url, &format!("ps1.id.wrong.{}", double.pin));
    assert_eq!(ran.code, 4);
    assert!(ran.errors.contains("picket-server sign-in"), "{}", ran.errors);
}

#[test]
fn a_code_on_the_command_line_and_a_malformed_one_are_usage_errors() {
    let double = Double::start();
    let user = User::new();
    assert_eq!(user.run(&["login", &double.url, "--code", &double.code()]).code, 2);
    assert_eq!(user.login(&double.url, "hello").code, 2);
    assert_eq!(user.login("http://127.0.0.1:1", &double.code()).code, 2);
    assert_eq!(user.run(&["no-such-command"]).code, 2);
}

#[test]
fn without_a_sign_in_commands_are_denied_and_say_what_to_do() {
    let ran = User::new().run(&["hosts"]);
    assert_eq!(ran.code, 4);
    assert!(ran.errors.contains("picketctl login"), "{}", ran.errors);
}

#[test]
fn a_token_that_the_server_ended_is_denied() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let stale = fs::read_to_string(user.config()).unwrap().replace(TOKEN, "pk1.id.stale");
    fs::write(user.config(), stale).unwrap();
    let ran = user.run(&["hosts"]);
    assert_eq!(ran.code, 4);
    assert!(ran.errors.contains("sign in again"), "{}", ran.errors);
}

#[test]
fn signing_out_ends_the_token_there_and_here() {
    let double = Double::start();
    let user = User::signed_in(&double);
    user.run(&["logout"]).good();
    assert!(double.calls().contains(&"SignOut".to_owned()));
    assert!(!fs::read_to_string(user.config()).unwrap().contains(TOKEN));
    let ran = user.run(&["hosts"]);
    assert_eq!(ran.code, 4, "{}", ran.errors);
}

#[test]
fn contexts_are_listed_chosen_and_removed() {
    let (one, two) = (Double::start(), Double::start());
    let user = User::signed_in(&one);
    let file = user.folder.path().join("code2");
    fs::write(&file, two.code()).unwrap();
    user.run(&["login", &two.url, "--code-file", file.to_str().unwrap(), "--name", "prod"]).good();
    let current = |user: &User| {
        let ran = user.run(&["contexts", "--format", "jsonl"]);
        ran.values().into_iter().filter(|context| context["current"] == true).map(|context| context["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(current(&user), ["prod"], "the last sign-in is in use");
    user.run(&["contexts", "use", "lab"]).good();
    assert_eq!(current(&user), ["lab"]);
    assert!(user.run(&["whoami", "--context", "prod"]).good().contains(&two.url));
    assert_eq!(user.run(&["whoami", "--context", "nowhere"]).code, 2);
    user.run(&["contexts", "remove", "lab"]).good();
    assert_eq!(user.run(&["whoami"]).code, 4);
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let url = double.url.clone();
    drop(double);
    let ran = user.run(&["hosts"]);
    assert_eq!(ran.code, 1);
    assert!(ran.errors.contains(&url) && ran.errors.contains("is the server running?"), "{}", ran.errors);
}

#[test]
fn another_version_is_remarked_on_stderr_only() {
    let double = Double::start();
    let user = User::signed_in(&double);
    *double.shared.version.lock().unwrap() = "9.7.1".to_owned();
    let ran = user.run(&["server", "status"]);
    assert!(ran.errors.contains("9.7.1"), "{}", ran.errors);
    assert!(ran.good().contains("40 B an event"));
}

#[test]
fn hosts_fit_the_terminal_and_tell_kernel_probes_losses_and_cost() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let text = user.run(&["hosts"]).good();
    for part in ["gpu01", "connected", "6.1.0-42-amd64", "1/2", "7", "1.5 KiB", "1.2%", "42.0 MiB", "12345"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let narrow = Ran::from(user.command(&["hosts"]).env("COLUMNS", "80").output().unwrap()).good();
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    let values = user.run(&["hosts", "--format", "jsonl"]).values();
    assert_eq!((values[0]["hostname"].as_str(), values[0]["state"].as_str()), (Some("gpu01"), Some("STATE_CONNECTED")));
    let array: Value = serde_json::from_str(&user.run(&["hosts", "--format", "json"]).good()).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 1);
}

#[test]
fn no_hosts_is_an_empty_list_and_a_word_on_stderr() {
    let double = Double::start();
    let user = User::signed_in(&double);
    double.shared.hosts.lock().unwrap().clear();
    assert!(user.run(&["hosts"]).errors.contains("tokens create"));
    assert_eq!(user.run(&["hosts", "--format", "json"]).good().trim(), "[]");
}

#[test]
fn one_host_shows_what_it_cannot_see_and_why() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let text = user.run(&["hosts", "show", "gpu01"]).good();
    for part in ["unlink", "no such tracepoint", "/srv/models", "no such folder", "ring_full", "Debian"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    user.run(&["hosts", "refresh", "gpu01"]).good();
    user.run(&["scans", "start", "--host", "gpu01", "/srv/models", "/data"]).good();
    assert!(double.calls().contains(&"Hosts/Scan gpu01 /srv/models,/data".to_owned()));
    assert!(double.calls().contains(&"Hosts/Refresh gpu01".to_owned()));
    let ran = user.run(&["hosts", "show", "gpu99"]);
    assert_eq!((ran.code, ran.text.as_str()), (3, ""), "{}", ran.errors);
}

#[test]
fn scans_are_one_line_each_and_one_shows_its_findings() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let list = user.run(&["scans", "list", "--wide"]).good();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("scan-1") && list.contains("Completed") && !list.contains("scan-2"), "{list}");
    let all = user.run(&["--format", "json", "scans", "list", "--all", "--host", "gpu01"]).good();
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!((all[0]["uid"].as_str(), all[1]["uid"].as_str(), all[2].as_str()), (Some("scan-2"), Some("scan-1"), None));
    assert_eq!((all[1]["files"].as_u64(), all[1]["bytes"].as_u64(), all[1]["skipped"].as_u64()), (Some(512), Some(1536), Some(2)));
    assert!(double.calls().iter().any(|call| call.starts_with("Search class:scan host:\"gpu01\"")));
    let first = user.run(&["scans", "list", "--all", "--limit", "1"]);
    assert!(first.errors.contains("more than 1"), "{}", first.errors);
    // By the id of the command that asked for it.
    let one = user.run(&["scans", "show", "command-1"]).good();
    assert!(one.contains("PICKET-PKL-001") && one.contains("A pickle calls os.system") && !one.contains("of another scan"), "{one}");
    assert!(one.contains("2023-11-14 22:13:21Z") && one.contains("512 files, 1.5 KiB") && !one.contains('\u{1b}'), "{one}");
    let one: Value = serde_json::from_str(&user.run(&["--format", "json", "scans", "show", "scan-1"]).good()).unwrap();
    assert_eq!((one["state"].as_str(), one["findings"].as_array().map(Vec::len)), (Some("Completed"), Some(1)));
    assert_eq!(user.run(&["scans", "show", "scan-9"]).code, 3);
}

#[test]
fn revoking_asks_first() {
    let double = Double::start();
    let user = User::signed_in(&double);
    assert_eq!(user.run(&["hosts", "revoke", "gpu01", "--reason", "stolen"]).code, 2, "no terminal to ask at");
    assert!(!double.calls().iter().any(|call| call.starts_with("Hosts/Revoke")));
    user.run(&["hosts", "revoke", "gpu01", "--reason", "stolen", "--yes"]).good();
    assert!(double.calls().contains(&"Hosts/Revoke gpu01 stolen".to_owned()));
}

#[test]
fn refusals_audit_and_tokens_are_listed() {
    let double = Double::start();
    let user = User::signed_in(&double);
    assert!(user.run(&["hosts", "refusals"]).good().contains("certificate of another CA"));
    assert_eq!(user.run(&["hosts", "refusals", "--format", "jsonl"]).values()[0]["reason"], "unknown_ca");
    assert!(user.run(&["audit", "--limit", "5"]).good().contains("Hosts/Revoke"));
    assert!(double.calls().contains(&"Audit 5".to_owned()));
    assert!(user.run(&["tokens", "list"]).good().contains("rack 7"));
    user.run(&["tokens", "revoke", "t1"]).good();
    assert!(double.calls().contains(&"Tokens/Revoke t1".to_owned()));
}

#[test]
fn a_new_token_is_all_that_stands_on_stdout() {
    let double = Double::start();
    let user = User::signed_in(&double);
    assert_eq!(user.run(&["tokens", "create", "--ttl", "10m", "--label", "rack 7"]).good(), "pe1.t1.secret.pin\n");
    assert!(double.calls().contains(&"Tokens/Create 600 rack 7".to_owned()));
    for ttl in ["25h", "0s", "soon", "-1h"] {
        assert_eq!(user.run(&["tokens", "create", &format!("--ttl={ttl}")]).code, 2, "{ttl}");
    }
}

#[test]
fn a_search_follows_cursors_to_the_limit_and_to_the_end() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let ran = user.run(&["events", "search", "x", "--limit", "1500", "--format", "jsonl"]);
    assert!(ran.errors.contains("--all"), "{}", ran.errors);
    let numbers: Vec<u64> = ran.values().iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..1500).collect::<Vec<u64>>());
    let searches: Vec<String> = double.calls().into_iter().filter(|call| call.starts_with("Search")).collect();
    assert_eq!(searches, ["Search x limit 1000 cursor ", "Search x limit 500 cursor 1000"]);
    assert_eq!(user.run(&["events", "search", "--all", "--format", "json"]).values().len(), STORED);
}

#[test]
fn a_wrong_query_is_a_usage_error_with_its_position() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let ran = user.run(&["events", "search", "(("]);
    assert_eq!((ran.code, ran.errors.trim()), (2, "error: query, position 2: a bracket is not closed"));
    assert_eq!(user.run(&["events", "search", "x", "--since", "yesterday"]).code, 2);
    assert_eq!(user.run(&["events", "search", "x", "--since", "1h", "--until", "2h"]).code, 2);
}

#[test]
fn event_rows_fit_the_terminal_and_carry_no_escape_of_an_attacker() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let output = user.command(&["events", "search", "x", "--limit", "20"]).env("COLUMNS", "100").output().unwrap();
    let text = Ran::from(output).good();
    assert_eq!(text.lines().count(), 21, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("python3(4711)"), "{text}");
    assert!(!user.run(&["events", "search", "x", "--wide"]).good().contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_ends_a_search_quietly() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let mut child = user.command(&["events", "search", "--all", "--format", "jsonl"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn a_tail_prints_what_comes_and_what_it_missed() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let ran = user.run(&["events", "tail", "class:file", "--last", "2", "--format", "jsonl"]);
    assert_eq!(ran.code, 5, "the server ended it: {}", ran.errors);
    assert!(ran.errors.contains("9 events were not shown"), "{}", ran.errors);
    assert_eq!(ran.values().len(), 2);
    assert!(double.calls().contains(&"Tail class:file last 2".to_owned()));
    assert_eq!(user.run(&["events", "tail"]).text.lines().count(), 3, "headings once");
}

#[test]
fn sql_prints_rows_and_exits_5_when_there_are_more() {
    let double = Double::start();
    let user = User::signed_in(&double);
    let ran = user.run(&["sql", "SELECT 1", "--format", "jsonl"]);
    assert_eq!(ran.values(), (0..3).map(|n| serde_json::json!({"n": n, "what": "x"})).collect::<Vec<_>>());
    assert!(user.run(&["sql", "SELECT 1"]).good().starts_with("n  what"));
    let ran = user.run(&["sql", "SELECT 1", "--limit", "2"]);
    assert_eq!((ran.code, ran.text.lines().count()), (5, 3), "{}", ran.errors);
    assert!(ran.errors.contains("there are more than these 2 rows"), "{}", ran.errors);
}

#[test]
fn columns_are_listed() {
    let double = Double::start();
    assert!(User::signed_in(&double).run(&["events", "columns"]).good().contains("file.path"));
}

#[test]
fn completion_and_man_pages_need_no_server() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(user.run(&["completion", shell]).good().contains("refusals"), "{shell}");
    }
    let pages = user.folder.path().join("man");
    user.run(&["man", pages.to_str().unwrap()]).good();
    for page in ["picketctl.1", "picketctl-hosts-revoke.1", "picketctl-events-search.1"] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
    }
    assert!(user.run(&["man"]).good().contains("picketctl"));
}
