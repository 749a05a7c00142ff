//! Follows what a template's expressions reach: constants are folded through `~`, `+` and `set`, names through attributes,
//! subscripts and filters. Nothing is built: one pass, bounded depth, small values.

use super::lexer::{Tags, Token, tokens};
use std::collections::HashMap;

/// Brackets inside one another. Jinja's own parser ends at Python's recursion limit; templates use some ten.
const DEPTH_MAX: u32 = 64;
/// Longest constant that is folded; attribute names are shorter.
const TEXT_BYTES_MAX: usize = 1024;
/// Reaches kept of one template.
const REACHES_MAX: usize = 50;

/// What an expression is known to be.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// A string constant.
    Text(String),
    /// Computed from constants only, by means that are not followed.
    Computed,
    /// A global function of the engine, or a literal: objects from which Python's internals are reached.
    Root(String),
    /// What the caller passes in, or anything made from it.
    Data,
}

/// Something that no chat format needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reach {
    pub(super) kind: ReachKind,
    /// What is reached.
    pub(super) what: String,
    /// Offset of the tag.
    pub(super) at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReachKind {
    /// Python's internals by name.
    Internals,
    /// An attribute whose name is computed.
    ComputedName,
    /// A function of the engine that is only used to get at its attributes.
    EngineGlobal,
    /// Another template or file.
    File,
}

/// Everything of note in a template; `Err` beside it when it cannot be followed to its end.
pub(super) fn reaches(template: &str) -> (Vec<Reach>, Option<&'static str>) {
    let mut walker = Walker { variables: HashMap::new(), reaches: Vec::new(), at: 0 };
    let mut tags = Tags::new(template);
    loop {
        match tags.next_tag() {
            Ok(None) => return (walker.reaches, None),
            Err(why) => return (walker.reaches, Some(why)),
            Ok(Some(tag)) => {
                walker.at = tag.at;
                let tokens = tokens(tag.body);
                if let Err(why) = walker.tag(&tokens, tag.prints) {
                    return (walker.reaches, Some(why));
                }
            }
        }
    }
}

struct Walker {
    variables: HashMap<String, Value>,
    reaches: Vec<Reach>,
    at: usize,
}

struct Input<'k> {
    tokens: &'k [Token],
}

impl<'k> Input<'k> {
    fn peek(&self) -> Option<&'k Token> {
        self.tokens.first()
    }

    fn next(&mut self) -> Option<&'k Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        if found {
            self.next();
        }
        found
    }
}

type Followed = Result<Value, &'static str>;

impl Walker {
    fn reach(&mut self, kind: ReachKind, what: impl Into<String>) {
        let reach = Reach { kind, what: what.into(), at: self.at };
        if self.reaches.len() < REACHES_MAX && !self.reaches.iter().any(|known| known.kind == kind && known.what == reach.what) {
            self.reaches.push(reach);
        }
    }

