//! What a process was started as: its program, however it was reached, and its arguments.

/// Interpreters whose first argument that is no option is the program.
const INTERPRETERS: [&str; 10] = ["python*", "pypy*", "node", "nodejs", "bun", "deno", "perl*", "ruby*", "Rscript", "java"];
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh*", "ash", "busybox"];
/// Options of these interpreters that take the next argument.
const WITH_VALUE: [&str; 5] = ["-X", "-W", "-r", "--require", "--import"];
/// Options of the others that are followed by code instead of a script. Python's and the shells' is `-c`, also joined to others as in `-lc`.
const INLINE: [&str; 5] = ["-c", "-e", "-E", "-pe", "--eval"];

/// A started program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// Base names: of the executable, and of the script that it interprets.
    names: Vec<String>,
    /// Of `python -m`.
    module: String,
    /// After the program.
    arguments: Vec<String>,
}

impl Invocation {
    /// Of an executable (its path, or its name where that is all that is known) with NUL-separated arguments.
    pub(crate) fn new(executable: &str, args: &[u8]) -> Self {
        let end = args.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let args: Vec<String> = args.get(..end).unwrap_or_default().split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        Self::of(executable, &args)
    }

    pub(crate) fn of(executable: &str, args: &[String]) -> Self {
        let own = base(executable);
        let mut names: Vec<String> = Vec::new();
        // A kernel that had to fall back on the name, a multi-call binary: the first argument is what it was called as.
        let called = args.first().map(|arg| base(arg.trim_start_matches('-'))).unwrap_or_default();
        names.extend([own, called].into_iter().filter(|name| !name.is_empty()));
        names.dedup();
        let rest = args.get(1..).unwrap_or_default();
        let interprets = |patterns: &[&str]| names.iter().any(|name| patterns.iter().any(|pattern| matches(pattern, name)));
        if !interprets(&INTERPRETERS) && !interprets(&SHELLS) {
            return Self { names, module: String::new(), arguments: rest.to_vec() };
        }
        let (python, shell) = (interprets(&["python*", "pypy*"]), interprets(&SHELLS));
        let mut at = 0;
        while let Some(arg) = rest.get(at) {
            at += 1;
            let short = arg.starts_with('-') && !arg.starts_with("--");
            if if python || shell { short && arg.ends_with('c') } else { INLINE.contains(&arg.as_str()) } {
                break;
            }
            // `-m`, and joined to others as in `-Im`.
            if python && short && arg.ends_with('m') {
                let module = rest.get(at).cloned().unwrap_or_default();
                return Self { names, module, arguments: rest.get(at + 1..).unwrap_or_default().to_vec() };
            }
            if !shell && WITH_VALUE.contains(&arg.as_str()) {
                at += 1;
            } else if !arg.starts_with('-') {
                names.push(base(arg));
                return Self { names, module: String::new(), arguments: rest.get(at..).unwrap_or_default().to_vec() };
            }
        }
        Self { names, module: String::new(), arguments: rest.get(at..).unwrap_or_default().to_vec() }
    }

    /// Of a line as rules write their examples: words by spaces (`%20` stands for one inside a word), variables before the executable.
    pub(crate) fn example(line: &str) -> (Self, Vec<(String, String)>) {
        let words = line.split_whitespace().map(|word| word.replace("%20", " "));
        let (mut environment, mut args) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if args.is_empty() => environment.push((name.to_owned(), value.to_owned())),
                _ => args.push(word),
            }
        }
        let executable = args.first().cloned().unwrap_or_default();
        (Self::of(&executable, &args), environment)
    }

    /// True where the executable or the script has such a name.
    pub(crate) fn is_named(&self, pattern: &str) -> bool {
        self.names.iter().any(|name| matches(pattern, name))
    }

    /// True where it runs this module or one within it.
    pub(crate) fn is_module(&self, module: &str) -> bool {
        self.module.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// True where the first argument that is no option is this.
    pub(crate) fn command_is(&self, pattern: &str) -> bool {
        self.arguments.iter().find(|arg| !arg.starts_with('-')).is_some_and(|command| matches(pattern, command))
    }

    /// True where some argument is this.
    pub(crate) fn has_argument(&self, pattern: &str) -> bool {
        self.arguments.iter().any(|arg| matches(pattern, arg))
    }

    /// The value of an option, as `--name value` or `--name=value`.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let joined = |arg: &'_ str| arg.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).is_some();
        let at = self.arguments.iter().position(|arg| arg == name || joined(arg))?;
        let arg = self.arguments.get(at)?;
        Some(match arg.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            Some(value) => value,
            None => self.arguments.get(at + 1).map_or("", String::as_str),
        })
    }

    /// The program, for people.
    pub(crate) fn name(&self) -> &str {
        if self.module.is_empty() { self.names.last().map_or("", String::as_str) } else { &self.module }
    }
}

fn base(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// `*` stands for any text. Linear but for the last `*`, to which it goes back.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if text.get(from) == Some(byte) => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((star_at, star_from)) => {
                    star = Some((star_at, star_from + 1));
                    (at, from) = (star_at + 1, star_from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(line: &str) -> Invocation {
        Invocation::example(line).0
    }

    #[test]
    fn the_program_is_found_behind_its_interpreter() {
        let pip = of("/usr/bin/python3.11 -X dev -u /usr/bin/pip --quiet install x");
        assert!(pip.is_named("pip") && pip.is_named("python*") && pip.command_is("install") && pip.has_argument("x") && !pip.is_module("pip"));
        let module = of("/usr/bin/python3 -Im pip.main install");
        assert!(module.is_module("pip") && !module.is_module("pi") && module.command_is("install"));
        let inline = of("/usr/bin/python3 -c pip install");
        assert!(!inline.is_named("pip") && inline.has_argument("install"));
        let shell = of("/bin/sh -e /srv/run.sh a");
        assert!(shell.is_named("run.sh") && shell.is_named("sh") && shell.has_argument("a"));
        assert!(!of("/bin/bash -lc pip").is_named("pip") && of("/usr/bin/node /usr/bin/npm ci").command_is("ci"));
        assert!(of("/usr/bin/grep pip").has_argument("pip") && !of("/usr/bin/grep pip").is_named("pip"));
        assert!(Invocation::new("/bin/busybox", b"-ash\0").is_named("ash"), "a login shell");
        assert_eq!(Invocation::new("", b""), Invocation::default());
    }

    #[test]
    fn options_have_values() {
        let vllm = of("/usr/bin/vllm serve m --host 0.0.0.0 --port=80 --flag");
        assert_eq!([vllm.option("--host"), vllm.option("--port"), vllm.option("--flag"), vllm.option("--hos")], [Some("0.0.0.0"), Some("80"), Some(""), None]);
    }

    #[test]
    fn patterns() {
        assert!(
            matches("train_*.py", "train_lora.py") && matches("*fine*.py", "my_finetune.py") && matches("*a*", "bab") && matches("a*", "a") && matches("*", "")
        );
        assert!(matches("a*b*c", "a-b-b-c") && matches("", ""));
        assert!(!matches("ab*ba", "aba") && !matches("a", "ab") && !matches("*finetune*.py", "finetune.pyc") && !matches("a*b", "a"));
    }

    proptest! {
        #[test]
        fn any_arguments_are_taken(executable in ".{0,20}", args in proptest::collection::vec(any::<u8>(), 0..200)) {
            let invocation = Invocation::new(&executable, &args);
            let _ = (invocation.is_named("a*"), invocation.command_is("y"));
        }
    }
}
