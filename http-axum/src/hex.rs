//! Hexadecimal digits.

/// The bytes that pairs of digits, of any case, stand for; `None` for other text or another length.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

/// Two lower-case digits for each byte.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends the 16 lower-case digits of a number.
pub(crate) fn put(out: &mut impl bytes::BufMut, number: u64) {
    let digits: [u8; 16] = std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15]);
    out.put_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(decode("00ffA1"), Some([0, 255, 0xa1]));
        assert_eq!(encode(&[0, 255, 0xa1]), "00ffa1");
        let mut digits = Vec::new();
        put(&mut digits, 0x00ff_a123_4567_89bc);
        assert_eq!(digits, b"00ffa123456789bc");
        for text in ["", "0", "00ff", "00ffzz", "00ff+1", "00fé1"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
