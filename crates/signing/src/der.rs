//! The little DER that certificate transparency needs: a certificate's signed part without one extension (RFC 6962, 3.2).

/// A tag, its content, and what follows.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(*first & 0x7f);
        // Certificates have kilobytes.
        if !(1..=3).contains(&count) {
            return None;
        }
        let (length, rest) = rest.split_at_checked(count)?;
        (length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// A tag around content.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match significant.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend(long);
        }
    }
    out.extend(content);
    out
}

const SEQUENCE: u8 = 0x30;
const EXTENSIONS: u8 = 0xa3;
const OID: u8 = 0x06;

/// The content of an octet string.
pub(crate) fn octets(bytes: &[u8]) -> Option<&[u8]> {
    split(bytes).filter(|(tag, _, rest)| *tag == 0x04 && rest.is_empty()).map(|(_, content, _)| content)
}

/// The text of a UTF-8 string.
pub(crate) fn utf8(bytes: &[u8]) -> Option<&str> {
    split(bytes).filter(|(tag, _, rest)| *tag == 0x0c && rest.is_empty()).and_then(|(_, content, _)| std::str::from_utf8(content).ok())
}

/// The TBSCertificate of a certificate without the extension `oid` (content bytes of the identifier).
pub(crate) fn tbs_without(certificate: &[u8], oid: &[u8]) -> Option<Vec<u8>> {
    let (SEQUENCE, certificate, _) = split(certificate)? else { return None };
    let (SEQUENCE, tbs, _) = split(certificate)? else { return None };
    let (mut out, mut rest) = (Vec::new(), tbs);
    while !rest.is_empty() {
        let (tag, content, after) = split(rest)?;
        if tag == EXTENSIONS {
            let (SEQUENCE, list, _) = split(content)? else { return None };
            out.extend(wrap(EXTENSIONS, &wrap(SEQUENCE, &extensions_without(list, oid)?)));
        } else {
            out.extend(wrap(tag, content));
        }
        rest = after;
    }
    Some(wrap(SEQUENCE, &out))
}

fn extensions_without(mut list: &[u8], oid: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    while !list.is_empty() {
        let (tag, extension, rest) = split(list)?;
        let (OID, found, _) = split(extension)? else { return None };
        if found != oid {
            kept.extend(wrap(tag, extension));
        }
        list = rest;
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_extension_is_taken_out() {
        let extension = |oid: &[u8], value: &[u8]| wrap(SEQUENCE, &[wrap(OID, oid), wrap(0x04, value)].concat());
        let certificate = |extensions: &[u8]| {
            let tbs = wrap(SEQUENCE, &[wrap(0x02, &[1]), wrap(EXTENSIONS, &wrap(SEQUENCE, extensions))].concat());
            (wrap(SEQUENCE, &[tbs.clone(), wrap(0x03, &[0; 300])].concat()), tbs)
        };
        let (with, _) = certificate(&[extension(&[1], &[0; 200]), extension(&[2], b"x"), extension(&[3], b"y")].concat());
        let (_, without) = certificate(&[extension(&[1], &[0; 200]), extension(&[3], b"y")].concat());
        assert_eq!(tbs_without(&with, &[2]), Some(without));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            tbs_without(&bytes, &[1]);
            octets(&bytes);
            utf8(&bytes);
        }
    }
}
