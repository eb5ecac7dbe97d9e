//! Receives the server's webhooks and notes when each came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::clock::wall_ms;
use crate::failure::{Failure, Outcome};
use crate::response::content_length;

const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A webhook that came.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: f64,
    /// The path that it came to.
    pub(crate) path: String,
    /// What it says.
    pub(crate) body: Arc<[u8]>,
}

/// A receiver on a free port of this machine, for as long as the runtime lives.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Receiver {
    /// Starts one.
    pub(crate) fn start(runtime: &Runtime) -> Outcome<Self> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(Failure::of("the receiver"))?;
        let address = listener.local_addr().map_err(Failure::of("the receiver"))?;
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let sink = arrivals.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, sink.clone()));
            }
        });
        Ok(Self { address, arrivals })
    }

    /// The URL of a path of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path behind the first `seen` arrivals, and how many arrivals there are now.
    pub(crate) fn since(&self, seen: usize, path: &str) -> (Vec<Arrival>, usize) {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let new = arrivals.iter().skip(seen).filter(|arrival| arrival.path == path).cloned().collect();
        (new, arrivals.len())
    }
}

/// Takes one request after the other from a connection, until it ends.
async fn take(mut stream: TcpStream, sink: Arc<Mutex<Vec<Arrival>>>) {
    let mut received = Vec::new();
    loop {
        match stream.read_buf(&mut received).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let at_ms = wall_ms();
        while let Some(request) = split(&mut received) {
            let arrival = Arrival { at_ms, path: request.0, body: request.1 };
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
            if stream.write_all(TAKEN).await.is_err() {
                return;
            }
        }
    }
}

/// Takes a whole request, its path and its body, from the beginning of what was received.
fn split(received: &mut Vec<u8>) -> Option<(String, Arc<[u8]>)> {
    let head_end = memchr::memmem::find(received, b"\r\n\r\n")?;
    let head = &received[..head_end];
    let end = head_end + 4 + content_length(head).unwrap_or(0);
    let body = received.get(head_end + 4..end)?.into();
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default());
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    received.drain(..end);
    Some((path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_whole_and_one_after_the_other() {
        let whole = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\n\r\n";
        for cut in 0..whole.len() {
            let mut received = whole[..cut].to_vec();
            let first = split(&mut received);
            let is_there = cut >= 51;
            assert_eq!(first.is_some(), is_there, "{cut}");
            if !is_there {
                assert_eq!(received, &whole[..cut]);
            }
        }
        let mut received = whole.to_vec();
        let first = split(&mut received).unwrap();
        assert_eq!((first.0.as_str(), &first.1[..]), ("/a", &b"abc"[..]));
        let second = split(&mut received).unwrap();
        assert_eq!((second.0.as_str(), second.1.len(), received.len()), ("/b", 0, 0));
        assert!(split(&mut received).is_none());
    }
}
