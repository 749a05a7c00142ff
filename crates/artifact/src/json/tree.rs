//! A JSON tree that keeps what other trees drop: keys that appear twice, and what Python's reader takes beyond the standard
//! (`NaN`, `Infinity`, lone surrogates, control characters in strings), because that is who loads these files.

use std::collections::HashSet;

/// Values of one document, 32 bytes and up to 100 each: 200 MiB and the text. A tokenizer with 250,000 words and its merges has a million.
const VALUES_MAX: u64 = 2_000_000;
/// Levels of brackets; Python's reader ends at about a thousand, configurations have some twenty.
const DEPTH_MAX: u32 = 256;
/// Keys that appear twice, kept by name.
const DUPLICATES_MAX: usize = 20;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number,
    Text(Box<str>),
    List(Vec<Json>),
    Object(Vec<(Box<str>, Json)>),
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// No reader takes it, at this byte.
    Syntax(usize),
    /// A reader may take it, we do not.
    Limit(&'static str),
}

/// A document and the keys that appear twice in one of its objects.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Json,
    pub(crate) duplicates: Vec<String>,
}

/// Parses one document.
pub(crate) fn parse(text: &str) -> Result<Document, JsonError> {
    let mut parser = Parser { text, at: 0, left: VALUES_MAX, duplicates: Vec::new() };
    parser.eat("\u{feff}");
    let root = parser.value(DEPTH_MAX)?;
    parser.space();
    if parser.at < text.len() { Err(JsonError::Syntax(parser.at)) } else { Ok(Document { root, duplicates: parser.duplicates }) }
}

impl Json {
    /// The last value under a key, as Python keeps it.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.all(key).last()
    }

    /// Every value under a key.
    pub(crate) fn all<'j>(&'j self, key: &str) -> impl Iterator<Item = &'j Json> {
        self.pairs().iter().filter(move |(name, _)| &**name == key).map(|(_, value)| value)
    }

    pub(crate) fn pairs(&self) -> &[(Box<str>, Json)] {
        match self {
            Self::Object(pairs) => pairs,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Json] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text, or the lines of a list joined, as notebooks write source.
    pub(crate) fn lines(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            _ => self.items().iter().filter_map(Json::text).collect(),
        }
    }

    /// Calls `look` for every object, with the path to it; depth is what the parser allowed.
    pub(crate) fn objects<'j>(&'j self, path: &str, look: &mut dyn FnMut(&str, &'j Json)) {
        match self {
            Self::Object(pairs) => {
                look(path, self);
                for (key, value) in pairs {
                    if matches!(value, Self::Object(_) | Self::List(_)) {
                        value.objects(&format!("{path}.{key}"), look);
                    }
                }
            }
            Self::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    if matches!(item, Self::Object(_) | Self::List(_)) {
                        item.objects(&format!("{path}[{number}]"), look);
                    }
                }
            }
            _ => {}
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    left: u64,
    duplicates: Vec<String>,
}

type Parsed<T> = Result<T, JsonError>;

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn spend(&mut self) -> Parsed<()> {
        self.left = self.left.checked_sub(1).ok_or(JsonError::Limit("the document has more values than the limit"))?;
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Parsed<Json> {
        let depth = depth.checked_sub(1).ok_or(JsonError::Limit("the document is nested deeper than the limit"))?;
        self.spend()?;
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false)), ("NaN", Json::Number), ("Infinity", Json::Number)];
                for (word, value) in words {
                    if self.eat(word) {
                        return Ok(value);
                    }
                }
                Err(JsonError::Syntax(self.at))
            }
        }
    }

    fn number(&mut self) -> Parsed<Json> {
        if self.eat("-Infinity") {
            return Ok(Json::Number);
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        self.at += end;
        Ok(Json::Number)
    }

    fn list(&mut self, depth: u32) -> Parsed<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.eat("]") {
                return Ok(Json::List(items));
            }
            if !self.eat(",") {
                return Err(JsonError::Syntax(self.at));
            }
        }
    }

    fn object(&mut self, depth: u32) -> Parsed<Json> {
        self.at += 1;
        let mut pairs: Vec<(Box<str>, Json)> = Vec::new();
        self.space();
        if !self.eat("}") {
            loop {
                self.space();
                let key = self.string()?;
                self.space();
                if !self.eat(":") {
                    return Err(JsonError::Syntax(self.at));
                }
                pairs.push((key, self.value(depth)?));
                self.space();
                if self.eat("}") {
                    break;
                }
                if !self.eat(",") {
                    return Err(JsonError::Syntax(self.at));
                }
            }
        }
        let mut seen = HashSet::with_capacity(pairs.len());
        for (key, _) in &pairs {
            if !seen.insert(&**key) && self.duplicates.len() < DUPLICATES_MAX {
                self.duplicates.push(key.to_string());
            }
        }
        Ok(Json::Object(pairs))
    }

    fn string(&mut self) -> Parsed<Box<str>> {
        if !self.eat("\"") {
            return Err(JsonError::Syntax(self.at));
        }
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find(['"', '\\']) else { return Err(JsonError::Syntax(self.at)) };
            out.push_str(rest.get(..end).unwrap_or_default());
            let quote = rest.as_bytes().get(end) == Some(&b'"');
            self.at += end + 1;
            if quote {
                return Ok(out.into_boxed_str());
            }
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let kind = self.peek().ok_or(JsonError::Syntax(self.at))?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                let low = if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
                    let before = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        Some(low)
                    } else {
                        self.at = before;
                        None
                    }
                } else {
                    None
                };
                let code = low.map_or(high, |low| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                char::from_u32(code).unwrap_or('\u{fffd}')
            }
            _ => return Err(JsonError::Syntax(self.at)),
        })
    }

    fn hex(&mut self) -> Parsed<u32> {
        let code = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or(JsonError::Syntax(self.at))
    }
}