    fn tag(&mut self, tokens: &[Token], prints: bool) -> Result<(), &'static str> {
        let mut input = Input { tokens };
        if !prints && let Some(Token::Name(keyword)) = input.next() {
            match (keyword.as_str(), input.tokens) {
                ("include" | "import" | "extends" | "from", _) => self.reach(ReachKind::File, keyword.as_str()),
                ("set", [Token::Name(name), Token::Sign("="), rest @ ..]) => {
                    let mut rest = Input { tokens: rest };
                    let value = self.expression(&mut rest, DEPTH_MAX)?;
                    // A variable that is set twice with different values may hold either.
                    let value = match self.variables.get(name) {
                        Some(known) if *known != value => Value::Computed,
                        _ => value,
                    };
                    self.variables.insert(name.clone(), value);
                    input = rest;
                }
                _ => {}
            }
        }
        // Statements put words and signs between expressions; each run of expressions is followed.
        while input.peek().is_some() {
            let before = input.tokens.len();
            self.expression(&mut input, DEPTH_MAX)?;
            if input.tokens.len() == before {
                input.next();
            }
        }
        Ok(())
    }

    /// Any operators between operands, left to right: precedence changes no name that is reached.
    fn expression(&mut self, input: &mut Input<'_>, depth: u32) -> Followed {
        let depth = depth.checked_sub(1).ok_or("expressions are nested deeper than any template needs")?;
        let mut value = self.operand(input, depth)?;
        loop {
            match input.peek() {
                Some(Token::Sign("~" | "+")) => {
                    input.next();
                    let right = self.operand(input, depth)?;
                    value = joined(value, right);
                }
                Some(Token::Sign("*" | "%" | "-" | "/" | "//" | "**")) => {
                    input.next();
                    let right = self.operand(input, depth)?;
                    value = computed(&value, &[right]);
                }
                Some(Token::Sign("==" | "!=" | "<" | ">" | "<=" | ">=")) => {
                    input.next();
                    self.operand(input, depth)?;
                    value = Value::Data;
                }
                Some(Token::Name(word)) if matches!(word.as_str(), "and" | "or" | "in" | "not" | "if" | "else" | "is") => {
                    input.next();
                    if word == "not" {
                        continue;
                    }
                    let right = self.operand(input, depth)?;
                    // Either side may be the result.
                    value = if matches!(word.as_str(), "in" | "is") { Value::Data } else { either(value, right) };
                }
                _ => return Ok(value),
            }
        }
    }

    fn operand(&mut self, input: &mut Input<'_>, depth: u32) -> Followed {
        while matches!(input.peek(), Some(Token::Sign("-" | "+"))) || matches!(input.peek(), Some(Token::Name(word)) if word == "not") {
            input.next();
        }
        let mut value = match input.peek() {
            Some(Token::Text(_)) => {
                let mut text = String::new();
                // Strings side by side are one string.
                while let Some(Token::Text(part)) = input.peek() {
                    text.push_str(part);
                    input.next();
                }
                constant(text)
            }
            Some(Token::Number) => {
                input.next();
                // `1.5`
                if matches!(input.tokens, [Token::Sign("."), Token::Number, ..]) {
                    input.next();
                    input.next();
                }
                Value::Computed
            }
            Some(Token::Name(name)) => {
                input.next();
                self.name(name)
            }
            Some(Token::Sign("(")) => {
                input.next();
                let items = self.list(input, ")", depth)?;
                if let [single] = items.as_slice() { single.clone() } else { computed(&Value::Computed, &items) }
            }
            Some(Token::Sign("[")) => {
                input.next();
                let items = self.list(input, "]", depth)?;
                computed(&Value::Computed, &items)
            }
            Some(Token::Sign("{")) => {
                input.next();
                let items = self.list(input, "}", depth)?;
                computed(&Value::Computed, &items)
            }
            _ => return Ok(Value::Data),
        };
        self.trailers(input, &mut value, depth)?;
        Ok(value)
    }

    fn name(&mut self, name: &str) -> Value {
        if let Some(value) = self.variables.get(name) {
            return value.clone();
        }
        self.internal(name);
        match name {
            "lipsum"
            | "cycler"
            | "joiner"
            | "self"
            | "caller"
            | "varargs"
            | "kwargs"
            | "get_flashed_messages"
            | "url_for"
            | "config"
            | "request"
            | "dict"
            | "range"
            | "namespace" => Value::Root(name.to_owned()),
            _ => Value::Data,
        }
    }

    /// Items up to a closing bracket; keys, names of arguments and slices are followed like items.
    fn list(&mut self, input: &mut Input<'_>, close: &'static str, depth: u32) -> Result<Vec<Value>, &'static str> {
        let mut items = Vec::new();
        while !input.eat(close) {
            match input.peek() {
                None => return Err("a bracket is not closed"),
                Some(Token::Sign("," | ":" | "=" | "*" | "**")) => {
                    input.next();
                    continue;
                }
                _ => {}
            }
            let before = input.tokens.len();
            let item = self.expression(input, depth)?;
            if input.tokens.len() == before {
                return Err("a bracket holds something that is no expression");
            }
            if items.len() < 64 {
                items.push(item);
            }
        }
        Ok(items)
    }

    fn trailers(&mut self, input: &mut Input<'_>, value: &mut Value, depth: u32) -> Result<(), &'static str> {
        loop {
            if input.eat(".") {
                match input.next() {
                    Some(Token::Name(name)) => self.attribute(value, &Value::Text(name.clone())),
                    Some(Token::Number) => *value = Value::Data,
                    _ => return Err("a dot without a name"),
                }
            } else if input.eat("[") {
                let items = self.list(input, "]", depth)?;
                match items.as_slice() {
                    [single] => self.attribute(value, &single.clone()),
                    items => *value = computed(value, items),
                }
            } else if input.eat("(") {
                let items = self.list(input, ")", depth)?;
                // A method of a constant computes from constants; a global's result is data of the engine.
                *value = if matches!(value, Value::Root(_)) { Value::Data } else { computed(value, &items) };
            } else if input.eat("|") {
                self.filter(input, value, depth)?;
            } else {
                return Ok(());
            }
        }
    }

    fn attribute(&mut self, value: &mut Value, name: &Value) {
        match (&*value, name) {
            (_, Value::Text(text)) if internal(text) => {
                self.reach(ReachKind::Internals, text.clone());
                *value = Value::Root(text.clone());
            }
            (Value::Root(root), Value::Computed | Value::Data) if root != "namespace" && root != "kwargs" && root != "varargs" => {
                self.reach(ReachKind::ComputedName, root.clone());
            }
            (Value::Root(root), Value::Text(text)) if matches!(root.as_str(), "lipsum" | "cycler" | "joiner" | "self" | "url_for" | "get_flashed_messages") => {
                self.reach(ReachKind::EngineGlobal, format!("{root}.{text}"));
            }
            // Something reached through internals stays that.
            (Value::Root(root), _) if internal(root) => {}
            (Value::Text(_) | Value::Computed, Value::Text(_)) => *value = Value::Computed,
            _ => *value = Value::Data,
        }
    }

    fn filter(&mut self, input: &mut Input<'_>, value: &mut Value, depth: u32) -> Result<(), &'static str> {
        let Some(Token::Name(name)) = input.next() else { return Err("a filter without a name") };
        let items = if input.eat("(") { self.list(input, ")", depth)? } else { Vec::new() };
        match (name.as_str(), items.as_slice()) {
            ("attr", [Value::Text(attribute), ..]) => self.attribute(value, &Value::Text(attribute.clone())),
            ("attr", _) => {
                self.reach(ReachKind::ComputedName, "attr");
                *value = Value::Root("attr".to_owned());
            }
            ("map" | "selectattr" | "rejectattr" | "groupby" | "sum" | "sort" | "unique" | "max" | "min", items) => {
                for item in items {
                    if let Value::Text(text) = item {
                        self.internal(text);
                    }
                }
                *value = computed(value, items);
            }
            ("lower" | "trim" | "string" | "safe" | "escape" | "e", []) => {
                if let (Value::Text(text), "lower") = (&*value, name.as_str()) {
                    *value = Value::Text(text.to_lowercase());
                }
            }
            _ => *value = computed(value, items.as_slice()),
        }
        Ok(())
    }

    fn internal(&mut self, name: &str) {
        if name.split('.').any(internal) {
            self.reach(ReachKind::Internals, name);
        }
    }
}

fn constant(text: String) -> Value {
    if text.len() > TEXT_BYTES_MAX { Value::Data } else { Value::Text(text) }
}

fn joined(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => constant(left + &right),
        (left, right) => computed(&left, &[right]),
    }
}

/// Made from constants only, or from data.
fn computed(value: &Value, others: &[Value]) -> Value {
    let constant = |value: &Value| matches!(value, Value::Text(_) | Value::Computed);
    if constant(value) && others.iter().all(constant) { Value::Computed } else { Value::Data }
}

fn either(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Root(root), _) | (_, Value::Root(root)) => Value::Root(root),
        (left, right) if left == right => left,
        (left, right) => computed(&left, &[right]),
    }
}

/// Names by which templates leave their sandbox: special attributes, frames, code objects, and what is called at the end.
fn internal(name: &str) -> bool {
    let special = name.len() > 4 && name.starts_with("__") && name.ends_with("__");
    special
        || matches!(
            name,
            "mro"
                | "func_globals"
                | "func_code"
                | "gi_frame"
                | "gi_code"
                | "cr_frame"
                | "ag_frame"
                | "f_globals"
                | "f_builtins"
                | "f_locals"
                | "f_back"
                | "tb_frame"
                | "im_func"
                | "popen"
                | "system"
                | "subprocess"
                | "check_output"
                | "importlib"
                | "_TemplateReference__context"
                | "_module"
                | "load_module"
                | "exec_module"
        )
}
