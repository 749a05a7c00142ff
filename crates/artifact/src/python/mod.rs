//! Python source beside models: what it runs when it is imported, and payloads that it decodes or fetches to run.
//!
//! Names are followed through `import … as`, `from … import`, and `__import__("…")`; strings and comments are not code. Using
//! `subprocess` in a function is what programs do and no finding by itself.

mod lexer;
#[cfg(test)]
mod tests;

use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use lexer::{Kind, Token, tokens};
use std::collections::HashMap;

/// Where a piece of code stands.
pub(crate) struct Context {
    /// A cell of a notebook, a key of a configuration.
    pub(crate) key: Option<String>,
    /// Commands on import are findings: the file is one that a loader imports.
    pub(crate) import_time: bool,
}

/// Calls looked at in one file.
const CALLS_MAX: usize = 100_000;
/// Tokens of one call's arguments that are searched for what it decodes or fetches.
const ARGUMENTS_MAX: usize = 2000;

/// What a called name does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Command,
    Evaluates,
    Fetches,
    Decodes,
    Unpickles,
}

pub(crate) fn examine_code(scan: &mut Scan<'_>, place: &Place, text: &str, context: &Context) {
    let (tokens, cut) = tokens(text);
    if cut {
        scan.incomplete(place, "the source has more tokens than the limit");
    }
    let imports = imports(&tokens);
    let calls = calls(&tokens, &imports);
    for (index, call) in calls.iter().enumerate() {
        let Some(action) = action(&call.name) else { continue };
        if matches!(action, Action::Fetches | Action::Decodes) {
            continue;
        }
        // Calls stand in the order of their brackets, so those inside this one follow it.
        let inside = calls.iter().skip(index + 1).take_while(|other| other.token < call.end);
        let inner: Vec<(Action, &str)> = inside.filter_map(|other| Some((action_of(other)?, other.name.as_str()))).collect();
        judge(scan, place, context, text, call, action, &inner);
    }
    reverse_shell(scan, place, context, &calls);
}

fn action_of(call: &Call) -> Option<Action> {
    action(&call.name)
}

fn judge(scan: &mut Scan<'_>, place: &Place, context: &Context, text: &str, call: &Call, action: Action, inner: &[(Action, &str)]) {
    let name = &call.name;
    let source = inner.iter().find(|(action, _)| matches!(action, Action::Fetches | Action::Decodes));
    let explanation = match (action, source) {
        (Action::Evaluates | Action::Command | Action::Unpickles, Some((_, how))) => {
            format!("{name} runs what {how} yields: code that is not in the file as text.")
        }
        (Action::Command, None) if call.import_time && context.import_time => {
            let explanation = format!("Importing this file calls {name}, which runs commands.");
            let rule = if call.plain_program { &rules::CODE_RISKY } else { &rules::CODE_MALICIOUS };
            return add(scan, place, context, rule, text, call, explanation);
        }
        (Action::Command, None) if shell_fetches_and_runs(line(text, call.at)) => {
            format!("{name} is given a command line that fetches or decodes a program and runs it.")
        }
        (Action::Evaluates, None) if call.import_time && context.import_time && !call.constant && !is_own_version(text, call) => {
            let explanation = format!("Importing this file calls {name}, which runs code that is made while it runs.");
            return add(scan, place, context, &rules::CODE_RISKY, text, call, explanation);
        }
        _ => return,
    };
    add(scan, place, context, &rules::CODE_MALICIOUS, text, call, explanation);
}

/// `exec(open("version.py").read())` is how packages read their own version.
fn is_own_version(text: &str, call: &Call) -> bool {
    let line = line(text, call.at);
    line.contains("version") || line.contains("__about__")
}

fn add(scan: &mut Scan<'_>, place: &Place, context: &Context, rule: &'static rules::Rule, text: &str, call: &Call, explanation: String) {
    let finding = Finding::new(rule, &place.member, explanation).value(line(text, call.at).trim());
    scan.add(match &context.key {
        Some(key) => finding.key(key),
        None => finding.at(place.base.saturating_add(call.at as u64)),
    });
}

/// A socket whose descriptors become those of a shell.
fn reverse_shell(scan: &mut Scan<'_>, place: &Place, context: &Context, calls: &[Call]) {
    let has = |name: &str| calls.iter().find(|call| call.name == name);
    if let (Some(_), Some(dup)) = (has("socket.socket").or_else(|| has("socket.create_connection")), has("os.dup2")) {
        let finding =
            Finding::new(&rules::CODE_MALICIOUS, &place.member, "A network connection takes the place of standard input and output, as a reverse shell does.");
        scan.add(match &context.key {
            Some(key) => finding.key(key),
            None => finding.at(place.base.saturating_add(dup.at as u64)),
        });
    }
}

