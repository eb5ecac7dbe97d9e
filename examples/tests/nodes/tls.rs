//! Servers that reach Redis by TLS.

use crate::redis_server::Server as Redis;
use crate::site::Site;
use crate::support::{folder, run_to_end};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_reached_by_tls_and_its_certificate_is_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let folder = folder();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("the certificate is written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the key is written");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let redis = Redis::with(&["--save", "", "--appendonly", "yes"]);
    // The port that it has already answers without TLS, and the test asks there.
    let tls = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it").port();
    for (name, value) in
        [("tls-cert-file", certificate.as_str()), ("tls-key-file", &key), ("tls-ca-cert-file", &certificate)]
    {
        redis.tell(&["CONFIG", "SET", name, value]);
    }
    redis.tell(&["CONFIG", "SET", "tls-auth-clients", "no", "tls-port", &tls.to_string()]);

    let mut site = Site::at(&redis.url()).await;
    let url = format!("rediss://127.0.0.1:{tls}");
    let (code, said) = run_to_end(&mut site.command_at("a", &url)).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("certificate"), "a certificate of nobody known is refused, and that is said: {said}");
    let mut trusting = site.command_at("a", &url);
    trusting.env("SSL_CERT_FILE", &certificate);
    let server = Site::ready(trusting).await;
    let path = format!("/ping/{}", server.token("silent").await);
    assert_eq!(server.status(&path).await, Some(200));
    site.until_told("monitor.down", "silent").await;
    server.stop().await;
}
