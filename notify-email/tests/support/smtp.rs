//! A small mail server that keeps what it is given, for tests and demonstrations.
//!
//! It speaks plain SMTP, STARTTLS and TLS from the start (given something that makes a stream a TLS stream), takes
//! AUTH PLAIN and LOGIN, and can be told to answer any command otherwise, to hang or to hang up. One file, std and
//! tokio alone, so that other packages can include it: `#[allow(dead_code, unreachable_pub)] #[path = "…"] mod smtp;`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Stands for the moment when a client has connected, in [`Sink::answer`].
pub const ON_CONNECT: &str = "<connect>";
/// Stands for the moment when a mail's content has come, in [`Sink::answer`].
pub const ON_CONTENT: &str = "<content>";

const LINE_BYTES_MAX: u64 = 64 * 1024;
const MAIL_BYTES_MAX: usize = 10 * 1024 * 1024;

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Handshake = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Makes a connection a TLS connection, as the server's side.
pub type Tls = Arc<dyn Fn(Box<dyn Stream>) -> Handshake + Send + Sync>;

/// How clients are received.
#[derive(Clone, Default)]
pub struct Options {
    /// TLS, from the start or by STARTTLS; without it neither is offered.
    pub tls: Option<Tls>,
    /// Whether TLS begins with the connection.
    pub implicit_tls: bool,
    /// The user and password without which no mail is taken.
    pub login: Option<(String, String)>,
    /// The mechanisms that are offered with `login`.
    pub mechanisms: &'static str,
}

/// What the server does instead of what is usual.
#[derive(Clone)]
pub enum Answer {
    /// It says this line.
    Say(String),
    /// It says nothing more and keeps the connection open.
    Hang,
    /// It closes the connection.
    Close,
}

/// One mail as it was received.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// Headers and body with CRLF, without the dots that the transport added.
    pub content: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// Who had logged in.
    pub user: Option<String>,
}

/// The server; it ends when this is dropped.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    options: Options,
    answers: Mutex<Vec<(String, Answer)>>,
    mails: watch::Sender<Vec<Mail>>,
    connections: watch::Sender<usize>,
    commands: watch::Sender<Vec<String>>,
    contents: AtomicUsize,
}

impl Sink {
    /// Listens on `address`, such as `127.0.0.1:0`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn listen(address: &str, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            answers: Mutex::default(),
            mails: watch::Sender::default(),
            connections: watch::Sender::default(),
            commands: watch::Sender::default(),
            contents: AtomicUsize::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, does this at the commands that begin with `command` (any case), [`ON_CONNECT`] or [`ON_CONTENT`].
    pub fn answer(&self, command: &str, answer: Answer) {
        lock(&self.shared.answers).push((command.to_ascii_lowercase(), answer));
    }

    /// From now on, does what is usual.
    pub fn behave(&self) {
        lock(&self.shared.answers).clear();
    }

    /// The mails that were taken, in their order.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.borrow().clone()
    }

    /// Waits until `count` mails were taken, and gives them all.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let mut mails = self.shared.mails.subscribe();
        mails.wait_for(|mails| mails.len() >= count).await.map(|mails| mails.clone()).unwrap_or_default()
    }

    /// How many clients have connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// How many contents of mails have come; what becomes of them was settled before.
    #[must_use]
    pub fn contents(&self) -> usize {
        self.shared.contents.load(Ordering::Acquire)
    }

    /// Waits until a command that begins with `command` (any case) has come.
    pub async fn wait_for_command(&self, command: &str) {
        let begins = |line: &String| line.to_ascii_lowercase().starts_with(&command.to_ascii_lowercase());
        // An error means that the server is gone, which is seen where it is used next.
        let _ = self.shared.commands.subscribe().wait_for(|lines| lines.iter().any(begins)).await;
    }

    /// The commands that have come, without the content of mails.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.shared.commands.borrow().clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.send_modify(|count| *count += 1);
        let shared = Arc::clone(&shared);
        // A client that goes away or breaks the protocol ends its own session only.
        tokio::spawn(async move { Session::run(stream, shared).await });
    }
}

