//! Member paths, as an unpacker would follow them.

/// True when unpacking `name` under a folder could write outside that folder.
pub(crate) fn escapes(name: &str) -> bool {
    // Nearly every name is one of these.
    if !name.contains("..") && !name.starts_with(['/', '\\']) && name.as_bytes().get(1) != Some(&b':') {
        return false;
    }
    let mut depth = 0_i64;
    let slashed = name.replace('\\', "/");
    let drive = slashed.as_bytes().get(1) == Some(&b':') && slashed.starts_with(|first: char| first.is_ascii_alphabetic());
    if slashed.starts_with('/') || drive {
        return true;
    }
    for part in slashed.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

/// The one spelling of a path: what two names must share to be the same file.
pub(crate) fn normal(name: &str) -> String {
    if !name.starts_with(['/', '.']) && !name.contains("//") && !name.contains("/.") {
        return name.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let mut path = parts.join("/");
    if name.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_escape() {
        for name in ["../x", "a/../../x", "/etc/passwd", "C:/x", r"..\x", r"a\..\..\x", r"\\server\share"] {
            assert!(escapes(name), "{name}");
        }
        for name in ["a/b", "a/../b", "..a/b", "./a", "a..", "archive/data/0"] {
            assert!(!escapes(name), "{name}");
        }
        assert_eq!(normal("a//./b/../c"), "a/c");
    }
}
