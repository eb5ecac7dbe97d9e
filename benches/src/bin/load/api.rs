//! The server's API, as far as a run needs it, over one plain connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::response::{Parsed, parse};

const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) text: String,
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    key: &'static str,
    stream: Option<TcpStream>,
}

impl Api {
    /// To this server, with this admin key.
    pub(crate) fn new(address: SocketAddr, key: &'static str) -> Self {
        Self { address, key, stream: None }
    }

    /// Any request; a connection that was closed while it was idle is opened again.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Answer> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let (host, key, length) = (self.address, self.key, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        let was_open = self.stream.is_some();
        match self.exchange(&request) {
            Err(_) if was_open => self.exchange(&request),
            other => other,
        }
        .map_err(Failure::of(path))
    }

    /// A request that must succeed.
    pub(crate) fn must(&mut self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let answer = self.send(method, path, body)?;
        if !(200..300).contains(&answer.status) {
            return Err(Failure::new(format!("{method} {path} was answered {}: {}", answer.status, answer.text)));
        }
        serde_json::from_str(&answer.text).map_err(Failure::of(path))
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream
            }
        };
        stream.write_all(request)?;
        let mut received = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&chunk[..read]);
            match parse(&received) {
                Parsed::Partial => {}
                Parsed::Whole { status, body, end } => {
                    self.stream = Some(stream);
                    let text = String::from_utf8_lossy(&received[body..end]).into_owned();
                    return Ok(Answer { status, text });
                }
                Parsed::Foreign => return Err(std::io::Error::other("the answer has no length")),
            }
        }
    }
}