fn line(text: &str, at: usize) -> &str {
    let start = text.get(..at).and_then(|head| head.rfind('\n')).map_or(0, |newline| newline + 1);
    let rest = text.get(start..).unwrap_or_default();
    rest.get(..rest.find('\n').unwrap_or(rest.len())).unwrap_or_default()
}

/// A command line that pipes a download or a decoder into an interpreter.
pub(crate) fn shell_fetches_and_runs(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let word = |text: &str, wanted: &[&str]| text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).any(|part| wanted.contains(&part));
    let interpreters = ["sh", "bash", "zsh", "dash", "ksh", "python", "python3", "perl", "ruby", "node"];
    let mut stages = lower.split('|');
    let mut source = stages.next().is_some_and(|first| word(first, &["curl", "wget", "fetch", "nc", "ncat", "base64", "xxd", "openssl"]));
    for stage in stages {
        if source && word(stage, &interpreters) {
            return true;
        }
        source |= word(stage, &["base64", "xxd", "openssl"]);
    }
    // sh -c "$(curl …)", bash <(curl …), /dev/tcp
    let substituted = ["$(curl", "$(wget", "`curl", "`wget", "<(curl", "<(wget"].iter().any(|form| lower.contains(form)) && word(&lower, &interpreters);
    substituted || lower.contains("/dev/tcp/")
}

struct Call {
    /// Full name, imports resolved.
    name: String,
    at: usize,
    /// Index of the opening bracket's token, and of the closing one's.
    token: usize,
    end: usize,
    import_time: bool,
    /// The first argument begins with a string.
    constant: bool,
    /// A list of words that begins with no shell and no downloader, as builds ask their tools.
    plain_program: bool,
}

/// Local names and what they stand for.
fn imports(tokens: &[Token]) -> HashMap<String, String> {
    let mut known = HashMap::new();
    for statement in tokens.split(|token| token.kind == Kind::Line || token.kind == Kind::Sign(';')) {
        let words: Vec<&Kind> = statement.iter().map(|token| &token.kind).collect();
        match words.split_first() {
            Some((Kind::Name(first), rest)) if first == "import" => {
                for item in rest.split(|kind| **kind == Kind::Sign(',')) {
                    let (module, alias) = aliased(item);
                    if let Some(alias) = alias {
                        known.insert(alias, module);
                    }
                }
            }
            Some((Kind::Name(first), rest)) if first == "from" => {
                let Some(split) = rest.iter().position(|kind| matches!(kind, Kind::Name(name) if name == "import")) else { continue };
                let (module, names) = rest.split_at(split);
                let (module, _) = aliased(module);
                for item in names.get(1..).unwrap_or_default().split(|kind| **kind == Kind::Sign(',')) {
                    let (name, alias) = aliased(item);
                    known.insert(alias.unwrap_or_else(|| name.clone()), format!("{module}.{name}"));
                }
            }
            _ => {}
        }
    }
    known
}

/// `a.b as c`
fn aliased(item: &[&Kind]) -> (String, Option<String>) {
    let mut name = String::new();
    let mut words = item.iter();
    while let Some(kind) = words.next() {
        match kind {
            Kind::Name(word) if word == "as" => {
                return match words.next() {
                    Some(Kind::Name(alias)) => (name, Some(alias.clone())),
                    _ => (name, None),
                };
            }
            Kind::Name(word) => name.push_str(word),
            Kind::Sign('.') => name.push('.'),
            _ => {}
        }
    }
    (name, None)
}

fn calls(tokens: &[Token], imports: &HashMap<String, String>) -> Vec<Call> {
    let mut calls = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Sign('(') || calls.len() >= CALLS_MAX {
            continue;
        }
        let Some((name, at)) = called_name(tokens.get(..index).unwrap_or_default(), imports) else { continue };
        let end = closing(tokens, index);
        let arguments = tokens.get(index + 1..end.min(tokens.len())).unwrap_or_default();
        let constant = matches!(arguments.first().map(|token| &token.kind), Some(Kind::Text(_)));
        calls.push(Call { plain_program: plain_program(&name, arguments), name, at, token: index, end, import_time: token.import_time, constant });
    }
    calls
}

fn plain_program(name: &str, arguments: &[Token]) -> bool {
    const SHELLS: &[&str] = &[
        "sh",
        "bash",
        "zsh",
        "dash",
        "cmd",
        "cmd.exe",
        "powershell",
        "pwsh",
        "curl",
        "wget",
        "nc",
        "ncat",
        "socat",
        "python",
        "python3",
        "perl",
        "ruby",
        "node",
        "osascript",
        "-c",
    ];
    let list = matches!(arguments.first().map(|token| &token.kind), Some(Kind::Sign('[')));
    let shell = arguments.iter().any(|token| match &token.kind {
        Kind::Text(text) => SHELLS.contains(&text.rsplit('/').next().unwrap_or(text)),
        Kind::Name(word) => word == "shell",
        _ => false,
    });
    name.starts_with("subprocess.") && list && !shell
}

