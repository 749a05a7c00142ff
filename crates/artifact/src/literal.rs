//! Python literals as `ast.literal_eval` takes them: the grammar of NumPy headers.

/// A parsed constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Brackets inside one another; NumPy types use three.
const DEPTH_MAX: u32 = 16;

/// The whole text as one literal.
pub(crate) fn parse(text: &str) -> Option<Literal> {
    let mut parser = Parser { rest: text };
    let literal = parser.value(DEPTH_MAX)?;
    parser.space();
    parser.rest.is_empty().then_some(literal)
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.space();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: u32) -> Option<Literal> {
        let depth = depth.checked_sub(1)?;
        self.space();
        match self.rest.chars().next()? {
            '{' => self.dict(depth),
            '(' => {
                self.eat('(');
                let (items, comma) = self.items(')', depth)?;
                // One item without a comma is only in brackets.
                if let ([single], false) = (items.as_slice(), comma) { Some(single.clone()) } else { Some(Literal::Tuple(items)) }
            }
            '[' => {
                self.eat('[');
                Some(Literal::List(self.items(']', depth)?.0))
            }
            '\'' | '"' => self.text().map(Literal::Text),
            'b' | 'u' if self.rest.get(1..2).is_some_and(|quote| quote == "'" || quote == "\"") => {
                self.rest = self.rest.get(1..)?;
                self.text().map(Literal::Text)
            }
            _ => self.word(),
        }
    }

    fn items(&mut self, close: char, depth: u32) -> Option<(Vec<Literal>, bool)> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.eat(close) {
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.value(depth)?);
            comma = self.eat(',');
        }
        Some((items, comma))
    }

    fn dict(&mut self, depth: u32) -> Option<Literal> {
        self.eat('{');
        let mut pairs = Vec::new();
        let mut comma = true;
        while !self.eat('}') {
            if !comma {
                return None;
            }
            let key = self.value(depth)?;
            if !self.eat(':') {
                return None;
            }
            pairs.push((key, self.value(depth)?));
            comma = self.eat(',');
        }
        Some(Literal::Dict(pairs))
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut out = String::new();
        let mut characters = self.rest.get(1..)?.chars();
        loop {
            match characters.next()? {
                '\\' => out.push(characters.next()?),
                character if character == quote => break,
                character => out.push(character),
            }
        }
        self.rest = characters.as_str();
        Some(out)
    }

    fn word(&mut self) -> Option<Literal> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        match word {
            "True" => Some(Literal::Bool(true)),
            "False" => Some(Literal::Bool(false)),
            "None" => Some(Literal::None),
            // Python 2 wrote lengths with an L.
            _ => word.trim_end_matches('L').parse().ok().map(Literal::Int),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        let header = parse("{'descr': [('a', '<f8'), ('b', '|O', (2,))], 'fortran_order': False, 'shape': (3L, 4), }   \n").unwrap();
        let Literal::Dict(pairs) = header else { panic!("no dictionary") };
        assert_eq!(pairs[2].1, Literal::Tuple(vec![Literal::Int(3), Literal::Int(4)]));
        assert_eq!(parse("(3)"), Some(Literal::Int(3)));
        assert_eq!(parse("()"), Some(Literal::Tuple(vec![])));
        for bad in ["", "{", "{'a' 1}", "[1 2]", "__import__('os')", "(1,) x", "'a", "f()"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None, "depth is bounded");
    }
}
