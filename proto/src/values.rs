//! `serde_json::Value` ⇄ `google.protobuf.Struct`, for OCSF events and rows of SQL in the API.
//!
//! A protobuf number is a 64-bit float: an integer beyond 2^53 would lose its last digits and travels as a decimal text instead.

use prost_types::{ListValue, Struct, Value, value::Kind};

/// Integers up to here are exact in a 64-bit float.
const EXACT_MAX: u64 = 1 << 53;

/// An object, for the API. `None` where the value is no object.
#[must_use]
pub fn to_struct(value: serde_json::Value) -> Option<Struct> {
    match value {
        serde_json::Value::Object(fields) => Some(Struct { fields: fields.into_iter().map(|(key, value)| (key, to_value(value))).collect() }),
        _ => None,
    }
}

/// A row, for the API.
#[must_use]
pub fn to_list(values: Vec<serde_json::Value>) -> ListValue {
    ListValue { values: values.into_iter().map(to_value).collect() }
}

/// Any value, for the API.
#[must_use]
pub fn to_value(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => number_kind(&number),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(values) => Kind::ListValue(to_list(values)),
        serde_json::Value::Object(fields) => Kind::StructValue(Struct { fields: fields.into_iter().map(|(key, value)| (key, to_value(value))).collect() }),
    };
    Value { kind: Some(kind) }
}

fn number_kind(number: &serde_json::Number) -> Kind {
    let magnitude = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
    match (magnitude, number.as_f64()) {
        (Some(magnitude), _) if magnitude > EXACT_MAX => Kind::StringValue(number.to_string()),
        (_, Some(float)) => Kind::NumberValue(float),
        (_, None) => Kind::StringValue(number.to_string()),
    }
}

/// An object, from the API.
#[must_use]
pub fn from_struct(object: Struct) -> serde_json::Value {
    serde_json::Value::Object(object.fields.into_iter().map(|(key, value)| (key, from_value(value))).collect())
}

/// A row, from the API.
#[must_use]
pub fn from_list(list: ListValue) -> Vec<serde_json::Value> {
    list.values.into_iter().map(from_value).collect()
}

/// Any value, from the API. Whole numbers come back as integers.
#[must_use]
pub fn from_value(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(float)) => number(float),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => from_list(list).into(),
        Some(Kind::StructValue(object)) => from_struct(object),
    }
}

fn number(float: f64) -> serde_json::Value {
    // 2^53, as a float.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and at most 2^53, checked above")]
        let whole = float as i64;
        return whole.into();
    }
    // NaN and infinities are no JSON: null.
    serde_json::Number::from_f64(float).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_comes_back() {
        let object = json!({ "a": 1, "b": -1.5, "c": [true, null, "x"], "d": { "e": 9_007_199_254_740_992_i64 } });
        assert_eq!(from_struct(to_struct(object.clone()).expect("an object")), object);
    }

    #[test]
    fn a_large_integer_keeps_its_digits_as_text() {
        assert_eq!(from_value(to_value(json!(u64::MAX))), json!("18446744073709551615"));
        assert_eq!(from_value(to_value(json!(i64::MIN))), json!("-9223372036854775808"));
    }

    #[test]
    fn only_an_object_is_a_struct() {
        assert_eq!(to_struct(json!([1])), None);
    }

    #[test]
    fn what_is_no_json_is_null() {
        assert_eq!(from_value(Value { kind: Some(Kind::NumberValue(f64::NAN)) }), json!(null));
        assert_eq!(from_value(Value { kind: None }), json!(null));
    }
}
