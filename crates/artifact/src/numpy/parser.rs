//! The `.npy` header: NEP 1 and `numpy.lib.format`.

use crate::literal::{self, Literal};
use picket_bounded::{BoundedError, Cursor, Source};

pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses longer headers unless told to trust the file; structured types with many fields stay far below.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// One element of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Bytes(u64),
    /// Python objects somewhere in it, so the whole array is one pickle.
    Object,
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) element: Element,
    /// The element type as NumPy writes it; `structured` for one with fields.
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    /// Offset of the elements.
    pub(super) data: u64,
}

#[derive(Debug)]
pub(super) enum HeaderError {
    Malformed(String),
    Read(BoundedError),
}

impl From<BoundedError> for HeaderError {
    fn from(error: BoundedError) -> Self {
        Self::Read(error)
    }
}

fn malformed<T>(why: &str) -> Result<T, HeaderError> {
    Err(HeaderError::Malformed(why.to_owned()))
}

pub(super) fn header(source: &dyn Source) -> Result<Header, HeaderError> {
    let mut cursor = Cursor::new(source);
    cursor.skip(6)?;
    let [major, minor] = cursor.array()?;
    let length = match (major, minor) {
        (1, 0) => u64::from(cursor.u16_le()?),
        (2 | 3, 0) => u64::from(cursor.u32_le()?),
        _ => return malformed(&format!("the version {major}.{minor} is none of 1.0, 2.0 and 3.0")),
    };
    let text = cursor.take(length, HEADER_BYTES_MAX)?;
    // Version 1 and 2 headers are Latin-1, version 3 is UTF-8; names of fields are all that differs.
    let text = String::from_utf8_lossy(&text).into_owned();
    let Some(Literal::Dict(pairs)) = literal::parse(&text) else { return malformed("the header is no dictionary of constants") };
    let field = |wanted: &str| {
        let mut found = pairs.iter().filter(|(key, _)| matches!(key, Literal::Text(text) if text == wanted));
        let first = found.next().map(|(_, value)| value);
        if found.next().is_some() { Err(HeaderError::Malformed(format!("{wanted} appears twice"))) } else { Ok(first) }
    };
    let (Some(descr), Some(Literal::Tuple(shape)), Some(_)) = (field("descr")?, field("shape")?, field("fortran_order")?) else {
        return malformed("descr, shape or fortran_order is missing or of another kind");
    };
    let mut lengths = Vec::new();
    for length in shape {
        match length {
            Literal::Int(length) => lengths.push(u64::try_from(*length).map_err(|_| HeaderError::Malformed("a length is negative".to_owned()))?),
            _ => return malformed("a length is no number"),
        }
    }
    let Some(element) = element(descr, 8) else { return malformed("descr is no element type") };
    let dtype = match descr {
        Literal::Text(text) => text.clone(),
        _ => "structured".to_owned(),
    };
    Ok(Header { element, dtype, shape: lengths, data: cursor.position() })
}

/// Size of a type description; structured types are lists of (name, type[, shape]).
fn element(descr: &Literal, depth: u32) -> Option<Element> {
    if depth == 0 {
        return None;
    }
    match descr {
        Literal::Text(text) => simple(text),
        Literal::List(fields) => {
            let mut total = 0_u64;
            for field in fields {
                let Literal::Tuple(parts) = field else { return None };
                let size = match element(parts.get(1)?, depth - 1)? {
                    Element::Object => return Some(Element::Object),
                    Element::Bytes(size) => size,
                };
                let count = parts.get(2).map_or(Some(1), repeat)?;
                total = total.checked_add(size.checked_mul(count)?)?;
            }
            Some(Element::Bytes(total))
        }
        // (type, shape)
        Literal::Tuple(parts) => match (element(parts.first()?, depth - 1)?, parts.get(1).map_or(Some(1), repeat)?) {
            (Element::Bytes(size), count) => Some(Element::Bytes(size.checked_mul(count)?)),
            (Element::Object, _) => Some(Element::Object),
        },
        _ => None,
    }
}

fn repeat(shape: &Literal) -> Option<u64> {
    match shape {
        Literal::Int(count) => u64::try_from(*count).ok(),
        Literal::Tuple(lengths) => lengths.iter().try_fold(1_u64, |product, length| match length {
            Literal::Int(length) => product.checked_mul(u64::try_from(*length).ok()?),
            _ => None,
        }),
        _ => None,
    }
}

fn simple(text: &str) -> Option<Element> {
    let described = text.trim_start_matches(['<', '>', '|', '=']);
    let mut characters = described.chars();
    let kind = characters.next()?;
    let rest = characters.as_str();
    let digits = rest.split('[').next().unwrap_or_default();
    match kind {
        'O' => Some(Element::Object),
        'b' | 'B' | 'i' | 'u' | 'f' | 'c' | 'S' | 'a' | 'V' | 'm' | 'M' | '?' if digits.is_empty() => {
            Some(Element::Bytes(if kind == '?' || kind == 'b' || kind == 'B' { 1 } else { 0 }))
        }
        'b' | 'i' | 'u' | 'f' | 'c' | 'S' | 'a' | 'V' | 'm' | 'M' => Some(Element::Bytes(digits.parse().ok()?)),
        'U' => Some(Element::Bytes(digits.parse::<u64>().ok()?.checked_mul(4)?)),
        _ => None,
    }
}
