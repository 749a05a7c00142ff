//! Start tags and their attributes, one after the other. Nothing is resolved, and what is not well formed is passed over as a
//! forgiving reader would.

/// A start tag.
pub(super) struct Element<'t> {
    /// With its prefix.
    pub(super) name: &'t str,
    attributes: &'t str,
    pub(super) at: usize,
    /// The text behind it, up to the next tag.
    pub(super) text: &'t str,
}

impl<'t> Element<'t> {
    /// Name without a prefix.
    pub(super) fn local(&self) -> &'t str {
        self.name.rsplit(':').next().unwrap_or(self.name)
    }

    /// The value of an attribute, predefined entities undone.
    pub(super) fn attribute(&self, wanted: &str) -> Option<String> {
        let mut rest = self.attributes;
        loop {
            let (name, behind) = rest.split_once('=')?;
            let behind = behind.trim_start();
            let quote = behind.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let (value, tail) = behind.get(1..)?.split_once(quote)?;
            if name.trim() == wanted {
                return Some(unescaped(value));
            }
            rest = tail;
        }
    }
}

fn unescaped(value: &str) -> String {
    if !value.contains('&') {
        return value.to_owned();
    }
    value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Every start tag of a document without comments.
pub(super) struct Elements<'t> {
    text: &'t str,
    at: usize,
}

pub(super) fn elements(text: &str) -> Elements<'_> {
    Elements { text, at: 0 }
}

impl<'t> Iterator for Elements<'t> {
    type Item = Element<'t>;

    fn next(&mut self) -> Option<Element<'t>> {
        loop {
            let rest = self.text.get(self.at..)?;
            let at = self.at + rest.find('<')?;
            let tag = self.text.get(at + 1..)?;
            self.at = at + 1;
            if tag.starts_with("![CDATA[") {
                self.at += tag.find("]]>").unwrap_or(tag.len());
                continue;
            }
            if !tag.starts_with(|first: char| first.is_alphabetic() || first == '_') {
                continue;
            }
            let end = close(tag);
            let inside = tag.get(..end).unwrap_or_default();
            let name_end = inside.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inside.len());
            let (name, attributes) = inside.split_at_checked(name_end)?;
            self.at = (at + 1 + end).min(self.text.len());
            let behind = tag.get(end..).unwrap_or_default().trim_start_matches('>');
            let text = behind.get(..behind.find('<').unwrap_or(behind.len())).unwrap_or_default();
            return Some(Element { name, attributes, at, text });
        }
    }
}

/// Where the tag closes: a bracket outside of quotes.
fn close(tag: &str) -> usize {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    tag.len()
}
