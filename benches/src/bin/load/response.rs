//! Reads as much of an HTTP/1.1 answer as is needed to find its end.

use memchr::memmem;

/// The beginning of what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Not all is there yet.
    Partial,
    /// An answer with this status; its body stands at `body..end`.
    Whole {
        /// Its status.
        status: u16,
        /// Where its body begins.
        body: usize,
        /// Where it ends.
        end: usize,
    },
    /// Nothing that this parser understands, such as a body in chunks.
    Foreign,
}

/// Looks whether an answer is complete.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let Some(head_end) = memmem::find(bytes, b"\r\n\r\n") else { return Parsed::Partial };
    let head = &bytes[..head_end];
    let Some(status) = status(head) else { return Parsed::Foreign };
    let body = head_end + 4;
    let length = match content_length(head) {
        Some(length) => length,
        None if matches!(status, 100..200 | 204 | 304) => 0,
        None => return Parsed::Foreign,
    };
    match body.checked_add(length) {
        Some(end) if end <= bytes.len() => Parsed::Whole { status, body, end },
        Some(_) => Parsed::Partial,
        None => Parsed::Foreign,
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    number(digits).and_then(|status| u16::try_from(status).ok())
}

/// The value of `content-length`; most servers write it in small letters.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let is_name = |line: &[u8]| line.len() >= NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME);
    let line = match memmem::find(head, b"\r\ncontent-length:") {
        Some(at) => &head[at + 2..],
        None => head.split(|byte| *byte == b'\n').find(|line| is_name(line))?,
    };
    let value = &line[NAME.len()..];
    let end = memchr::memchr(b'\r', value).unwrap_or(value.len());
    number(value[..end].trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0usize, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_an_answer_wherever_it_is_cut() {
        let answer = b"HTTP/1.1 200 OK\r\nheartbeat-status: up\r\ncontent-length: 2\r\ndate: x\r\n\r\nOK";
        for cut in 0..answer.len() {
            assert_eq!(parse(&answer[..cut]), Parsed::Partial, "{cut}");
        }
        let body = answer.len() - 2;
        assert_eq!(parse(answer), Parsed::Whole { status: 200, body, end: answer.len() });
        let more = [&answer[..], b"HTTP/1.1"].concat();
        assert_eq!(parse(&more), Parsed::Whole { status: 200, body, end: answer.len() });
    }

    #[test]
    fn knows_other_spellings_and_what_it_does_not_know() {
        for (answer, wanted) in [
            ("HTTP/1.1 429 Too Many\r\nContent-Length:0\r\n\r\n", Some(429)),
            ("HTTP/1.1 503 X\r\nA: b\r\nCONTENT-LENGTH:  0 \r\n\r\n", Some(503)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some(204)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nx-content-length: 3\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
        ] {
            let status = match parse(answer.as_bytes()) {
                Parsed::Whole { status, end, .. } => {
                    assert_eq!(end, answer.len());
                    Some(status)
                }
                Parsed::Foreign => None,
                Parsed::Partial => panic!("{answer} is whole"),
            };
            assert_eq!(status, wanted, "{answer}");
        }
    }
}
