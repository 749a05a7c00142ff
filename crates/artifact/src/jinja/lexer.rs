//! Cuts a template into tags and tags into tokens, as Jinja's own lexer does.

/// One token of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    /// Escapes undone.
    Text(String),
    Number,
    /// Operators and brackets; two characters where Jinja has two.
    Sign(&'static str),
    /// A character that no expression has.
    Other,
}

/// One tag.
#[derive(Debug)]
pub(super) struct Tag<'t> {
    /// `{{ … }}` rather than `{% … %}`.
    pub(super) prints: bool,
    pub(super) body: &'t str,
    /// Offset of the tag in the template.
    pub(super) at: usize,
}

/// Splits off the next tag; `Err` when one does not end.
pub(super) struct Tags<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tags<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next tag, nothing at the end.
    pub(super) fn next_tag(&mut self) -> Result<Option<Tag<'t>>, &'static str> {
        loop {
            let Some(rest) = self.text.get(self.at..) else { return Ok(None) };
            let Some(brace) = find_tag(rest) else { return Ok(None) };
            let start = self.at + brace;
            let Some(inner) = self.text.get(start + 2..) else { return Ok(None) };
            let kind = self.text.as_bytes().get(start + 1);
            if kind == Some(&b'#') {
                let Some(end) = inner.find("#}") else { return Err("a comment does not end") };
                self.at = start + 2 + end + 2;
                continue;
            }
            let prints = kind == Some(&b'{');
            let Some(end) = tag_end(inner, if prints { "}}" } else { "%}" }) else { return Err("a tag does not end") };
            let body = inner.get(..end).unwrap_or_default().trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
            self.at = start + 2 + end + 2;
            if !prints && body == "raw" {
                self.skip_raw()?;
                continue;
            }
            return Ok(Some(Tag { prints, body, at: start }));
        }
    }

    /// Text inside `raw` is printed as it stands.
    fn skip_raw(&mut self) -> Result<(), &'static str> {
        loop {
            let Some(start) = self.text.get(self.at..).and_then(|rest| rest.find("{%")) else { return Err("a raw block does not end") };
            let inside = self.at + start + 2;
            let Some(end) = self.text.get(inside..).and_then(|rest| rest.find("%}")) else { return Err("a raw block does not end") };
            let body = self.text.get(inside..inside + end).unwrap_or_default();
            self.at = inside + end + 2;
            if body.trim_matches(['-', '+', ' ', '\t', '\n']) == "endraw" {
                return Ok(());
            }
        }
    }
}

fn find_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// The end of a tag, not counting one inside a string or inside braces of a dictionary.
fn tag_end(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut braces = 0_u32;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if braces == 0 && text.get(at..).is_some_and(|rest| rest.starts_with(close)) => return Some(at),
            None => match character {
                '\'' | '"' => quote = Some(character),
                '{' => braces += 1,
                '}' => braces = braces.saturating_sub(1),
                _ => {}
            },
        }
    }
    None
}

const SIGNS: &[&str] =
    &["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|", ";"];

/// Tokens of a tag's body.
pub(super) fn tokens(body: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = body;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            _ if first.is_whitespace() => {
                rest = rest.trim_start();
                continue;
            }
            '\'' | '"' => text(rest, first),
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                (Token::Name(rest.get(..end).unwrap_or_default().to_owned()), end)
            }
            '0'..='9' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                (Token::Number, end)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => (Token::Other, first.len_utf8()),
            },
        };
        tokens.push(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// A string with Python's escapes undone, and its length in the source.
fn text(source: &str, quote: char) -> (Token, usize) {
    let mut out = String::new();
    let mut characters = source.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return (Token::Text(out), at + 1);
        }
        if character != '\\' {
            out.push(character);
            continue;
        }
        let Some((_, kind)) = characters.next() else { break };
        let mut digits = |radix: u32, first: Option<char>, count: usize| -> Option<char> {
            let mut text: String = first.into_iter().collect();
            let mut ahead = characters.clone();
            while let Some((_, digit)) = ahead.next().filter(|(_, digit)| text.len() < count && digit.is_digit(radix)) {
                text.push(digit);
                characters.next();
            }
            u32::from_str_radix(&text, radix).ok().and_then(char::from_u32)
        };
        match kind {
            'x' => out.extend(digits(16, None, 2)),
            'u' => out.extend(digits(16, None, 4)),
            'U' => out.extend(digits(16, None, 8)),
            '0'..='7' => out.extend(digits(8, Some(kind), 3)),
            // By its Unicode name; only the underscore matters for names.
            'N' => {
                let name: String = characters.by_ref().map(|(_, character)| character).take_while(|character| *character != '}').collect();
                out.push(if name.eq_ignore_ascii_case("{low line") { '_' } else { '\u{fffd}' });
            }
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            other => out.push(other),
        }
    }
    (Token::Text(out), source.len())
}
