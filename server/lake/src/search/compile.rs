//! A tree to one expression over the table's columns.
//!
//! `NOT` is moved down to the terms, so that above them stand only AND and OR: a term that is null (the row has no such column) is then as good as false, and
//! only the negation of a term must say so (`IS NOT TRUE`).

use std::net::IpAddr;

use datafusion::{
    common::ScalarValue,
    logical_expr::{Expr, lit},
    prelude::col,
};
use picket_event::columns::{Column, ColumnType};

use super::{
    QueryError,
    fields::{Field, resolve, suggest, word_columns},
    lexer::Comparison,
    matcher::{Matcher, Network},
    parser::{Node, Term, Value, parse},
    values::{self, Moment},
};
use crate::schema::utc;

/// Compiles a query at a moment (microseconds since the epoch). `None` matches everything.
pub(crate) fn compile(query: &str, now: i64) -> Result<Option<Expr>, QueryError> {
    parse(query)?.map(|node| expression(&node, now, false)).transpose()
}

fn expression(node: &Node, now: i64, negated: bool) -> Result<Expr, QueryError> {
    match node {
        Node::Not(inner) => expression(inner, now, !negated),
        Node::All(nodes) => joined(nodes, now, negated, !negated),
        Node::Any(nodes) => joined(nodes, now, negated, negated),
        Node::Term(term) => {
            let expression = term_expression(term, now)?;
            Ok(if negated { expression.is_not_true() } else { expression })
        }
    }
}

fn joined(nodes: &[Node], now: i64, negated: bool, by_and: bool) -> Result<Expr, QueryError> {
    let parts = nodes.iter().map(|node| expression(node, now, negated)).collect::<Result<Vec<_>, _>>()?;
    Ok(if by_and { balanced(parts, Expr::and, true) } else { balanced(parts, Expr::or, false) })
}

/// Joins in a balanced tree: the planner recurses over it.
fn balanced(mut parts: Vec<Expr>, join: fn(Expr, Expr) -> Expr, neutral: bool) -> Expr {
    while parts.len() > 1 {
        let mut joined = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            joined.push(match rest.next() {
                Some(right) => join(left, right),
                None => left,
            });
        }
        parts = joined;
    }
    parts.pop().unwrap_or_else(|| lit(neutral))
}

fn any(parts: Vec<Expr>) -> Expr {
    balanced(parts, Expr::or, false)
}

fn term_expression(term: &Term, now: i64) -> Result<Expr, QueryError> {
    let Some(name) = &term.field else { return bare(term) };
    let Some(field) = resolve(name) else {
        let hint = suggest(name).map_or_else(|| "put quotes around the text to search for it".to_owned(), |known| format!("did you mean {known:?}?"));
        return Err(QueryError::new(format!("no field {name:?}; {hint}"), term.position));
    };
    match field {
        Field::Columns(columns) => Ok(any(columns.into_iter().map(|column| column_term(column, term, now)).collect::<Result<_, _>>()?)),
        Field::Address => address(term),
        Field::User => user(term),
        Field::Class => Ok(col("class_uid").eq(lit(values::class(text(term)?, term.value_position)?))),
        Field::Activity => activity(term),
        Field::Severity => {
            number_term("severity_id", term, |text| values::severity(text, term.value_position), |value| lit(i32::try_from(value).unwrap_or(i32::MAX)))
        }
        Field::Since => Ok(col("time").gt_eq(time(values::moment(text(term)?, now, term.value_position)?.start))),
        Field::Until => Ok(col("time").lt(time(values::moment(text(term)?, now, term.value_position)?.start))),
    }
}

/// A bare word or quotation, anywhere in what people read.
fn bare(term: &Term) -> Result<Expr, QueryError> {
    let matcher = match &term.value {
        Value::Word(word) => Matcher::contains(word, true, term.position)?,
        Value::Quoted(text) => Matcher::contains(text, false, term.position)?,
        Value::Compare(..) | Value::Range(..) => return Err(QueryError::new("a comparison needs a field before it", term.position)),
    };
    Ok(any(word_columns().map(|column| matcher.of(column.name)).collect()))
}

/// The plain text of a value that is neither compared nor ranged.
fn text(term: &Term) -> Result<&str, QueryError> {
    match &term.value {
        Value::Word(text) | Value::Quoted(text) => Ok(text),
        Value::Compare(..) | Value::Range(..) => Err(QueryError::new("this field has no order; give one value", term.value_position)),
    }
}

fn column_term(column: &'static Column, term: &Term, now: i64) -> Result<Expr, QueryError> {
    if term.value == Value::Word("*".into()) {
        return Ok(col(column.name).is_not_null());
    }
    let position = term.value_position;
    match column.kind {
        ColumnType::Text => text_term(column, term),
        ColumnType::Int => number_term(column.name, term, |text| values::integer(text, position), int),
        ColumnType::Long => number_term(column.name, term, |text| values::integer(text, position), lit),
        ColumnType::Time => time_term(column.name, term, now),
        ColumnType::TextList => address(term),
    }
}

/// A number outside of 32 bits is no value of such a column, but it still has its place in the order.
fn int(value: i64) -> Expr {
    i32::try_from(value).map_or_else(|_| lit(value), lit)
}

fn text_term(column: &'static Column, term: &Term) -> Result<Expr, QueryError> {
    let (text, wildcards) = match &term.value {
        Value::Word(word) => (word.as_str(), word.contains('*')),
        Value::Quoted(text) => (text.as_str(), false),
        Value::Compare(..) | Value::Range(..) => {
            return Err(QueryError::new("this field is a text; only numbers and times have an order", term.value_position));
        }
    };
    if column.needle && !wildcards {
        // Identities are compared as they are, so that filters can rule out files. Ours are written in lower case.
        let exact = if matches!(column.name, "file_hash_sha256" | "device_uid") { text.to_ascii_lowercase() } else { canonical_address(text) };
        return Ok(col(column.name).eq(string(exact)));
    }
    Ok(Matcher::whole(text, wildcards, term.value_position)?.of(column.name))
}

