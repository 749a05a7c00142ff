//! A cursor over bytes in memory.

use crate::BoundedError;

/// Reads integers and runs off a slice; every failure leaves the position where it was.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

macro_rules! integers {
    ($($name:ident $from:ident $type:ty),* $(,)?) => {$(
        #[doc = concat!("The next `", stringify!($type), "`.")]
        ///
        /// # Errors
        /// `Truncated` at the end.
        pub fn $name(&mut self) -> Result<$type, BoundedError> {
            Ok(<$type>::$from(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position as u64
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.rest().len() as u64
    }

    /// True at the end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Everything from here on, without moving.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    pub fn take(&mut self, len: u64) -> Result<&'a [u8], BoundedError> {
        let taken = usize::try_from(len).ok().and_then(|len| self.rest().get(..len));
        let taken = taken.ok_or(BoundedError::Truncated { offset: self.position(), wanted: len })?;
        self.position += taken.len();
        Ok(taken)
    }

    /// Moves over `len` bytes.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    pub fn skip(&mut self, len: u64) -> Result<(), BoundedError> {
        self.take(len).map(|_| ())
    }

    /// Moves to `position`.
    ///
    /// # Errors
    /// `Truncated` beyond the end.
    pub fn seek(&mut self, position: u64) -> Result<(), BoundedError> {
        match usize::try_from(position) {
            Ok(to) if to <= self.bytes.len() => {
                self.position = to;
                Ok(())
            }
            _ => Err(BoundedError::Truncated { offset: self.bytes.len() as u64, wanted: position.saturating_sub(self.bytes.len() as u64) }),
        }
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BoundedError> {
        let offset = self.position();
        let array = self.rest().first_chunk::<N>().copied().ok_or(BoundedError::Truncated { offset, wanted: N as u64 })?;
        self.position += N;
        Ok(array)
    }

    integers! {
        u8 from_le_bytes u8, i8 from_le_bytes i8,
        u16_le from_le_bytes u16, u16_be from_be_bytes u16, u32_le from_le_bytes u32, u32_be from_be_bytes u32,
        u64_le from_le_bytes u64, u64_be from_be_bytes u64, i32_le from_le_bytes i32, i64_le from_le_bytes i64,
    }

    /// A protobuf base-128 varint.
    ///
    /// # Errors
    /// `Truncated` at the end; `Malformed` above ten bytes.
    pub fn varint(&mut self) -> Result<u64, BoundedError> {
        let start = self.position;
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = match self.u8() {
                Ok(byte) => byte,
                Err(error) => {
                    self.position = start;
                    return Err(error);
                }
            };
            // Bits above 64 are dropped as every protobuf runtime does.
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.position = start;
        Err(BoundedError::Malformed("varint longer than ten bytes"))
    }
}
