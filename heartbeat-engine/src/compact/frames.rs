//! Heartbeats in a row, one frame each: its number and arrival as differences from the frame before, then its content.
//!
//! Frames are moved from the log to histories without looking at their content.

use super::{CompactError, Reader, write_bytes, write_number, write_signed};

/// One heartbeat whose content is not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Its place among the heartbeats of the monitor, from 1.
    pub n: u64,
    /// When it arrived, in milliseconds since 1970.
    pub arrived_at: i64,
    /// The rest of it, see [`super::write_ping`].
    pub content: &'a [u8],
}

/// Writes frames.
#[derive(Default, Debug)]
pub struct FramePacker {
    /// What is written so far.
    pub bytes: Vec<u8>,
    n: u64,
    arrived_at: i64,
}

impl FramePacker {
    /// Writes behind what is there already, as if it were the first.
    #[must_use]
    pub fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Writes one more.
    pub fn push(&mut self, frame: Frame<'_>) {
        write_number(&mut self.bytes, frame.n.wrapping_sub(self.n));
        write_signed(&mut self.bytes, frame.arrived_at.wrapping_sub(self.arrived_at));
        write_bytes(&mut self.bytes, frame.content);
        (self.n, self.arrived_at) = (frame.n, frame.arrived_at);
    }
}

/// Reads frames, in the order in which they were written; it ends behind the first that cannot be read.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: Reader<'a>,
    n: u64,
    arrived_at: i64,
    apart: bool,
}

impl<'a> Frames<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: Reader::new(bytes), n: 0, arrived_at: 0, apart: false }
    }

    /// Reads these bytes, in which each frame was written as if it were the first.
    #[must_use]
    pub const fn apart(bytes: &'a [u8]) -> Self {
        Self { apart: true, ..Self::new(bytes) }
    }

    fn frame(&mut self) -> Result<Frame<'a>, CompactError> {
        if self.apart {
            (self.n, self.arrived_at) = (0, 0);
        }
        self.n = self.n.wrapping_add(self.rest.number()?);
        self.arrived_at = self.arrived_at.wrapping_add(self.rest.signed()?);
        Ok(Frame { n: self.n, arrived_at: self.arrived_at, content: self.rest.bytes()? })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, CompactError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.frame();
        if frame.is_err() {
            // What follows cannot be found.
            self.rest = Reader::new(&[]);
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let frames = [
            Frame { n: 7, arrived_at: -5, content: b"a" },
            Frame { n: 8, arrived_at: i64::MAX, content: b"" },
            Frame { n: 3, arrived_at: i64::MIN, content: &[9; 300] },
        ];
        let mut packer = FramePacker::default();
        frames.iter().for_each(|frame| packer.push(*frame));
        assert_eq!(Frames::new(&packer.bytes).collect::<Result<Vec<_>, _>>().unwrap(), frames);
        let mut apart = Vec::new();
        for frame in frames {
            let mut packer = FramePacker::behind(std::mem::take(&mut apart));
            packer.push(frame);
            apart = packer.bytes;
        }
        assert_eq!(Frames::apart(&apart).collect::<Result<Vec<_>, _>>().unwrap(), frames);
        let cut = &packer.bytes[..packer.bytes.len() - 1];
        assert_eq!(Frames::new(cut).map(|frame| frame.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    }
}
