//! Numbers, strings and bytes as the opcodes spell them.

use super::judge::{At, Judge};
use super::limits::LINE_BYTES_MAX;
use super::machine::{Fault, Machine, broken};
use super::opcodes as op;
use super::value::{Form, Text, Value};

impl Machine<'_, '_> {
    pub(super) fn numbers(&mut self, code: u8) -> Result<(), Fault> {
        let value = match code {
            op::BININT => Value::Int(self.cursor.i32_le()?.into()),
            op::BININT1 => Value::Int(self.cursor.u8()?.into()),
            op::BININT2 => Value::Int(self.cursor.u16_le()?.into()),
            op::BINFLOAT => Value::Float(self.cursor.f64_be()?),
            op::LONG1 => {
                let len = self.cursor.u8()?.into();
                self.long(len)?
            }
            op::LONG4 => match u64::try_from(self.cursor.i32_le()?) {
                Ok(len) => self.long(len)?,
                Err(_) => return broken("a negative length"),
            },
            _ => self.number_line(code)?,
        };
        self.push(value)
    }

    fn long(&mut self, len: u64) -> Result<Value, Fault> {
        if len > 8 {
            self.cursor.skip(len)?;
            return Ok(Value::Opaque);
        }
        let bytes = self.cursor.take(len, 8)?;
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        for (to, from) in wide.iter_mut().zip(&bytes) {
            *to = *from;
        }
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn number_line(&mut self, code: u8) -> Result<Value, Fault> {
        let line = self.cursor.line(LINE_BYTES_MAX)?;
        let text = std::str::from_utf8(&line).unwrap_or("?").trim();
        match (code, text) {
            (op::INT, "01") => return Ok(Value::Bool(true)),
            (op::INT, "00") => return Ok(Value::Bool(false)),
            _ => {}
        }
        let digits = text.trim_end_matches('L').replace('_', "");
        if code == op::FLOAT {
            return text.parse().map_or_else(|_| broken("a number that is none"), |number| Ok(Value::Float(number)));
        }
        if let Ok(number) = digits.parse() {
            return Ok(Value::Int(number));
        }
        // `int(text, 0)` also takes 0x10, 0o7, 0b1; only whether it is a number matters here.
        let plausible =
            !digits.is_empty() && digits.trim_start_matches(['-', '+']).chars().all(|c| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X' | 'o' | 'O'));
        if plausible { Ok(Value::Opaque) } else { broken("a number that is none") }
    }

    pub(super) fn constants(&mut self, code: u8, at: At, judge: &mut Judge<'_>) -> Result<(), Fault> {
        let len = match code {
            op::STRING => {
                let text = self.quoted_line()?;
                return self.push(Value::Text(text));
            }
            op::UNICODE => {
                let text = self.line_text()?;
                return self.push(Value::Text(Text { form: Form::UnicodeEscape, ..text }));
            }
            op::BINSTRING => match u64::try_from(self.cursor.i32_le()?) {
                Ok(len) => len,
                Err(_) => return broken("a negative length"),
            },
            op::SHORT_BINSTRING | op::SHORT_BINBYTES | op::SHORT_BINUNICODE => self.cursor.u8()?.into(),
            op::BINUNICODE | op::BINBYTES => self.cursor.u32_le()?.into(),
            _ => self.cursor.u64_le()?,
        };
        let head = if len >= 2 { self.cursor.peek::<2>().unwrap_or_default() } else { [0; 2] };
        let text = Text { offset: self.cursor.position(), len, form: Form::Raw, dunder: head == *b"__" };
        // A large constant is written outside any frame, and reading it drops the frame in every unpickler.
        self.cursor.skip(len)?;
        let bytes = matches!(code, op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8);
        if bytes || matches!(code, op::BINSTRING | op::SHORT_BINSTRING) {
            judge.constant(text, head, at);
        }
        self.push(if bytes { Value::Bytes(text) } else { Value::Text(text) })
    }

    /// A text line of any length, left in the file.
    pub(super) fn line_text(&mut self) -> Result<Text, Fault> {
        let offset = self.cursor.position();
        let len = self.cursor.skip_line()?;
        Ok(Text { offset, len, form: Form::Raw, dunder: true })
    }

    fn quoted_line(&mut self) -> Result<Text, Fault> {
        let line = self.line_text()?;
        let first = Text { len: 1, ..line }.resolve(self.cursor.source(), 1);
        if line.len < 2 || !matches!(first.as_deref(), Some("'" | "\"")) {
            return broken("a string without quotes");
        }
        Ok(Text { form: Form::Quoted, ..line })
    }
}
