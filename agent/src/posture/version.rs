use std::cmp::Ordering;

/// A bound such as `torch<2.10`.
pub(super) struct Bound<'a> {
    pub(super) name: &'a str,
    /// `None` is any version.
    below: Option<(&'a str, bool)>,
}

impl<'a> Bound<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        match text.split_once('<') {
            Some((name, version)) => {
                let (version, or_equal) = version.strip_prefix('=').map_or((version, false), |version| (version, true));
                Self { name: name.trim(), below: Some((version.trim(), or_equal)) }
            }
            None => Self { name: text.trim(), below: None },
        }
    }

    pub(super) fn takes(&self, version: &str) -> bool {
        self.below.is_none_or(|(bound, or_equal)| match compare(version, bound) {
            Ordering::Less => true,
            Ordering::Equal => or_equal,
            Ordering::Greater => false,
        })
    }
}

/// By numbers. A pre-release comes before its release; a local part (`+cu121`), an epoch and a Debian revision do not count.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (parts(left), parts(right));
    for at in 0..left.0.len().max(right.0.len()) {
        let number = |of: &[u64]| of.get(at).copied().unwrap_or(0);
        let order = number(&left.0).cmp(&number(&right.0));
        if order != Ordering::Equal {
            return order;
        }
    }
    // `true` is a pre-release.
    right.1.cmp(&left.1)
}

fn parts(version: &str) -> (Vec<u64>, bool) {
    let version = version.split(['+', '-', '~']).next().unwrap_or_default();
    let version = version.split_once([':', '!']).map_or(version, |(_, rest)| rest).trim_start_matches('v');
    let mut numbers = Vec::new();
    for part in version.split('.').take(8) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let rest = part.get(digits.len()..).unwrap_or_default();
        if let Ok(number) = digits.parse() {
            numbers.push(number);
        }
        if !rest.is_empty() || digits.is_empty() {
            let before = ["a", "b", "rc", "c", "dev", "alpha", "beta", "pre"].iter().any(|word| rest.trim_start_matches(['.', '_']).starts_with(word));
            return (numbers, before);
        }
    }
    (numbers, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        for (left, right, order) in [
            ("2.9.1+cu121", "2.10", Ordering::Less),
            ("2.10", "2.10.0", Ordering::Equal),
            ("2.10.0rc1", "2.10", Ordering::Less),
            ("2.10.0.dev20250101", "2.10", Ordering::Less),
            ("0.10.1.1", "0.10.1", Ordering::Greater),
            ("1:1.17.8-1", "1.17.8", Ordering::Equal),
            ("25.07", "25.7", Ordering::Equal),
            ("rubbish", "1", Ordering::Less),
            ("1.0.post1", "1.0", Ordering::Equal),
        ] {
            assert_eq!(compare(left, right), order, "{left} {right}");
        }
        assert!(Bound::parse("keras<3.13.2").takes("3.13.1") && !Bound::parse("keras<3.13.2").takes("3.13.2"));
        assert!(Bound::parse("mlflow<=3.10.1").takes("3.10.1") && Bound::parse("x").takes("9"));
    }
}
