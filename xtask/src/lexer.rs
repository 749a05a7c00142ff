//! A lexer just good enough to tell code from comments and strings in Rust and C, with line numbers.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Identifier or keyword.
    Word(String),
    /// Content of a string literal, escapes as written.
    Text(String),
    /// Any other single character that is not white space.
    Mark(char),
}

/// One token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// From 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// A function body found in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of its name, from 1.
    pub(crate) line: usize,
    /// From the name to the closing brace, both included.
    pub(crate) lines: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    C,
}

struct Lexer {
    text: Vec<char>,
    at: usize,
    line: usize,
    language: Language,
}

/// Tokens of a source text; comments, preprocessor lines and white space left out.
pub(crate) fn tokens(source: &str, language: Language) -> Vec<Token> {
    let mut lexer = Lexer { text: source.chars().collect(), at: 0, line: 1, language };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let character = self.peek(0)?;
        self.at += 1;
        if character == '\n' {
            self.line += 1;
        }
        Some(character)
    }

    fn next_token(&mut self) -> Option<Token> {
        loop {
            let character = self.peek(0)?;
            if character.is_whitespace() {
                self.bump();
            } else if character == '/' && self.peek(1) == Some('/') {
                self.skip_line();
            } else if character == '/' && self.peek(1) == Some('*') {
                self.skip_block_comment();
            } else if self.language == Language::C && character == '#' {
                self.skip_line();
            } else {
                break;
            }
        }
        let line = self.line;
        let character = self.peek(0)?;
        let kind = if character == '"' {
            self.bump();
            Kind::Text(self.string_body())
        } else if character == '\'' {
            return self.quote(line);
        } else if character.is_alphanumeric() || character == '_' {
            match self.raw_string_hashes() {
                Some(hashes) => Kind::Text(self.raw_string_body(hashes)),
                None => self.word(),
            }
        } else {
            self.bump();
            Kind::Mark(character)
        };
        Some(Token { kind, line })
    }

    /// To the end of the line; a backslash before it joins the next one in C.
    fn skip_line(&mut self) {
        let mut last = ' ';
        while let Some(character) = self.bump() {
            if character == '\n' && (self.language == Language::Rust || last != '\\') {
                return;
            }
            last = character;
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(character) = self.bump() {
            if character == '/' && self.peek(0) == Some('*') && (depth == 0 || self.language == Language::Rust) {
                self.bump();
                depth += 1;
            } else if character == '*' && self.peek(0) == Some('/') {
                self.bump();
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    fn string_body(&mut self) -> String {
        let mut body = String::new();
        while let Some(character) = self.bump() {
            match character {
                '"' => break,
                '\\' => {
                    body.push(character);
                    body.extend(self.bump());
                }
                other => body.push(other),
            }
        }
        body
    }

    /// `r`, `br` or `cr` followed by hashes and a quote.
    fn raw_string_hashes(&self) -> Option<usize> {
        if self.language == Language::C {
            return None;
        }
        let prefix = match (self.peek(0), self.peek(1)) {
            (Some('r'), _) => 1,
            (Some('b' | 'c'), Some('r')) => 2,
            _ => return None,
        };
        let hashes = (0..).take_while(|ahead| self.peek(prefix + ahead) == Some('#')).count();
        (self.peek(prefix + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string_body(&mut self, hashes: usize) -> String {
        while self.bump().is_some_and(|character| character != '"') {}
        let mut body = String::new();
        while let Some(character) = self.bump() {
            if character == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                break;
            }
            body.push(character);
        }
        body
    }

    fn word(&mut self) -> Kind {
        let mut word = String::new();
        while let Some(character) = self.peek(0).filter(|character| character.is_alphanumeric() || *character == '_') {
            word.push(character);
            self.bump();
        }
        // b"…" and c"…": the prefix is a word of its own, the string follows.
        Kind::Word(word)
    }

    /// A character literal becomes a text, a lifetime a mark.
    fn quote(&mut self, line: usize) -> Option<Token> {
        self.bump();
        let first = self.peek(0)?;
        let literal = first == '\\' || self.peek(1) == Some('\'');
        if !literal {
            return Some(Token { kind: Kind::Mark('\''), line });
        }
        let mut body = String::new();
        while let Some(character) = self.bump() {
            match character {
                '\'' => break,
                '\\' => {
                    body.push(character);
                    body.extend(self.bump());
                }
                other => body.push(other),
            }
        }
        Some(Token { kind: Kind::Text(body), line })
    }
}

/// Token ranges of the items under `#[cfg(test)]`.
pub(crate) fn test_ranges(tokens: &[Token]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match cfg_test_attribute(tokens, at) {
            Some(after) => {
                let end = item_end(tokens, after);
                ranges.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    ranges
}

/// The index after an attribute `#[cfg(… test …)]` that begins at `at`.
fn cfg_test_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let begins = tokens.get(at)?.is('#') && tokens.get(at + 1)?.is('[') && tokens.get(at + 2)?.is_word("cfg");
    if !begins {
        return None;
    }
    let end = matching(tokens, at + 1, '[', ']')?;
    let inside = tokens.get(at + 3..end)?;
    let tests = inside.iter().any(|token| token.is_word("test")) && !inside.iter().any(|token| token.is_word("not"));
    tests.then_some(end + 1)
}

/// The index after the item that begins at `at`: its closing brace or its semicolon.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let mut index = at;
    while let Some(token) = tokens.get(index) {
        if token.is(';') {
            return index + 1;
        }
        if token.is('[') {
            index = matching(tokens, index, '[', ']').unwrap_or(tokens.len());
        }
        if token.is('{') {
            return matching(tokens, index, '{', '}').map_or(tokens.len(), |end| end + 1);
        }
        index += 1;
    }
    tokens.len()
}

/// The index of the mark that closes the one at `open_at`.
fn matching(tokens: &[Token], open_at: usize, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open_at) {
        if token.is(open) {
            depth += 1;
        } else if token.is(close) {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(index);
            }
        }
    }
    None
}

/// Functions with a body.
pub(crate) fn functions(tokens: &[Token], language: Language) -> Vec<Function> {
    match language {
        Language::Rust => rust_functions(tokens),
        Language::C => c_functions(tokens),
    }
}

fn rust_functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = pair else { continue };
        let Some(name) = keyword.is_word("fn").then(|| name.word()).flatten() else { continue };
        let Some(open) = body_start(tokens, index + 2) else { continue };
        let Some(end) = matching(tokens, open, '{', '}').and_then(|close| tokens.get(close)) else { continue };
        found.push(Function { name: name.to_owned(), line: keyword.line, lines: end.line + 1 - keyword.line });
    }
    found
}

/// The brace that opens a function's body: the first one outside brackets, unless a semicolon comes first.
fn body_start(tokens: &[Token], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(from) {
        match token.kind {
            Kind::Mark('(' | '[') => depth += 1,
            Kind::Mark(')' | ']') => depth = depth.checked_sub(1)?,
            Kind::Mark(';') if depth == 0 => return None,
            Kind::Mark('{') if depth == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

/// In C a body is a brace at file level that follows a closing bracket; its name stands before the bracket's opening.
fn c_functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    let mut index = 0;
    let mut candidate: Option<(String, usize)> = None;
    while let Some(token) = tokens.get(index) {
        if let (Some(name), true) = (token.word(), tokens.get(index + 1).is_some_and(|next| next.is('('))) {
            candidate = Some((name.to_owned(), token.line));
            index = matching(tokens, index + 1, '(', ')').unwrap_or(tokens.len());
        } else if token.is(';') || token.is('=') {
            candidate = None;
        } else if token.is('{') {
            let Some(close) = matching(tokens, index, '{', '}') else { break };
            if let (Some((name, line)), Some(end)) = (candidate.take(), tokens.get(close)) {
                found.push(Function { name, line, lines: end.line + 1 - line });
            }
            index = close;
        }
        index += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = r####"
/* { /* nested { */ */
fn first<'a>(x: &'a [u8; 3]) -> char {
    let s = r#"fn not_here() { "#; // } {
    let c = '{';
    let d = '\'';
    "a \" {";
    c
}
trait T { fn declared(&self); }
#[cfg(test)]
mod tests {
    fn inside() { unsafe {} }
}
fn last() {}
"####;

    #[test]
    fn rust_functions_are_found_past_comments_strings_and_lifetimes() {
        let functions = functions(&tokens(RUST, Language::Rust), Language::Rust);
        let seen: Vec<_> = functions.iter().map(|function| (function.name.as_str(), function.line, function.lines)).collect();
        assert_eq!(seen, [("first", 3, 7), ("inside", 13, 1), ("last", 15, 1)]);
    }

    #[test]
    fn test_modules_are_told_apart() {
        let all = tokens(RUST, Language::Rust);
        let ranges = test_ranges(&all);
        let outside: Vec<_> = all.iter().enumerate().filter(|(index, _)| !ranges.iter().any(|range| range.contains(index))).map(|(_, token)| token).collect();
        assert!(!outside.iter().any(|token| token.is_word("unsafe")));
        assert!(outside.iter().any(|token| token.is_word("last")));
        assert!(test_ranges(&tokens("#[cfg(not(test))] mod m { fn f() {} }", Language::Rust)).is_empty());
    }

    #[test]
    fn c_functions_are_found_past_macros_and_tables() {
        let source = "#define M(x) do { \\\n x; } while (0)\nstruct { int a; } table SEC(\".maps\");\nSEC(\"tp_btf/x\")\nint BPF_PROG(handle, int a)\n{\n  if (a) { return 1; }\n  return 0;\n}\nstatic const int t[] = { 1, 2 };\n";
        let functions = functions(&tokens(source, Language::C), Language::C);
        assert_eq!(functions, [Function { name: "BPF_PROG".to_owned(), line: 5, lines: 5 }]);
    }

    #[test]
    fn texts_are_kept_and_comments_are_not() {
        let all = tokens("// \"no\"\nlet x = \"SELECT 1\"; let y = br\"raw\";", Language::Rust);
        let texts: Vec<_> = all.iter().filter_map(|token| if let Kind::Text(text) = &token.kind { Some(text.as_str()) } else { None }).collect();
        assert_eq!(texts, ["SELECT 1", "raw"]);
    }
}