fn string(text: String) -> Expr {
    Expr::Literal(ScalarValue::Utf8View(Some(text)), None)
}

/// An address as the table writes it; anything else as it is.
fn canonical_address(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_canonical().to_string())
}

fn number_term(column: &'static str, term: &Term, read: impl Fn(&str) -> Result<i64, QueryError>, literal: impl Fn(i64) -> Expr) -> Result<Expr, QueryError> {
    Ok(match &term.value {
        Value::Word(text) | Value::Quoted(text) => col(column).eq(literal(read(text)?)),
        Value::Compare(comparison, text) => compared(column, *comparison, literal(read(text)?)),
        Value::Range(low, high) => bounded(
            (!low.is_empty()).then(|| read(low)).transpose()?.map(|low| col(column).gt_eq(literal(low))),
            (!high.is_empty()).then(|| read(high)).transpose()?.map(|high| col(column).lt_eq(literal(high))),
            column,
        ),
    })
}

fn compared(column: &'static str, comparison: Comparison, value: Expr) -> Expr {
    match comparison {
        Comparison::Greater => col(column).gt(value),
        Comparison::GreaterOrEqual => col(column).gt_eq(value),
        Comparison::Less => col(column).lt(value),
        Comparison::LessOrEqual => col(column).lt_eq(value),
    }
}

fn bounded(low: Option<Expr>, high: Option<Expr>, column: &'static str) -> Expr {
    match (low, high) {
        (Some(low), Some(high)) => low.and(high),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => col(column).is_not_null(),
    }
}

fn time(micros: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), Some(utc())), None)
}

/// A date is all of its day: equal to it is within it, after it is after its end.
fn time_term(column: &'static str, term: &Term, now: i64) -> Result<Expr, QueryError> {
    let read = |text: &str| values::moment(text, now, term.value_position);
    Ok(match &term.value {
        Value::Word(text) | Value::Quoted(text) => {
            let Moment { start, end } = read(text)?;
            col(column).gt_eq(time(start)).and(col(column).lt(time(end)))
        }
        Value::Compare(comparison, text) => {
            let Moment { start, end } = read(text)?;
            match comparison {
                Comparison::Greater => col(column).gt_eq(time(end)),
                Comparison::GreaterOrEqual => col(column).gt_eq(time(start)),
                Comparison::Less => col(column).lt(time(start)),
                Comparison::LessOrEqual => col(column).lt(time(end)),
            }
        }
        Value::Range(low, high) => bounded(
            (!low.is_empty()).then(|| read(low)).transpose()?.map(|low| col(column).gt_eq(time(low.start))),
            (!high.is_empty()).then(|| read(high)).transpose()?.map(|high| col(column).lt(time(high.end))),
            column,
        ),
    })
}

const ADDRESS_COLUMNS: [&str; 2] = ["src_endpoint_ip", "dst_endpoint_ip"];

/// Either end's address.
fn address(term: &Term) -> Result<Expr, QueryError> {
    let text = text(term)?;
    let either = |of: &dyn Fn(&'static str) -> Expr| any(ADDRESS_COLUMNS.into_iter().map(of).collect());
    if matches!(&term.value, Value::Word(word) if word == "*") {
        return Ok(either(&|column| col(column).is_not_null()));
    }
    if let Some(network) = Network::parse(text) {
        let matcher = Matcher::Network(network);
        return Ok(either(&|column| matcher.of(column)));
    }
    if matches!(term.value, Value::Word(_)) && text.contains('*') {
        let matcher = Matcher::whole(text, true, term.value_position)?;
        return Ok(either(&|column| matcher.of(column)));
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(QueryError::new(format!("{text:?} is neither an address, nor a network (10.0.0.0/8), nor a pattern (10.0.*)"), term.value_position));
    };
    let address = address.to_canonical().to_string();
    Ok(either(&|column| col(column).eq(string(address.clone()))))
}

/// A name, or the number that stands behind it.
fn user(term: &Term) -> Result<Expr, QueryError> {
    let position = term.value_position;
    match &term.value {
        Value::Word(word) if word == "*" => Ok(col("actor_process_user_uid").is_not_null()),
        Value::Word(text) | Value::Quoted(text) => {
            let name = Matcher::whole(text, matches!(term.value, Value::Word(_)), position)?.of("actor_process_user_name");
            Ok(match text.parse::<i64>() {
                Ok(uid) => name.or(col("actor_process_user_uid").eq(lit(uid))),
                Err(_) => name,
            })
        }
        Value::Compare(..) | Value::Range(..) => number_term("actor_process_user_uid", term, |text| values::integer(text, position), lit),
    }
}

/// What was done, by its word; a number is the class's own `activity_id`.
fn activity(term: &Term) -> Result<Expr, QueryError> {
    let text = text(term)?;
    if let Ok(id) = text.parse::<i32>() {
        return Ok(col("activity_id").eq(lit(id)));
    }
    let deeds = values::deeds(text, term.value_position)?;
    Ok(any(deeds
        .into_iter()
        .map(|deed| {
            let done = col("class_uid").eq(lit(deed.class)).and(col("activity_id").eq(lit(deed.activity)));
            match deed.detail {
                Some((column, value)) => done.and(col(column).eq(lit(value))),
                None => done,
            }
        })
        .collect()))
}
