//! R objects written as text (`InWord` and `InString` of R's serialize.c): numbers are words, characters stand behind one
//! another with what cannot be printed escaped.

use super::parser::{Parser, Read};
use picket_bounded::BoundedError;

/// The longest word that R itself reads.
const WORD_BYTES_MAX: usize = 128;
/// How R writes the number that is not there.
const NOT_AVAILABLE: u32 = 0x8000_0000;

/// What C calls a space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

impl Parser<'_, '_> {
    pub(super) fn number_of_text(&mut self) -> Read<u32> {
        let word = self.word()?;
        if word == b"NA" {
            return Ok(NOT_AVAILABLE);
        }
        let number = std::str::from_utf8(&word).ok().and_then(|word| word.parse::<i32>().ok());
        Ok(number.ok_or(BoundedError::Malformed("a word that is no number"))?.cast_unsigned())
    }

    pub(super) fn skip_words(&mut self, count: u64) -> Read<()> {
        for _ in 0..count {
            self.spend()?;
            self.word()?;
        }
        Ok(())
    }

    fn word(&mut self) -> Read<Vec<u8>> {
        let mut byte = self.after_spaces()?;
        let mut word = Vec::new();
        while !is_space(byte) {
            if word.len() == WORD_BYTES_MAX {
                return Err(BoundedError::Malformed("a word longer than R reads"));
            }
            word.push(byte);
            byte = self.cursor.u8()?;
        }
        Ok(word)
    }

    fn after_spaces(&mut self) -> Read<u8> {
        loop {
            self.spend()?;
            let byte = self.cursor.u8()?;
            if !is_space(byte) {
                return Ok(byte);
            }
        }
    }

    pub(super) fn characters_of_text(&mut self, length: u64, cap: u64) -> Read<Vec<u8>> {
        if length > cap {
            return Err(BoundedError::LimitExceeded { what: "bytes read at once", limit: cap });
        }
        let mut characters = Vec::new();
        self.each_character(length, &mut |byte| characters.push(byte))?;
        Ok(characters)
    }

    pub(super) fn skip_characters_of_text(&mut self, length: u64) -> Read<()> {
        self.each_character(length, &mut |_| ())
    }

    fn each_character(&mut self, length: u64, take: &mut dyn FnMut(u8)) -> Read<()> {
        if length == 0 {
            return Ok(());
        }
        self.after_spaces()?;
        self.cursor.seek(self.cursor.position() - 1);
        for _ in 0..length {
            self.spend()?;
            let byte = self.cursor.u8()?;
            take(if byte == b'\\' { self.escaped()? } else { byte });
        }
        Ok(())
    }

    /// What stands behind a backslash: a letter for a control character, up to three octal digits, or the character itself.
    fn escaped(&mut self) -> Read<u8> {
        let byte = self.cursor.u8()?;
        Ok(match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'v' => 0x0b,
            b'b' => 0x08,
            b'r' => b'\r',
            b'f' => 0x0c,
            b'a' => 0x07,
            b'0'..=b'7' => {
                let mut code = byte - b'0';
                for _ in 0..2 {
                    let [digit] = self.cursor.peek::<1>()?;
                    if !matches!(digit, b'0'..=b'7') {
                        break;
                    }
                    self.cursor.u8()?;
                    code = code.wrapping_mul(8).wrapping_add(digit - b'0');
                }
                code
            }
            other => other,
        })
    }
}
