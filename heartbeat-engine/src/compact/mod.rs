//! The binary form of what a storage writes with every heartbeat: a monitor's state, the heartbeats themselves, and how many
//! there were in each hour.
//!
//! JSON of them is six times as large and ten times as slow. What changes seldom (wishes, incidents, notifications) is better
//! kept as JSON, which people can read. What one version writes every later one reads; a storage need not use it.
//!
//! ```
//! use heartbeat_engine::compact::{read_health, write_health};
//! use heartbeat_engine::{Health, Timestamp};
//!
//! let health = Health::new(Timestamp::from_secs(1_800_000_000));
//! let mut bytes = Vec::new();
//! write_health(&mut bytes, &health)?;
//! assert_eq!(read_health(&bytes)?, health);
//! assert!(bytes.len() < 24);
//! # Ok::<(), heartbeat_engine::compact::CompactError>(())
//! ```

mod frames;
mod health;
mod hours;
mod incident;
mod ping;

pub use frames::{Frame, FramePacker, Frames};
pub use health::{read_health, write_health};
pub use hours::{HourPacker, Hours, add_hours, count_heartbeat, hour_begin, hour_of, pack_hours, read_hours};
pub use ping::{read_counted, read_ping, write_ping};

/// What is damaged, or was written by a later version; says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompactError(String);

impl CompactError {
    /// Says what is wrong.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Appends a number, seven bits to a byte, the low ones first.
pub fn write_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that is near to 0 on either side.
pub fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends bytes with their length.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was appended, from its start. Each of its answers is an error where the bytes end too soon.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all is read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// A number as [`write_number`] writes it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn number(&mut self) -> Result<u64, CompactError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CompactError::new("a number does not end"))
    }

    /// A number that must fit into a smaller type.
    ///
    /// # Errors
    /// When it does not, or does not end.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, CompactError> {
        T::try_from(self.number()?).map_err(|_| CompactError::new("a number is too large"))
    }

    /// A number as [`write_signed`] writes it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn signed(&mut self) -> Result<i64, CompactError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// One byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn byte(&mut self) -> Result<u8, CompactError> {
        let (first, rest) = self.0.split_first().ok_or_else(|| CompactError::new("it ends too soon"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], CompactError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| CompactError::new("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many bytes, as many as the type says.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CompactError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| CompactError::new("it ends too soon"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Bytes as [`write_bytes`] writes them.
    ///
    /// # Errors
    /// When fewer are left than their length says.
    pub fn bytes(&mut self) -> Result<&'a [u8], CompactError> {
        let count = self.small()?;
        self.take(count)
    }

    /// The same as text.
    ///
    /// # Errors
    /// When it is cut, or not UTF-8.
    pub fn text(&mut self) -> Result<String, CompactError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|error| CompactError::new(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let signed = [0, 1, -1, 63, -64, i64::MAX, i64::MIN];
        numbers.iter().for_each(|n| write_number(&mut out, *n));
        signed.iter().for_each(|n| write_signed(&mut out, *n));
        let mut reader = Reader::new(&out);
        numbers.iter().for_each(|n| assert_eq!(reader.number(), Ok(*n)));
        signed.iter().for_each(|n| assert_eq!(reader.signed(), Ok(*n)));
        assert!(reader.is_empty());
        assert!(reader.byte().is_err());
        assert!(Reader::new(&[0xff; 11]).number().is_err());
        assert!(Reader::new(&[5, 1]).bytes().is_err());
    }
}