/// The dotted name before a bracket.
fn called_name(before: &[Token], imports: &HashMap<String, String>) -> Option<(String, usize)> {
    let mut parts: Vec<&str> = Vec::new();
    let mut tokens = before.iter().rev();
    let mut at;
    loop {
        let token = tokens.next()?;
        at = token.at;
        match &token.kind {
            Kind::Name(name) => parts.push(name),
            // `__import__("os").system(`
            Kind::Sign(')') => {
                let (Some(Kind::Text(module)), Some(Kind::Sign('(')), Some(Kind::Name(function))) =
                    (tokens.next().map(|token| &token.kind), tokens.next().map(|token| &token.kind), tokens.next().map(|token| &token.kind))
                else {
                    return None;
                };
                if !matches!(function.as_str(), "__import__" | "import_module") {
                    return None;
                }
                parts.push(module);
                break;
            }
            _ => return None,
        }
        let mut ahead = tokens.clone();
        match ahead.next().map(|token| &token.kind) {
            Some(Kind::Sign('.')) => tokens = ahead,
            Some(Kind::Name(word)) if matches!(word.as_str(), "def" | "class") => return None,
            _ => break,
        }
    }
    parts.reverse();
    let (first, rest) = parts.split_first()?;
    let mut name = imports.get(*first).cloned().unwrap_or_else(|| (*first).to_owned());
    for part in rest {
        name.push('.');
        name.push_str(part);
    }
    Some((name.trim_start_matches("builtins.").to_owned(), at))
}

fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_u32;
    for (index, token) in tokens.iter().enumerate().skip(open).take(ARGUMENTS_MAX) {
        match token.kind {
            Kind::Sign('(') => depth += 1,
            Kind::Sign(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    open.saturating_add(ARGUMENTS_MAX)
}

fn action(name: &str) -> Option<Action> {
    let exact = |names: &[&str]| names.contains(&name);
    let inside = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if exact(&["exec", "eval", "execfile", "runpy.run_path", "code.InteractiveConsole", "types.FunctionType", "types.CodeType"]) {
        return Some(Action::Evaluates);
    }
    if exact(&["os.system", "os.popen", "os.startfile", "pty.spawn", "commands.getoutput"]) || inside(&["subprocess.", "os.exec", "os.spawn", "os.posix_spawn"])
    {
        return (!matches!(name, "subprocess.DEVNULL" | "subprocess.list2cmdline")).then_some(Action::Command);
    }
    if exact(&["pickle.loads", "marshal.loads", "dill.loads", "cloudpickle.loads"]) {
        return Some(Action::Unpickles);
    }
    if exact(&["urllib.request.urlopen", "urllib.request.urlretrieve", "urllib2.urlopen", "requests.get", "requests.post", "httpx.get", "urlopen"]) {
        return Some(Action::Fetches);
    }
    let decodes = exact(&[
        "base64.b64decode",
        "base64.b32decode",
        "base64.b85decode",
        "base64.a85decode",
        "base64.decodebytes",
        "base64.urlsafe_b64decode",
        "binascii.unhexlify",
        "binascii.a2b_base64",
        "bytes.fromhex",
        "codecs.decode",
        "zlib.decompress",
        "lzma.decompress",
        "bz2.decompress",
        "gzip.decompress",
        "marshal.loads",
    ]);
    decodes.then_some(Action::Decodes)
}

/// A `.pth` file of a site directory: lines that begin with `import` run whenever Python starts.
pub(crate) fn examine_start_up(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let mut offset = 0;
    for content in text.split_inclusive('\n') {
        let trimmed = content.trim();
        if trimmed.starts_with("import ") || trimmed.starts_with("import\t") {
            let (tokens, _) = tokens(trimmed);
            let imports = imports(&tokens);
            let acts = calls(&tokens, &imports).iter().any(|call| action(&call.name).is_some() || call.name == "open");
            // Virtual environments and setuptools install these two.
            let usual = trimmed == "import _virtualenv" || (!acts && trimmed.contains("_distutils_hack"));
            if usual {
                offset += content.len() as u64;
                continue;
            }
            let rule = if acts { &rules::CODE_START_UP } else { &rules::CODE_RISKY };
            let explanation = "This line runs whenever Python starts with this folder among its site packages.";
            scan.add(Finding::new(rule, &place.member, explanation).at(place.base + offset).value(trimmed));
        }
        offset += content.len() as u64;
    }
}
