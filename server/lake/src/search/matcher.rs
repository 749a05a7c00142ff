//! Text patterns and networks as functions over a column of text. A missing text matches nothing, so that `NOT` keeps it.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{Array, AsArray, BooleanArray, BooleanBuilder, StringViewArray},
        datatypes::DataType,
    },
    common::{DataFusionError, Result, ScalarValue},
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction},
    prelude::col,
};
use regex::{Regex, RegexBuilder};

use super::QueryError;

/// Compiled size of one pattern. A pattern of the longest query stays below; one that a repetition blows up does not exist, as we escape all but `*`.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a text is compared with.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    /// A pattern, without regard to case.
    Pattern(Arc<Regex>),
    /// An address within a network.
    Network(Network),
}

impl Matcher {
    /// The text has it somewhere. `wildcards`: `*` stands for any text.
    pub(super) fn contains(text: &str, wildcards: bool, position: usize) -> Result<Self, QueryError> {
        Self::regex(&source(text, wildcards), position)
    }

    /// The whole text is it.
    pub(super) fn whole(text: &str, wildcards: bool, position: usize) -> Result<Self, QueryError> {
        Self::regex(&format!("^{}$", source(text, wildcards)), position)
    }

    fn regex(source: &str, position: usize) -> Result<Self, QueryError> {
        let regex = RegexBuilder::new(source).case_insensitive(true).dot_matches_new_line(true).size_limit(PATTERN_BYTES_MAX).build();
        regex.map(|regex| Self::Pattern(Arc::new(regex))).map_err(|_| QueryError::new("the pattern is too long", position))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Pattern(regex) => regex.is_match(text),
            Self::Network(network) => text.parse().is_ok_and(|address| network.contains(address)),
        }
    }

    fn source(&self) -> String {
        match self {
            Self::Pattern(regex) => regex.as_str().to_owned(),
            Self::Network(network) => format!("{}/{}", network.address, network.prefix),
        }
    }

    /// This, asked of a column.
    pub(super) fn of(&self, column: &'static str) -> Expr {
        let function = ScalarUDF::new_from_impl(Function { source: self.source(), matcher: self.clone(), signature: Signature::any(1, Volatility::Immutable) });
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![col(column)]))
    }
}

/// The regular expression of a text.
fn source(text: &str, wildcards: bool) -> String {
    if !wildcards {
        return regex::escape(text);
    }
    text.split('*').map(regex::escape).collect::<Vec<_>>().join(".*")
}

/// `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads a network. Bits behind the prefix do not count.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, bits: u32| (own ^ other).checked_shr(bits - u32::from(self.prefix)).unwrap_or(0) == 0;
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// Texts of a batch whose answer is remembered.
const SEEN: usize = 1024;

/// Where the answer for a view is remembered: length, prefix, buffer and offset mixed.
fn slot(view: u128) -> usize {
    let bytes = view.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    let half = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mixed = (half(low) ^ half(high).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(mixed >> 54).unwrap_or_default()
}

#[derive(Debug)]
struct Function {
    /// Stands for the matcher where the planner compares functions.
    source: String,
    matcher: Matcher,
    signature: Signature,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.matcher {
            Matcher::Pattern(_) => "text_matches",
            Matcher::Network(_) => "address_within",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let one = |text: Option<&str>| ScalarValue::Boolean(Some(text.is_some_and(|text| self.matcher.matches(text))));
        match arguments.args.first() {
            Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(Arc::new(self.column(array)?))),
            Some(ColumnarValue::Scalar(ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text))) => {
                Ok(ColumnarValue::Scalar(one(text.as_deref())))
            }
            _ => Err(DataFusionError::Internal("a pattern was asked of something that is no text".into())),
        }
    }
}

impl Function {
    fn column(&self, array: &dyn Array) -> Result<BooleanArray> {
        match array.data_type() {
            DataType::Utf8View => Ok(self.views(array.as_string_view())),
            DataType::Utf8 => Ok(self.texts(array.as_string::<i32>().iter())),
            _ => Err(DataFusionError::Internal(format!("a pattern was asked of a column of {}", array.data_type()))),
        }
    }

    /// Texts of one batch that come from one dictionary are the same view: most rows repeat a text that was matched shortly before.
    fn views(&self, array: &StringViewArray) -> BooleanArray {
        let mut matched = BooleanBuilder::with_capacity(array.len());
        let mut seen: Vec<Option<(u128, bool)>> = vec![None; SEEN];
        for (row, view) in array.views().iter().enumerate() {
            if array.is_null(row) {
                matched.append_value(false);
                continue;
            }
            let slot = seen.get_mut(slot(*view));
            let value = match slot {
                Some(Some((same, value))) if same == view => *value,
                slot => {
                    let value = self.matcher.matches(array.value(row));
                    if let Some(slot) = slot {
                        *slot = Some((*view, value));
                    }
                    value
                }
            };
            matched.append_value(value);
        }
        matched.finish()
    }

    /// Neighbours are often equal (one process does many things): a repeated text is not matched again.
    fn texts<'a>(&self, texts: impl Iterator<Item = Option<&'a str>>) -> BooleanArray {
        let mut matched = BooleanBuilder::with_capacity(texts.size_hint().0);
        let mut last: Option<(&str, bool)> = None;
        for text in texts {
            let value = text.is_some_and(|text| match last {
                Some((same, value)) if same == text => value,
                _ => {
                    let value = self.matcher.matches(text);
                    last = Some((text, value));
                    value
                }
            });
            matched.append_value(value);
        }
        matched.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("gpu", "GPU-1", true),
            ("a*b", "xaxxbx", true),
            ("a*b", "ba", false),
            ("a.b", "axb", false),
            ("ä", "Ä", true),
            ("", "x", true),
            ("a*b", "a\nb", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Matcher::contains(pattern, true, 0).unwrap().matches(text), expected, "{pattern} {text}");
        }
        assert!(Matcher::whole("a*", true, 0).unwrap().matches("ABC"));
        assert!(!Matcher::whole("a*", true, 0).unwrap().matches("bab"));
        assert!(!Matcher::whole("a*", false, 0).unwrap().matches("ab"));
        assert!(Matcher::whole("a*", false, 0).unwrap().matches("A*"));
    }

    #[test]
    fn networks() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("2001:db8::/32", "2001:db8::1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            assert_eq!(Matcher::Network(Network::parse(network).unwrap()).matches(address), expected, "{network} {address}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "10.0.0.0/"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
