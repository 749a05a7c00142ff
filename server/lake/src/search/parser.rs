//! Tokens to a tree. `NOT` binds tighter than `AND`, `AND` tighter than `OR`; two terms side by side are joined by `AND`.

use super::{
    QueryError,
    lexer::{Comparison, Kind, Token, tokens},
};

/// Brackets and `NOT`s within one another. Bounds the stack of everything that walks the tree.
const DEPTH_MAX: usize = 32;
/// Terms of a query. Each is an expression over several columns.
const TERMS_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Term(Term),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Absent for a bare word.
    pub(super) field: Option<String>,
    pub(super) value: Value,
    /// Where the term begins.
    pub(super) position: usize,
    /// Where its value begins.
    pub(super) value_position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `*` stands for any text.
    Word(String),
    /// Every character stands for itself.
    Quoted(String),
    Compare(Comparison, String),
    Range(String, String),
}

/// Reads a query; an empty one is `None` and matches everything.
pub(super) fn parse(query: &str) -> Result<Option<Node>, QueryError> {
    let tokens = tokens(query)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), end: query.chars().count(), terms: 0 };
    let node = parser.any(0)?;
    match parser.tokens.next() {
        None => Ok(Some(node)),
        Some(token) => Err(QueryError::new("this bracket closes nothing", token.position)),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    end: usize,
    terms: usize,
}

impl Parser {
    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn any(&mut self, depth: usize) -> Result<Node, QueryError> {
        let mut nodes = vec![self.all(depth)?];
        while self.peek() == Some(&Kind::Or) {
            self.tokens.next();
            nodes.push(self.all(depth)?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, QueryError> {
        let mut nodes = vec![self.unary(depth)?];
        loop {
            match self.peek() {
                Some(Kind::And) => {
                    self.tokens.next();
                }
                None | Some(Kind::Or | Kind::Close) => return Ok(one_or(nodes, Node::All)),
                Some(_) => {}
            }
            nodes.push(self.unary(depth)?);
        }
    }

    fn unary(&mut self, depth: usize) -> Result<Node, QueryError> {
        let Some(token) = self.tokens.next() else { return Err(QueryError::new("a term is missing at the end", self.end)) };
        let position = token.position;
        if depth >= DEPTH_MAX {
            return Err(QueryError::new(format!("more than {DEPTH_MAX} brackets within one another"), position));
        }
        match token.kind {
            Kind::Not => Ok(Node::Not(Box::new(self.unary(depth + 1)?))),
            Kind::Open => {
                let node = self.any(depth + 1)?;
                match self.tokens.next() {
                    Some(Token { kind: Kind::Close, .. }) => Ok(node),
                    _ => Err(QueryError::new("this bracket is not closed", position)),
                }
            }
            Kind::Field(name) => self.field(name, position, depth),
            Kind::Word(word) => self.term(None, Value::Word(word), position, position),
            Kind::Quoted(text) => self.term(None, Value::Quoted(text), position, position),
            Kind::And | Kind::Or => Err(QueryError::new("a term is missing before this", position)),
            Kind::Close => Err(QueryError::new("a term is missing before this bracket", position)),
            Kind::Compare(_) | Kind::Range(..) => Err(QueryError::new("a comparison needs a field before it", position)),
        }
    }

    fn field(&mut self, name: String, position: usize, depth: usize) -> Result<Node, QueryError> {
        let Some(token) = self.tokens.next() else { return Err(QueryError::new("the field has no value", self.end)) };
        let at = token.position;
        let value = match token.kind {
            Kind::Word(word) => Value::Word(word),
            Kind::Quoted(text) => Value::Quoted(text),
            Kind::Range(low, high) => Value::Range(low, high),
            Kind::Compare(comparison) => match self.tokens.next() {
                Some(Token { kind: Kind::Word(text) | Kind::Quoted(text), .. }) => Value::Compare(comparison, text),
                _ => return Err(QueryError::new("the comparison has no value", at)),
            },
            Kind::Open => return self.alternatives(&name, position, at, depth + 1),
            _ => return Err(QueryError::new("the field has no value", at)),
        };
        self.term(Some(name), value, position, at)
    }

    /// `field:(a OR b)`: one field, several values.
    fn alternatives(&mut self, name: &str, position: usize, open: usize, depth: usize) -> Result<Node, QueryError> {
        if depth >= DEPTH_MAX {
            return Err(QueryError::new(format!("more than {DEPTH_MAX} brackets within one another"), open));
        }
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.tokens.next() else { return Err(QueryError::new("this bracket is not closed", open)) };
            let at = token.position;
            match token.kind {
                Kind::Word(word) => nodes.push(self.term(Some(name.to_owned()), Value::Word(word), position, at)?),
                Kind::Quoted(text) => nodes.push(self.term(Some(name.to_owned()), Value::Quoted(text), position, at)?),
                Kind::Or if !nodes.is_empty() => {}
                Kind::Close if !nodes.is_empty() => return Ok(one_or(nodes, Node::Any)),
                _ => return Err(QueryError::new("values of one field are written field:(a OR b)", at)),
            }
        }
    }

    fn term(&mut self, field: Option<String>, value: Value, position: usize, value_position: usize) -> Result<Node, QueryError> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(QueryError::new(format!("more than {TERMS_MAX} terms"), position));
        }
        Ok(Node::Term(Term { field, value, position, value_position }))
    }
}

