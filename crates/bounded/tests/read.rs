//! The cursor over a source and the reader over a slice agree, and neither passes the end.

use picket_bounded::{BoundedError, Cursor, MemorySource, Reader, Source, Window, read_range, read_to_cap};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Byte,
    Word,
    Long,
    Take(u64),
    Skip(u64),
    Seek(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Byte),
        Just(Step::Word),
        Just(Step::Long),
        (0_u64..100_000).prop_map(Step::Take),
        prop_oneof![0_u64..100_000, Just(u64::MAX)].prop_map(Step::Skip),
        (0_u64..150_000).prop_map(Step::Seek)
    ]
}

proptest! {
    #[test]
    fn cursor_agrees_with_reader(length in 0_usize..150_000, steps in proptest::collection::vec(step(), 1..40)) {
        let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n * 31 % 256).unwrap()).collect();
        let source = MemorySource::new(bytes.clone());
        let (mut cursor, mut reader) = (Cursor::new(&source), Reader::new(&bytes));
        for step in steps {
            match step {
                Step::Byte => prop_assert_eq!(cursor.u8().ok(), reader.u8().ok()),
                Step::Word => prop_assert_eq!(cursor.u32_le().ok(), reader.u32_le().ok()),
                Step::Long => prop_assert_eq!(cursor.u64_be().ok(), reader.u64_be().ok()),
                Step::Take(length) => prop_assert_eq!(cursor.take(length, u64::MAX).ok(), reader.take(length).ok().map(<[u8]>::to_vec)),
                Step::Skip(length) => prop_assert_eq!(cursor.skip(length).is_ok(), reader.skip(length).is_ok()),
                Step::Seek(to) if to <= length as u64 => { cursor.seek(to); reader.seek(to).unwrap(); }
                Step::Seek(to) => prop_assert!(reader.seek(to).is_err()),
            }
            prop_assert_eq!(cursor.position(), reader.position());
            prop_assert_eq!(cursor.remaining(), reader.remaining());
        }
    }

    #[test]
    fn varints_read_back(value: u64) {
        let mut bytes = Vec::new();
        let mut left = value;
        while left >= 0x80 {
            bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        bytes.push(u8::try_from(left).unwrap());
        prop_assert_eq!(Reader::new(&bytes).varint().unwrap(), value);
    }
}

#[test]
fn a_length_field_never_sizes_an_allocation() {
    let source: &[u8] = b"short";
    assert!(matches!(read_range(&source, 0, u64::MAX, u64::MAX), Err(BoundedError::Truncated { .. })));
    assert!(matches!(Cursor::new(&source).take(1 << 60, u64::MAX), Err(BoundedError::Truncated { .. })));
    assert!(matches!(read_range(&source, 0, 5, 4), Err(BoundedError::LimitExceeded { .. })));
}

#[test]
fn lines_windows_and_streams() {
    let source: &[u8] = b"one\ntwo\nrest";
    let mut cursor = Cursor::new(&source);
    assert_eq!(cursor.line(10).unwrap(), b"one");
    assert!(matches!(cursor.line(2), Err(BoundedError::LimitExceeded { .. })));
    cursor.seek(8);
    assert!(matches!(cursor.line(10), Err(BoundedError::Truncated { .. })));
    let window = Window::new(&source, 4, 3);
    assert_eq!((window.len(), read_range(&window, 0, 3, 9).unwrap()), (3, b"two".to_vec()));
    assert!(read_range(&window, 1, 3, 9).is_err(), "a window does not read past its end");
    assert_eq!(Window::new(&source, 100, 3).len(), 0);
    assert!(matches!(read_to_cap(&b"12345"[..], 4), Err(BoundedError::LimitExceeded { .. })));
    assert_eq!(read_to_cap(&b"1234"[..], 4).unwrap(), b"1234");
}
