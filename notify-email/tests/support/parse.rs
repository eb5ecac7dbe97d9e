//! Reads a mail as a mail program does, as far as these tests need it: written apart from what composes it.

use std::collections::HashMap;

/// A mail or one of its parts.
#[derive(Debug)]
pub struct Parsed {
    headers: HashMap<String, String>,
    body: String,
}

impl Parsed {
    /// Splits headers from body and unfolds the headers.
    pub fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a blank line after the headers");
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a colon in every header");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { headers: unfolded.split("\r\n").map(header).collect(), body: body.to_owned() }
    }

    /// A header, its encoded words decoded; empty when it is missing.
    pub fn header(&self, name: &str) -> String {
        words(self.headers.get(name).map(String::as_str).unwrap_or_default())
    }

    /// The parts of a multipart mail.
    pub fn parts(&self) -> Vec<Self> {
        let kind = self.header("content-type");
        let boundary = kind.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a boundary");
        let pieces: Vec<_> = self.body.split(&format!("--{boundary}")).collect();
        pieces[1..pieces.len() - 1].iter().map(|piece| Self::of(piece.trim_start_matches("\r\n"))).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        let encoding = self.header("content-transfer-encoding");
        let bytes = match encoding.as_str() {
            "quoted-printable" => quoted(&self.body.replace("=\r\n", "")),
            "base64" => base64(&self.body),
            _ => self.body.clone().into_bytes(),
        };
        String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n")
    }
}

/// Decodes `=?utf-8?b?…?=`.
fn words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, word)) = rest.split_once("=?utf-8?b?") {
        let (encoded, after) = word.split_once("?=").expect("the end of an encoded word");
        // Blanks between two encoded words are not part of the text.
        out.push_str(if out.is_empty() || !before.trim().is_empty() { before } else { "" });
        out.push_str(&String::from_utf8(base64(encoded)).expect("UTF-8"));
        rest = after;
    }
    out + rest
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'=' {
            let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).expect("two hex digits"));
        } else {
            out.push(byte);
        }
    }
    out
}

fn base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let sixes: Vec<u32> = text.bytes().filter_map(value).map(u32::from).collect();
    let mut out = Vec::new();
    for four in sixes.chunks(4) {
        let bits = four.iter().enumerate().fold(0, |bits, (i, six)| bits | six << (18 - 6 * i));
        out.extend(bits.to_be_bytes()[1..four.len()].iter());
    }
    out
}