fn one_or(mut nodes: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1
        && let Some(node) = nodes.pop()
    {
        return node;
    }
    many(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as text, brackets around everything.
    fn shown(node: &Node) -> String {
        let join = |nodes: &[Node], with: &str| format!("({})", nodes.iter().map(shown).collect::<Vec<_>>().join(with));
        match node {
            Node::All(nodes) => join(nodes, " & "),
            Node::Any(nodes) => join(nodes, " | "),
            Node::Not(node) => format!("!{}", shown(node)),
            Node::Term(term) => {
                let field = term.field.as_ref().map(|field| format!("{field}=")).unwrap_or_default();
                match &term.value {
                    Value::Word(text) => format!("{field}{text}"),
                    Value::Quoted(text) => format!("{field}'{text}'"),
                    Value::Compare(comparison, text) => format!("{field}{comparison:?} {text}"),
                    Value::Range(low, high) => format!("{field}{low}..{high}"),
                }
            }
        }
    }

    #[test]
    fn reads() {
        for (query, tree) in [
            ("a", "a"),
            ("a b OR c", "((a & b) | c)"),
            ("a AND (b OR c) d", "(a & (b | c) & d)"),
            ("NOT a b", "(!a & b)"),
            ("NOT (a b)", "!(a & b)"),
            ("NOT NOT a", "!!a"),
            ("file:\"x y\" pid:>5", "(file='x y' & pid=Greater 5)"),
            ("user:(root OR \"a b\" c)", "(user=root | user='a b' | user=c)"),
            ("time:[1..2]", "time=1..2"),
        ] {
            assert_eq!(shown(&parse(query).unwrap().unwrap()), tree, "{query}");
        }
        assert_eq!(parse("  ").unwrap(), None);
    }

    #[test]
    fn says_where_it_goes_wrong() {
        for (query, position) in [("a AND", 5), ("OR a", 0), ("(a", 0), ("a)", 1), ("()", 1), ("a AND OR b", 6), ("NOT", 3), ("user:(a", 5), ("user:()", 6)] {
            assert_eq!(parse(query).unwrap_err().position, position, "{query}");
        }
    }

    #[test]
    fn is_bounded() {
        assert!(parse(&"(".repeat(10_000)).is_err());
        assert!(parse(&"NOT ".repeat(8_000)).is_err());
        assert!(parse(&"a ".repeat(TERMS_MAX)).is_ok());
        assert!(parse(&"a ".repeat(TERMS_MAX + 1)).is_err());
    }
}
