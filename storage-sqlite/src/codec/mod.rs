//! The binary form of what changes with every heartbeat: a monitor's state, and the heartbeats themselves.
//!
//! JSON of both is six times as large and ten times as slow, and both are written at every heartbeat. Wishes, incidents and
//! notifications stay JSON: they change seldom, and people read them with `sqlite3`.

mod frames;
mod health;
mod ping;

pub(crate) use frames::{Frame, Packer, Unpacker};
pub(crate) use health::{read_health, write_health};
pub(crate) use ping::{read_counted, read_ping, write_ping};

/// What cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CodecError(pub(crate) String);

impl CodecError {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Appends a number, seven bits to a byte, the low ones first.
pub(crate) fn write_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that is near to 0 on either side.
pub(crate) fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends bytes with their length.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was appended, from its start.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much is left.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn number(&mut self) -> Result<u64, CodecError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::new("a number does not end"))
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.number()?).map_err(|_| CodecError::new("a number is too large"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, CodecError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.0.split_first().ok_or_else(|| CodecError::new("it ends too soon"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| CodecError::new("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| CodecError::new("it ends too soon"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let count = self.small()?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<String, CodecError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|error| CodecError(error.to_string()))
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
