//! Python tokens with the nesting that decides when they run: enough of the language reference (chapter 2) to tell code from
//! strings and comments, and the top of a module from the inside of a function.

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Name(String),
    /// Contents of a string, prefixes and quotes removed, escapes left.
    Text(String),
    Number,
    Sign(char),
    /// End of a logical line.
    Line,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    /// Runs when the module is imported: not inside a function, not behind `if __name__ == "__main__"`.
    pub(super) import_time: bool,
}

/// Tokens of one file; more are not looked at. Generated modules have some hundred thousand.
const TOKENS_MAX: usize = 1_000_000;

/// What an indentation level belongs to.
struct Block {
    indent: usize,
    /// Its body runs on import.
    runs: bool,
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    brackets: u32,
    blocks: Vec<Block>,
    tokens: Vec<Token>,
    /// First tokens of the logical line, to know what a colon opens.
    line_start: usize,
    runs: bool,
}

/// All tokens; true when the file has more than are kept.
pub(super) fn tokens(text: &str) -> (Vec<Token>, bool) {
    let mut lexer = Lexer { text, at: 0, brackets: 0, blocks: Vec::new(), tokens: Vec::new(), line_start: 0, runs: true };
    lexer.indentation();
    while lexer.at < text.len() && lexer.tokens.len() < TOKENS_MAX {
        lexer.step();
    }
    let cut = lexer.at < text.len();
    (lexer.tokens, cut)
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let token = Token { kind, at: self.at, import_time: self.runs };
        self.tokens.push(token);
        self.at += length;
    }

    fn step(&mut self) {
        let Some(first) = self.rest().chars().next() else { return };
        match first {
            '\n' => {
                self.at += 1;
                if self.brackets == 0 {
                    self.end_line();
                    self.indentation();
                }
            }
            '\\' if self.rest().starts_with("\\\n") => self.at += 2,
            '#' => {
                let end = self.rest().find('\n').unwrap_or(self.rest().len());
                self.at += end;
            }
            _ if first.is_whitespace() => self.at += first.len_utf8(),
            '\'' | '"' => self.string(0),
            '0'..='9' => {
                let end = self.rest().find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_'))).unwrap_or(self.rest().len());
                self.push(Kind::Number, end);
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = self.rest().find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest().len());
                let word = self.rest().get(..end).unwrap_or_default().to_owned();
                let prefix = word.len() <= 2 && word.chars().all(|c| matches!(c.to_ascii_lowercase(), 'r' | 'b' | 'u' | 'f' | 't'));
                if prefix && self.rest().get(end..).is_some_and(|rest| rest.starts_with(['\'', '"'])) {
                    self.string(end);
                } else {
                    self.push(Kind::Name(word), end);
                }
            }
            _ => {
                match first {
                    '(' | '[' | '{' => self.brackets += 1,
                    ')' | ']' | '}' => self.brackets = self.brackets.saturating_sub(1),
                    _ => {}
                }
                self.push(Kind::Sign(first), first.len_utf8());
            }
        }
    }

    /// A string that begins behind `prefix` letters.
    fn string(&mut self, prefix: usize) {
        let body = self.rest().get(prefix..).unwrap_or_default();
        let quote = if body.starts_with("'''") || body.starts_with("\"\"\"") { body.get(..3) } else { body.get(..1) };
        let Some(quote) = quote.map(str::to_owned) else { return self.at += 1 };
        let mut escaped = false;
        let mut end = None;
        for (at, character) in body.char_indices().skip(quote.len()) {
            if escaped {
                escaped = false;
            } else if character == '\\' {
                escaped = true;
            } else if body.get(at..).is_some_and(|rest| rest.starts_with(&quote)) {
                end = Some((at, at + quote.len()));
                break;
            } else if character == '\n' && quote.len() == 1 {
                // An unterminated string ends with its line; Python would refuse the file.
                end = Some((at, at));
                break;
            }
        }
        let (close, length) = end.unwrap_or((body.len(), body.len()));
        let text = body.get(quote.len()..close).unwrap_or_default().to_owned();
        self.push(Kind::Text(text), prefix + length);
    }

    fn end_line(&mut self) {
        if self.tokens.len() > self.line_start {
            self.push(Kind::Line, 0);
        }
    }

    /// At the start of a logical line: which blocks end, and whether the line before opened one.
    fn indentation(&mut self) {
        let line = self.rest();
        let content = line.trim_start_matches([' ', '\t', '\x0c']);
        if content.is_empty() || content.starts_with(['\n', '\r', '#']) {
            return;
        }
        let indent = line.len() - content.len();
        self.blocks.retain(|block| block.indent < indent);
        let opened = self.tokens.get(self.line_start..).unwrap_or_default();
        let colon = opened.iter().rev().find(|token| token.kind != Kind::Line).is_some_and(|token| token.kind == Kind::Sign(':'));
        if colon && self.blocks.last().is_none_or(|block| block.indent < indent) {
            let runs = self.runs_inside(opened);
            // The level is that of the body's own indentation, minus one so that it ends when the body does.
            self.blocks.push(Block { indent: indent.saturating_sub(1), runs });
        }
        self.runs = self.blocks.iter().all(|block| block.runs);
        self.line_start = self.tokens.len();
    }

    /// Whether the block that a line opens runs on import.
    fn runs_inside(&self, line: &[Token]) -> bool {
        let kinds: Vec<&Kind> = line.iter().map(|token| &token.kind).filter(|kind| **kind != Kind::Line).collect();
        let word = |kind: &Kind, wanted: &str| matches!(kind, Kind::Name(name) if name == wanted);
        match kinds.as_slice() {
            [first, ..] if word(first, "def") => false,
            [first, second, ..] if word(first, "async") && word(second, "def") => false,
            // Exactly `__name__ == "__main__"`, alone or with more conditions: `!=`, `not` and `or` run on import.
            [first, condition @ ..] if word(first, "if") => {
                let named = condition.windows(4).any(|four| match four {
                    [name, Kind::Sign('='), Kind::Sign('='), Kind::Text(main)] => word(name, "__name__") && main == "__main__",
                    _ => false,
                });
                !named || condition.iter().any(|kind| word(kind, "or") || word(kind, "not"))
            }
            _ => true,
        }
    }
}
