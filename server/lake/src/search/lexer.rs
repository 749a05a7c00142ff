//! Text to tokens.

use super::QueryError;

/// Longest query. An analyst's longest is a list of some hundred digests.
const QUERY_CHARS_MAX: usize = 32 * 1024;

/// A piece of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Character at which it begins, from 0.
    pub(super) position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Close,
    And,
    Or,
    Not,
    /// A name and its colon: what follows is its value.
    Field(String),
    /// A word; `*` in it stands for any text.
    Word(String),
    /// A quoted text: every character stands for itself.
    Quoted(String),
    /// `>`, `>=`, `<` or `<=`, only as the first thing of a value.
    Compare(Comparison),
    /// `[low..high]`, either side may be missing.
    Range(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Cuts a query into tokens.
pub(super) fn tokens(query: &str) -> Result<Vec<Token>, QueryError> {
    let chars: Vec<char> = query.chars().collect();
    if chars.len() > QUERY_CHARS_MAX {
        return Err(QueryError::new(format!("the query is longer than {QUERY_CHARS_MAX} characters"), QUERY_CHARS_MAX));
    }
    let mut lexer = Lexer { chars, position: 0, after_field: false };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer {
    chars: Vec<char>,
    position: usize,
    /// The last token was a field's name: comparisons and ranges mean something.
    after_field: bool,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.position).copied()
    }

    fn next(&mut self) -> Result<Option<Token>, QueryError> {
        let before = self.position;
        while self.peek().is_some_and(char::is_whitespace) {
            self.position += 1;
        }
        let value = std::mem::take(&mut self.after_field);
        if value && self.position > before {
            return Err(QueryError::new("the value must follow the colon without a space", before));
        }
        let position = self.position;
        let Some(first) = self.peek() else {
            return if value { Err(QueryError::new("the field has no value", position)) } else { Ok(None) };
        };
        let kind = match first {
            '(' => self.one(Kind::Open),
            ')' if value => return Err(QueryError::new("the field has no value", position)),
            ')' => self.one(Kind::Close),
            '"' => Kind::Quoted(self.quoted()?),
            '[' if value => self.range()?,
            '<' | '>' if value => self.comparison(first),
            _ => self.word(value),
        };
        Ok(Some(Token { kind, position }))
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.position += 1;
        kind
    }

    fn quoted(&mut self) -> Result<String, QueryError> {
        let start = self.position;
        self.position += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.position += 1;
            match c {
                '"' => return Ok(text),
                '\\' => match self.peek() {
                    Some(escaped @ ('"' | '\\')) => {
                        self.position += 1;
                        text.push(escaped);
                    }
                    _ => text.push('\\'),
                },
                c => text.push(c),
            }
        }
        Err(QueryError::new("the quotation has no end", start))
    }

    fn range(&mut self) -> Result<Kind, QueryError> {
        let start = self.position;
        self.position += 1;
        let mut inner = String::new();
        loop {
            match self.peek() {
                None => return Err(QueryError::new("the range has no closing bracket", start)),
                Some(']') => break,
                Some(c) => inner.push(c),
            }
            self.position += 1;
        }
        self.position += 1;
        let Some((low, high)) = inner.split_once("..") else {
            return Err(QueryError::new("a range is written [low..high]", start));
        };
        Ok(Kind::Range(low.trim().to_owned(), high.trim().to_owned()))
    }

    fn comparison(&mut self, first: char) -> Kind {
        self.position += 1;
        let or_equal = self.peek() == Some('=');
        if or_equal {
            self.position += 1;
        }
        // What it compares with follows as its own token.
        self.after_field = true;
        Kind::Compare(match (first, or_equal) {
            ('>', false) => Comparison::Greater,
            ('>', true) => Comparison::GreaterOrEqual,
            (_, false) => Comparison::Less,
            (_, true) => Comparison::LessOrEqual,
        })
    }

    fn word(&mut self, value: bool) -> Kind {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || matches!(c, '(' | ')' | '"') {
                break;
            }
            self.position += 1;
            if c == ':' && !value && is_name(&text) {
                self.after_field = true;
                return Kind::Field(text);
            }
            text.push(c);
        }
        match text.as_str() {
            "AND" if !value => Kind::And,
            "OR" if !value => Kind::Or,
            "NOT" if !value => Kind::Not,
            _ => Kind::Word(text),
        }
    }
}

/// Whether a text can name a field: `file`, `actor.process.pid`. An address or a path cannot, so that `10.0.0.1:443` stays one word.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic()) && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(query: &str) -> Vec<Kind> {
        tokens(query).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn cuts() {
        assert_eq!(
            kinds(r#"curl AND file:"a b" OR NOT (pid:>=10 x*)"#),
            [
                Kind::Word("curl".into()),
                Kind::And,
                Kind::Field("file".into()),
                Kind::Quoted("a b".into()),
                Kind::Or,
                Kind::Not,
                Kind::Open,
                Kind::Field("pid".into()),
                Kind::Compare(Comparison::GreaterOrEqual),
                Kind::Word("10".into()),
                Kind::Word("x*".into()),
                Kind::Close,
            ]
        );
        assert_eq!(
            kinds("10.0.0.1:443 time:[a .. b] cmd:a:b"),
            [
                Kind::Word("10.0.0.1:443".into()),
                Kind::Field("time".into()),
                Kind::Range("a".into(), "b".into()),
                Kind::Field("cmd".into()),
                Kind::Word("a:b".into()),
            ]
        );
        assert_eq!(kinds(r#""a\"b\\c\d""#), [Kind::Quoted(r#"a"b\c\d"#.into())]);
        assert_eq!(kinds("and x>y android"), [Kind::Word("and".into()), Kind::Word("x>y".into()), Kind::Word("android".into())]);
    }

    #[test]
    fn says_where_it_goes_wrong() {
        for (query, position) in [("a \"b", 2), ("time:[a", 5), ("pid:", 4), ("pid: 5", 4), ("(pid:)", 5), ("time:[a]", 5), ("é pid:>", 7)] {
            assert_eq!(tokens(query).unwrap_err().position, position, "{query}");
        }
    }
}
