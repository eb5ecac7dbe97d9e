//! Channels made from settings.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod support;

use std::io::Write;

use heartbeat_engine::ChannelKind;
use heartbeat_notify_email::{EmailKind, EmailNotifier};
use serde_json::{Value, json};
use support::smtp::Options;
use support::{attempt, notification, sink, tls};

fn faults(settings: &Value) -> Vec<(String, String)> {
    let built = EmailKind::new().build("mail", settings);
    built.err().unwrap_or_default().into_iter().map(|fault| (fault.field, fault.message)).collect()
}

fn right() -> Value {
    json!({ "smtp": "smtps://u:p@mail.example.org", "from": "Heartbeat <heartbeat@example.org>", "to": ["ops@example.org"] })
}

fn with(field: &str, value: Value) -> Value {
    let mut settings = right();
    settings[field] = value;
    settings
}

#[test]
fn tells_every_wrong_field_at_once() {
    assert!(faults(&right()).is_empty(), "{:?}", faults(&right()));
    let found = faults(&json!({
        "smtp": "http://mail.example.org", "from": "nobody", "to": ["ops@example.org", 5, "ops@example.org", "ö@example.org"],
        "tls_ca": "/no/such/file.pem", "allow_private": "yes", "colour": "red",
    }));
    let mut fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["allow_private", "colour", "from", "smtp", "tls_ca", "to.1", "to.2", "to.3"], "{found:?}");
}

#[test]
fn what_is_of_the_wrong_type_is_told_once() {
    for (field, value, told) in [
        ("to", json!("ops@example.org"), "to"),
        ("to", json!([5]), "to.0"),
        ("from", json!(5), "from"),
        ("smtp", json!(25), "smtp"),
    ] {
        let found = faults(&with(field, value));
        assert!(found.len() == 1 && found[0].0 == told, "{field}: {found:?}");
    }
}

#[test]
fn each_fault_says_what_would_be_right() {
    for (settings, field, words) in [
        (json!({}), "smtp", "is missing"),
        (json!({}), "from", "is missing"),
        (json!({}), "to", "1 to 50"),
        (json!("x"), "settings", "must be an object"),
        (with("smtp", json!(25)), "smtp", "must be a URL such as"),
        (with("smtp", json!("smtp://u:p@mail.example.org")), "smtp", "?starttls=required"),
        (with("from", json!(["a@example.org"])), "from", "must be a text"),
        (with("to", json!("ops@example.org")), "to", "must be a list"),
        (with("to", json!([])), "to", "has 0 recipients"),
        (with("to", json!(["a\r\nb@example.org"])), "to.0", "is not an address"),
        (with("to", json!(["ops@exämple.org"])), "to.0", "xn--"),
        (with("password", json!("x")), "password", "there are `smtp`"),
    ] {
        let found = faults(&settings);
        let told = found.iter().any(|(name, message)| name == field && message.contains(words));
        assert!(told, "{settings}: {found:?}");
    }
}

#[test]
fn shows_no_password_and_names_what_needs_an_administrator() {
    let kind = EmailKind::new();
    let shown = kind.redacted(&right());
    assert_eq!(shown, with("smtp", json!("smtps://***@mail.example.org")));
    assert_eq!(kind.redacted(&with("smtp", json!(["p"])))["smtp"], "***");

    assert_eq!(kind.privileged_setting(&right()), None);
    assert_eq!(kind.privileged_setting(&with("smtp", json!("smtp://10.0.0.1:25"))), Some("smtp"));
    assert_eq!(kind.privileged_setting(&with("smtp", json!("smtp://localhost:1025"))), Some("smtp"));
    assert_eq!(kind.privileged_setting(&with("allow_private", json!(true))), Some("allow_private"));
    assert_eq!(kind.privileged_setting(&with("allow_private", json!(false))), None);
    assert_eq!(kind.privileged_setting(&with("tls_ca", json!("/etc/ca.pem"))), Some("tls_ca"));
}

#[tokio::test]
async fn a_file_of_certificates_is_trusted() {
    let (pem, tls) = tls();
    let sink = sink(Options { tls: Some(tls), implicit_tls: true, ..Options::default() }).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    let mut settings = with("smtp", json!(format!("smtps://{}", sink.address())));
    settings["tls_ca"] = file.path().to_str().unwrap().into();
    let mail = EmailKind::new().build("mail", &settings).unwrap();
    mail.deliver(&notification(), attempt()).await.unwrap();
    assert!(sink.mails()[0].encrypted);

    let empty = tempfile::NamedTempFile::new().unwrap();
    let found = faults(&with("tls_ca", empty.path().to_str().unwrap().into()));
    assert_eq!(found[0].0, "tls_ca");
}

#[test]
fn the_builder_tells_of_everything_too() {
    let error = EmailNotifier::builder("smtp://u:hunter2@mail.example.org").to("nobody").build().unwrap_err();
    assert_eq!(error.faults.len(), 3, "{error}");
    assert!(error.to_string().contains("from: is missing") && !error.to_string().contains("hunter2"), "{error}");
    let builder = EmailNotifier::builder("smtp://u:hunter2@mail.example.org");
    assert!(!format!("{builder:?}").contains("hunter2"));
}
