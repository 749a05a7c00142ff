//! Kernel bytes as text.

/// Lossy: what is no UTF-8 becomes U+FFFD.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// NUL-separated arguments as one line. The separators at the end go, empty arguments inside stay visible as two spaces.
pub(super) fn cmd_line(args: &[u8]) -> String {
    let end = args.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let line: Vec<u8> = args.iter().take(end).map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
    String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A terminal by its device number, as `ps` names it.
pub(super) fn tty((major, minor): (u16, u16)) -> String {
    match (major, minor) {
        (0, _) => String::new(),
        (4, 64..) => format!("ttyS{}", minor - 64),
        (4, _) => format!("tty{minor}"),
        (5, 1) => "console".to_owned(),
        (136..=143, _) => format!("pts/{}", u32::from(major - 136) * 256 + u32::from(minor)),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_one_line() {
        assert_eq!(cmd_line(b"cat\0a b\0\0c\0\0"), "cat a b  c");
        assert_eq!(cmd_line(b""), "");
        assert_eq!(cmd_line(b"x\xff\0"), "x\u{fffd}");
    }

    #[test]
    fn terminals_have_names() {
        assert_eq!(
            [tty((0, 0)), tty((136, 3)), tty((137, 1)), tty((4, 1)), tty((4, 65)), tty((5, 1)), tty((204, 7))].join(" "),
            " pts/3 pts/257 tty1 ttyS1 console 204:7"
        );
    }
}
