//! As much of SMTP as a client needs to hand over a mail.

use std::io;
use std::sync::Arc;

use heartbeat_engine::{Clock, SystemClock};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Takes mail for ever.
pub(crate) async fn serve(listener: TcpListener, clock: Arc<SystemClock>) {
    while let Ok((stream, _)) = listener.accept().await {
        let clock = clock.clone();
        tokio::spawn(async move {
            // A client that goes away in the middle has handed nothing over.
            let _ = converse(stream, &clock).await;
        });
    }
}

async fn converse(mut stream: TcpStream, clock: &SystemClock) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let (mut from, mut to) = (String::new(), Vec::new());
    writer.write_all(b"220 demo ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-demo\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "HELO" | "NOOP" => "250 demo",
            "MAIL" => {
                from = address(&line);
                "250 2.1.0 sender is fine"
            }
            "RCPT" => {
                to.push(address(&line));
                "250 2.1.5 recipient is fine"
            }
            "RSET" => {
                to.clear();
                "250 2.0.0 forgotten"
            }
            "DATA" => {
                writer.write_all(b"354 go on, end with a dot\r\n").await?;
                let mut text = Vec::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    text.push(line.strip_prefix('.').unwrap_or(&line).to_owned());
                }
                crate::print(&mail(clock.now().as_millis(), &from, &to, &text));
                to.clear();
                "250 2.0.0 taken"
            }
            "QUIT" => {
                writer.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 5.5.2 this receiver knows no such command",
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn mail(at_ms: i64, from: &str, to: &[String], lines: &[String]) -> serde_json::Value {
    json!({
        "received": "mail", "at_ms": at_ms, "from": from, "to": to,
        "message_id": header(lines, "Message-ID"), "subject": header(lines, "Subject"), "text": lines.join("\n"),
    })
}

/// A header with the lines onto which it was folded.
fn header(lines: &[String], name: &str) -> Option<String> {
    let mut head = lines
        .iter()
        .take_while(|line| !line.is_empty())
        .skip_while(|line| line.split_once(':').is_none_or(|(found, _)| !found.eq_ignore_ascii_case(name)));
    let mut value = head.next()?.split_once(':')?.1.trim().to_owned();
    for folded in head.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push(' ');
        value.push_str(folded.trim());
    }
    Some(value)
}

fn address(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}
