//! What the tests of this package share.

pub mod parse;
pub mod smtp;

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::{
    AboutIncident, AboutMonitor, Attempt, Cause, Digest, DigestItem, Effect, IncidentId, MonitorId, Notification,
    NotificationId, NotificationKind, PingEntry, Severity, Signal, StatusWord, Timestamp, Version,
};
use smtp::{Options, Sink, Stream, Tls};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// 2026-11-20T08:10:01Z.
pub fn now() -> Timestamp {
    "2026-11-20T08:10:01Z".parse().unwrap()
}

/// A first attempt with plenty of time.
pub fn attempt() -> Attempt<'static> {
    Attempt::new(1, now(), Duration::from_secs(30))
}

/// What is owed when `cert-sync` has failed.
pub fn notification() -> Notification {
    let monitor = MonitorId::from_bytes([7; 16]);
    let at: Timestamp = "2026-11-20T08:10:00Z".parse().unwrap();
    Notification {
        id: NotificationId::derive(monitor, Version(4), 0, "mail"),
        channel: "mail".to_owned(),
        kind: NotificationKind::Down,
        created_at: at,
        monitor: Some(AboutMonitor {
            id: monitor,
            slug: "cert-sync".to_owned(),
            name: "cert-sync".to_owned(),
            tags: vec!["cert".to_owned(), "<b>".to_owned()],
            severity: Severity::Critical,
            status: StatusWord::Down,
        }),
        incident: Some(AboutIncident {
            id: IncidentId::derive(monitor, Version(4), 0),
            opened_at: at,
            detected_at: at,
            closed_at: None,
            cause: Cause::Missed,
            detail: "expected 08:05, grace 5 min".to_owned(),
        }),
        message: "cert-sync is down: no heartbeat since 06:05, expected every 2 h".to_owned(),
        ping: Some(ping(at)),
        digest: None,
    }
}

/// The digest of `count` messages that lists the first `listed`: every third says that it is up again.
pub fn digest(count: usize, listed: usize) -> Notification {
    let down = notification();
    let item = |n: usize| {
        let name = format!("job <{n}>");
        let (kind, told) = match n % 3 {
            2 => (NotificationKind::Recovered, "is up again after 5 min".to_owned()),
            _ => (NotificationKind::Down, "is down: no heartbeat since 06:05,\nexpected every 2 h".to_owned()),
        };
        let message = format!("{name} {told}");
        let monitor = down.monitor.clone().map(|monitor| AboutMonitor { name, ..monitor });
        DigestItem { kind, monitor, incident: down.incident.clone(), message }
    };
    let up = (0..count).filter(|n| n % 3 == 2).count();
    let covers = (0..count).map(|n| (NotificationId::named(&[&n.to_be_bytes()]), None)).collect();
    Notification {
        id: NotificationId::named(&[b"digest"]),
        kind: NotificationKind::Digest,
        message: format!(
            "{count} messages: {} monitor.down, {up} monitor.recovered\nwhat a list says better",
            count - up
        ),
        digest: Some(Box::new(Digest { items: (0..listed).map(item).collect(), covers })),
        monitor: None,
        incident: None,
        ping: None,
        ..down
    }
}

fn ping(at: Timestamp) -> PingEntry {
    PingEntry {
        n: 41,
        arrived_at: at - Duration::from_secs(7500),
        at: at - Duration::from_secs(7500),
        signal: Signal::Success,
        effect: Effect::Counted,
        run: None,
        run_duration: Some(Duration::from_secs(90)),
        message: Some("zertifikate für <example.org> erneuert\n.\nend".to_owned()),
        body: None,
        body_cut: false,
        value: Some(12.5),
        duration: None,
        exit_status: Some(0),
        claimed_at: None,
        source: Some("192.0.2.7".to_owned()),
        user_agent: None,
        degraded: false,
    }
}

/// A server on a free port of this machine.
pub async fn sink(options: Options) -> Sink {
    Sink::listen("127.0.0.1:0", options).await.unwrap()
}

/// A certificate for `localhost` and 127.0.0.1 as PEM, and a server's TLS with it.
pub fn tls() -> (String, Tls) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tls: Tls = Arc::new(move |stream| {
        let handshake = acceptor.accept(stream);
        Box::pin(async move { Ok(Box::new(handshake.await?) as Box<dyn Stream>) })
    });
    (made.cert.pem(), tls)
}
