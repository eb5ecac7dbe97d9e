//! One keep-alive connection with at most one request under way.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::failure::{Failure, Outcome};
use crate::request::Request;
use crate::response::{Parsed, parse};

/// Answers of the routes that are driven are far shorter.
const ANSWER_BYTES_MAX: usize = 4096;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// Which monitor it is for.
    pub(crate) monitor: u32,
    /// When it was to be sent, in nanoseconds since the driver's start.
    pub(crate) intended: u64,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// No whole answer yet.
    Nothing,
    /// An answer with this status.
    Answer(u16),
    /// The other side closed, or the connection broke.
    Closed,
}

/// A connection, which is opened again when it is needed and the server has closed it.
#[derive(Debug)]
pub(crate) struct Connection {
    token: Token,
    stream: Option<TcpStream>,
    inbox: Box<[u8; ANSWER_BYTES_MAX]>,
    filled: usize,
    /// How much of the request has left.
    sent: usize,
    /// What is sent; the driver aims it.
    pub(crate) request: Request,
    /// The request under way.
    pub(crate) flight: Option<Flight>,
}

impl Connection {
    /// One that is not open yet.
    pub(crate) fn new(token: Token, request: Request) -> Self {
        let inbox = Box::new([0; ANSWER_BYTES_MAX]);
        Self { token, stream: None, inbox, filled: 0, sent: 0, request, flight: None }
    }

    /// Sends the request; opens the connection where it is closed.
    pub(crate) fn send(&mut self, registry: &Registry, address: SocketAddr, flight: Flight) -> Outcome<()> {
        for _ in 0..2 {
            if self.stream.is_none() {
                self.open(registry, address)?;
            }
            (self.sent, self.filled) = (0, 0);
            self.flight = Some(flight);
            if self.flush() {
                return Ok(());
            }
        }
        Err(Failure::new("the server closes every connection"))
    }

    /// Closes it, if it is open.
    pub(crate) fn close(&mut self) {
        (self.stream, self.flight) = (None, None);
    }

    fn open(&mut self, registry: &Registry, address: SocketAddr) -> Outcome<()> {
        let connect = || {
            let stream = std::net::TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
            Ok::<_, io::Error>(stream)
        };
        self.stream = Some(connect().map_err(Failure::of("cannot connect to the server"))?);
        Ok(())
    }

    /// Sends what is left of the request; says whether the connection still stands.
    pub(crate) fn flush(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if self.flight.is_none() {
            return true;
        }
        while let Some(rest) = self.request.bytes().get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.stream = None;
                    return false;
                }
            }
        }
        true
    }

    /// Reads what has come.
    pub(crate) fn receive(&mut self) -> Outcome<Received> {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(Received::Closed) };
            match stream.read(&mut self.inbox[self.filled..]) {
                Ok(0) => {
                    self.stream = None;
                    return Ok(Received::Closed);
                }
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.stream = None;
                    return Ok(Received::Closed);
                }
            }
            match parse(&self.inbox[..self.filled]) {
                Parsed::Partial if self.filled < ANSWER_BYTES_MAX => {}
                Parsed::Whole { status, end, .. } if end == self.filled && self.flight.is_some() => {
                    self.filled = 0;
                    return Ok(Received::Answer(status));
                }
                Parsed::Partial | Parsed::Whole { .. } | Parsed::Foreign => {
                    let text = String::from_utf8_lossy(&self.inbox[..self.filled]).into_owned();
                    return Err(Failure::new(format!("the server answers something unexpected: {text:?}")));
                }
            }
        }
    }
}
