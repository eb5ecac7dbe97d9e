//! Stands between a storage and its Redis, and breaks what it is told to break.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const SCRIPT: &str = "EVALSHA";
const REFUSAL: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// What happens to requests. Whoever tests waits for each answer, so requests come in one piece.
pub enum Rule {
    /// It passes.
    Pass,
    /// The next one with this word is forwarded; its answer is thrown away, and the connection cut.
    LoseAnswer(&'static str),
    /// The next one with this word cuts the connection and is lost.
    Cut(&'static str),
    /// So many scripts pass; the next one is kept back, and the connection cut.
    Hold { after: u32 },
    /// So many scripts pass; the next one is lost, the connection cut, and further ones lead to another server.
    Switch { after: u32, to: u16 },
    /// So many scripts pass; the others are refused as a Redis does whose memory is full.
    Refuse { after: u32 },
}

struct State {
    rule: Mutex<Rule>,
    held: Mutex<Vec<u8>>,
    target: Mutex<u16>,
}

pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state =
            Arc::new(State { rule: Mutex::new(Rule::Pass), held: Mutex::default(), target: Mutex::new(target) });
        let shared = state.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || state.serve(client));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, rule: Rule) {
        *self.state.rule.lock().unwrap() = rule;
    }

    /// Whether the rule has been applied, which happens once.
    pub fn is_done(&self) -> bool {
        matches!(*self.state.rule.lock().unwrap(), Rule::Pass)
    }

    /// Sends on what was held, and says what was answered.
    pub fn release(&self) -> String {
        let mut server = self.state.connect().unwrap();
        server.write_all(&std::mem::take(&mut *self.state.held.lock().unwrap())).unwrap();
        let mut answer = [0; 4096];
        let length = server.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

enum Fate {
    Forward,
    ForwardAndCut,
    Cut,
    Refuse,
}

impl State {
    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", *self.target.lock().unwrap()))
    }

    /// Until either side ends, or it is cut.
    fn serve(&self, mut client: TcpStream) {
        let Ok(mut server) = self.connect() else { return };
        let cut = Arc::new(AtomicBool::new(false));
        let back = (server.try_clone().unwrap(), client.try_clone().unwrap(), cut.clone());
        std::thread::spawn(move || answer(back));
        let mut request = vec![0; 1 << 20];
        while let Ok(length @ 1..) = client.read(&mut request) {
            let request = &request[..length];
            let done = match self.fate(request) {
                Fate::Forward => server.write_all(request),
                Fate::ForwardAndCut => {
                    cut.store(true, Ordering::SeqCst);
                    server.write_all(request)
                }
                Fate::Refuse => client.write_all(REFUSAL.repeat(count(request, SCRIPT)).as_bytes()),
                Fate::Cut => break,
            };
            if done.is_err() {
                break;
            }
        }
        if !cut.load(Ordering::SeqCst) {
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
    }

    fn fate(&self, request: &[u8]) -> Fate {
        let has = |word: &str| count(request, word) > 0;
        let mut rule = self.rule.lock().unwrap();
        let fate = match &mut *rule {
            Rule::LoseAnswer(word) if has(word) => Fate::ForwardAndCut,
            Rule::Cut(word) if has(word) => Fate::Cut,
            _ if !has(SCRIPT) => return Fate::Forward,
            Rule::Hold { after: 0 } => {
                self.held.lock().unwrap().extend_from_slice(request);
                Fate::Cut
            }
            Rule::Switch { after: 0, to } => {
                *self.target.lock().unwrap() = *to;
                Fate::Cut
            }
            Rule::Refuse { after: 0 } => return Fate::Refuse,
            Rule::Hold { after } | Rule::Switch { after, .. } | Rule::Refuse { after } => {
                *after -= 1;
                return Fate::Forward;
            }
            _ => return Fate::Forward,
        };
        *rule = Rule::Pass;
        fate
    }
}

fn count(request: &[u8], word: &str) -> usize {
    request.windows(word.len()).filter(|window| *window == word.as_bytes()).count()
}

/// Brings answers back; the first one to a request whose answer is to be lost ends it.
fn answer((mut server, mut client, cut): (TcpStream, TcpStream, Arc<AtomicBool>)) {
    let mut bytes = vec![0; 1 << 20];
    while let Ok(length @ 1..) = server.read(&mut bytes) {
        if cut.load(Ordering::SeqCst) || client.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}