struct Session {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
    encrypted: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl Session {
    async fn run(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = Box::new(stream);
        let encrypted = shared.options.implicit_tls;
        if let (true, Some(tls)) = (encrypted, &shared.options.tls) {
            stream = tls(stream).await?;
        }
        let stream = BufReader::new(stream);
        let mut session = Self { stream, shared, encrypted, user: None, from: None, to: Vec::new() };
        session.reply(ON_CONNECT, "220 sink ESMTP").await?;
        loop {
            let line = session.line().await?;
            session.shared.commands.send_modify(|lines| lines.push(line.clone()));
            let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            if word == "STARTTLS" && session.shared.options.tls.is_some() && !session.encrypted {
                session = session.secure(&line).await?;
            } else if word == "QUIT" {
                return session.reply(&line, "221 2.0.0 bye").await.map(|_| ());
            } else {
                session.command(&word, &line).await?;
            }
        }
    }

    async fn command(&mut self, word: &str, line: &str) -> io::Result<()> {
        let barred = self.shared.options.login.is_some() && self.user.is_none();
        match word {
            "EHLO" => {
                let greeting = self.extensions();
                self.reply(line, &greeting).await?;
            }
            "AUTH" => self.auth(line).await?,
            "MAIL" if barred => {
                self.reply(line, "530 5.7.0 authentication required").await?;
            }
            "MAIL" => {
                if self.reply(line, "250 2.1.0 ok").await? {
                    (self.from, self.to) = (Some(mailbox(line)), Vec::new());
                }
            }
            "RCPT" if self.from.is_some() => {
                if self.reply(line, "250 2.1.5 ok").await? {
                    self.to.push(mailbox(line));
                }
            }
            "DATA" if !self.to.is_empty() => {
                if self.reply(line, "354 go ahead").await? {
                    self.content().await?;
                }
            }
            "RSET" => {
                (self.from, self.to) = (None, Vec::new());
                self.reply(line, "250 2.0.0 ok").await?;
            }
            "NOOP" | "HELO" => {
                self.reply(line, "250 2.0.0 ok").await?;
            }
            "RCPT" | "DATA" => {
                self.reply(line, "503 5.5.1 bad sequence of commands").await?;
            }
            _ => {
                self.reply(line, "502 5.5.2 unknown command").await?;
            }
        }
        Ok(())
    }

    fn extensions(&self) -> String {
        let options = &self.shared.options;
        let mut lines = vec!["250-sink".to_owned(), "250-8BITMIME".to_owned()];
        if options.tls.is_some() && !self.encrypted {
            lines.push("250-STARTTLS".to_owned());
        }
        if options.login.is_some() {
            lines.push(format!("250-AUTH {}", options.mechanisms));
        }
        lines.push("250 ENHANCEDSTATUSCODES".to_owned());
        lines.join("\r\n")
    }

    async fn secure(mut self, line: &str) -> io::Result<Self> {
        if !self.reply(line, "220 2.0.0 begin").await? {
            return Ok(self);
        }
        let tls = self.shared.options.tls.clone().ok_or(io::ErrorKind::Unsupported)?;
        let stream = BufReader::new(tls(self.stream.into_inner()).await?);
        Ok(Self { stream, shared: self.shared, encrypted: true, user: None, from: None, to: Vec::new() })
    }

    async fn auth(&mut self, line: &str) -> io::Result<()> {
        let mut words = line.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next().map(str::to_owned);
        let given = if mechanism == "PLAIN" {
            let token = match initial {
                Some(token) => token,
                None => self.ask("").await?,
            };
            let text = decode(&token);
            let mut parts = text.split('\0').skip(1).map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        } else {
            // "Username:" and "Password:" in base64, as LOGIN asks.
            let user = self.ask("VXNlcm5hbWU6").await?;
            let password = self.ask("UGFzc3dvcmQ6").await?;
            (decode(&user), decode(&password))
        };
        if self.shared.options.login.as_ref() == Some(&given) {
            self.user = Some(given.0);
            self.reply(line, "235 2.7.0 welcome").await?;
        } else {
            self.reply(line, "535 5.7.8 wrong user or password").await?;
        }
        Ok(())
    }

    async fn ask(&mut self, challenge: &str) -> io::Result<String> {
        self.write(&format!("334 {challenge}")).await?;
        self.line().await
    }

    async fn content(&mut self) -> io::Result<()> {
        let mut content = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            content.push_str(line.strip_prefix('.').unwrap_or(&line));
            content.push_str("\r\n");
            if content.len() > MAIL_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        let mail = Mail { from, to, content, encrypted: self.encrypted, user: self.user.clone() };
        // It is kept before that is said: who has heard the answer finds the mail.
        let rule = self.rule(ON_CONTENT);
        if rule.is_none() {
            self.shared.mails.send_modify(|mails| mails.push(mail));
        }
        self.shared.contents.fetch_add(1, Ordering::AcqRel);
        self.answer(rule, "250 2.0.0 queued").await.map(|_| ())
    }

    /// What is to be done at this command instead of what is usual.
    fn rule(&self, command: &str) -> Option<Answer> {
        let command = command.to_ascii_lowercase();
        let answers = lock(&self.shared.answers);
        answers.iter().find(|(start, _)| command.starts_with(start)).map(|(_, answer)| answer.clone())
    }

    /// Answers; true when as usual.
    async fn reply(&mut self, command: &str, usual: &str) -> io::Result<bool> {
        self.answer(self.rule(command), usual).await
    }

    async fn answer(&mut self, rule: Option<Answer>, usual: &str) -> io::Result<bool> {
        match rule {
            None => self.write(usual).await.map(|()| true),
            Some(Answer::Say(line)) => self.write(&line).await.map(|()| false),
            Some(Answer::Hang) => std::future::pending().await,
            Some(Answer::Close) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await?;
        self.stream.get_mut().flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands between `<` and `>`.
fn mailbox(line: &str) -> String {
    let start = line.find('<').map_or(line.len(), |at| at + 1);
    line[start..].split('>').next().unwrap_or_default().to_owned()
}

fn decode(base64: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for six in base64.bytes().filter_map(|b| ALPHABET.iter().position(|a| *a == b)) {
        bits = bits << 6 | six as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
