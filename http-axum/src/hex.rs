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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(decode("00ffA1"), Some([0, 255, 0xa1]));
        assert_eq!(encode(&[0, 255, 0xa1]), "00ffa1");
        for text in ["", "0", "00ff", "00ffzz", "00ff+1", "00fé1"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
