//! Requests as bytes, made before the clock runs: only the token is written anew for each heartbeat.

use crate::random::mix;

/// The length of a token: that of a UUID, as the server makes them.
pub(crate) const TOKEN_LEN: usize = 36;

/// Writes the token of the `n`-th monitor, which looks as random as a real one.
pub(crate) fn write_token(seed: u64, n: u32, into: &mut [u8; TOKEN_LEN]) {
    let high = mix(seed ^ (u64::from(n) << 1));
    let low = mix(high ^ seed.rotate_left(32) ^ u64::from(n));
    let mut digits = u128::from(high) << 64 | u128::from(low);
    for (place, byte) in into.iter_mut().enumerate() {
        if matches!(place, 8 | 13 | 18 | 23) {
            *byte = b'-';
            continue;
        }
        *byte = b"0123456789abcdef"[(digits & 15) as usize];
        digits >>= 4;
    }
}

/// The same as a text.
pub(crate) fn token(seed: u64, n: u32) -> String {
    let mut bytes = [0; TOKEN_LEN];
    write_token(seed, n, &mut bytes);
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes of a request, and where the token stands in it if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    token_at: Option<usize>,
}

impl Request {
    /// `GET` of a path that needs no token.
    pub(crate) fn get(host: &str, path: &str) -> Self {
        Self { bytes: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(), token_at: None }
    }

    /// A heartbeat: `GET /ping/TOKEN`, or a `POST` with this many bytes of body.
    pub(crate) fn heartbeat(host: &str, body: usize) -> Self {
        let before = if body == 0 { "GET /ping/" } else { "POST /ping/" };
        let blank = "-".repeat(TOKEN_LEN);
        let mut text = format!("{before}{blank} HTTP/1.1\r\nHost: {host}\r\n");
        if body > 0 {
            text.push_str(&format!("Content-Length: {body}\r\n"));
        }
        text.push_str("\r\n");
        text.extend((0..body).map(|at| char::from(b'a' + (at % 26) as u8)));
        Self { bytes: text.into_bytes(), token_at: Some(before.len()) }
    }

    /// Whether it is a heartbeat.
    pub(crate) fn is_heartbeat(&self) -> bool {
        self.token_at.is_some()
    }

    /// Writes the token of the `n`-th monitor into it.
    pub(crate) fn aim(&mut self, seed: u64, n: u32) {
        let place = self.token_at.and_then(|at| self.bytes.get_mut(at..at + TOKEN_LEN)?.first_chunk_mut());
        if let Some(place) = place {
            write_token(seed, n, place);
        }
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_differ_and_are_taken_by_the_engine() {
        let tokens: HashSet<_> = (0..10_000).map(|n| token(7, n)).collect();
        assert_eq!(tokens.len(), 10_000);
        assert!(tokens.iter().all(|text| heartbeat_engine::Token::new(text.as_str()).is_ok()));
        assert_ne!(token(7, 1), token(8, 1));
    }

    #[test]
    fn only_the_token_of_a_heartbeat_changes() {
        let mut request = Request::heartbeat("h:1", 0);
        request.aim(7, 3);
        let wanted = format!("GET /ping/{} HTTP/1.1\r\nHost: h:1\r\n\r\n", token(7, 3));
        assert_eq!(request.bytes(), wanted.as_bytes());
        let mut request = Request::heartbeat("h:1", 3);
        request.aim(7, 4);
        let wanted = format!("POST /ping/{} HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n\r\nabc", token(7, 4));
        assert_eq!(request.bytes(), wanted.as_bytes());
        let mut request = Request::get("h:1", "/noop");
        request.aim(7, 4);
        assert_eq!(request.bytes(), b"GET /noop HTTP/1.1\r\nHost: h:1\r\n\r\n");
        assert!(!request.is_heartbeat());
    }
}
