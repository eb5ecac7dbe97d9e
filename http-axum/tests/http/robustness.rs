//! Whatever is sent to a heartbeat's URL, the server neither fails nor panics.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{Method, Request};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use crate::server::Server;

const TOKEN: &str = "V1StGXR8_Z5jdHi6";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    RUNTIME.block_on(async {
        let server = Server::start().await;
        server.monitor("job", TOKEN).await;
        server
    })
});

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(TOKEN.to_owned()),
        3 => Just("job".to_owned()),
        2 => Just(format!("job:{TOKEN}")),
        2 => prop::sample::select(vec!["start", "fail", "log", "report", "0", "255", "256", "job:x", ":", "x:y:z"]).prop_map(str::to_owned),
        2 => "[a-zA-Z0-9_:.~-]{0,40}",
        1 => "(%[0-9a-f]{2}){1,6}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        segment().prop_map(|a| format!("/ping/{a}")),
        (segment(), segment()).prop_map(|(a, b)| format!("/ping/{a}/{b}")),
        (segment(), segment(), segment()).prop_map(|(a, b, c)| format!("/ping/{a}/{b}/{c}")),
        segment().prop_map(|a| format!("/api/push/{a}")),
        Just("/api/pings/".to_owned()),
        Just("/api/status".to_owned()),
        segment().prop_map(|a| format!("/ext/heartbeat/{a}")),
        (segment(), segment()).prop_map(|(a, b)| format!("/ext/heartbeat/{a}/{b}")),
        segment().prop_map(|a| format!("/api/heartbeat/{a}")),
        (segment(), "[0-9-]{1,22}").prop_map(|(a, b)| format!("/api/v4/monitors/{a}/data/{b}")),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "rid", "msg", "value", "duration", "latency", "ping", "ts", "status", "service", "data", "create", "tag", "x",
    ]);
    let value = prop_oneof![
        "[a-zA-Z0-9+.%:-]{0,12}",
        "-?[0-9]{1,20}(\\.[0-9]{1,3})?(e[0-9]{1,3})?",
        prop::sample::select(vec!["up", "down", "job", "NaN", "inf", "-0", "1e308", "%00", "%ff", "1", "4102444800"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec((key, value).prop_map(|(key, value)| format!("{key}={value}")), 0..5)
        .prop_map(|pairs| pairs.join("&&"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        any::<f64>().prop_map(|n| if n.is_finite() { n.to_string() } else { "null".to_owned() }),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("\"12\"".to_owned()),
        Just("{}".to_owned()),
    ];
    let status = prop::sample::select(vec!["\"UP\"", "\"DOWN\"", "\"DEGRADED\"", "\"x\"", "1"]);
    let tag = prop::sample::select(vec!["\"job\"", "\"x\"", "null", "[]"]);
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..300),
        3 => (status, number.clone(), number, tag).prop_map(|(status, latency, at, tag)| {
            format!("{{\"status\":{status},\"latency\":{latency},\"timestampInSeconds\":{at},\"tag\":{tag}}}").into_bytes()
        }),
        1 => Just(Vec::new()),
    ]
}

/// JSON that looks like what management takes, or not at all.
fn wish() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        prop::sample::select(vec![
            "1h",
            "0s",
            "end_of_day",
            "366d",
            "16:05",
            "24:00",
            "mon",
            "* * * * *",
            "0 0 29 2 1",
            "*/7 1-5/2 L * 5L",
            "UTC",
            "Australia/Lord_Howe",
            "ping",
            "first_ping",
            "critical",
            "ops",
            "job",
            "missed",
            "2026-11-20T08:00:00Z",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
            "99999999999999999d",
        ])
        .prop_map(|text| json!(text)),
        "\\PC{0,20}".prop_map(|text| json!(text)),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop::sample::select(vec!["every", "at", "days", "cron", "timezone", "incidents", "within", "x"])
            .prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::btree_map(key, inner, 0..3).prop_map(|map| json!(map)),
        ]
    });
    let key = prop::sample::select(vec![
        "name",
        "slug",
        "schedule",
        "grace",
        "early",
        "max_runtime",
        "arm",
        "failure_threshold",
        "severity",
        "tags",
        "channels",
        "value_min",
        "value_max",
        "require_signature",
        "token",
        "from",
        "count",
        "scope",
        "expires_at",
        "overlap",
        "manual_resume",
        "kind",
        "fallback",
        "monitors",
        "to",
        "for",
        "length",
        "all",
        "title",
        "depends_on",
        "remind_every",
        "flap_limit",
        "severities",
        "causes",
        "after",
        "by",
        "text",
        "y",
    ])
    .prop_map(str::to_owned);
    let schedule = prop_oneof![
        Just(json!({"every": "1h"})),
        Just(json!({"at": ["16:05"]})),
        Just(json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin"})),
    ];
    (prop::collection::btree_map(key, value, 0..8), prop::option::of(schedule)).prop_map(|(mut map, schedule)| {
        if let Some(schedule) = schedule {
            map.insert("schedule".to_owned(), schedule);
        }
        json!(map)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_heartbeat_breaks_the_server(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]),
        path in path(),
        query in query(),
        body in body(),
        with_key in any::<bool>(),
        signature in prop::option::of("(v1=)?[0-9a-f]{0,70}"),
    ) {
        let server = &*SERVER;
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("{path}?{query}"));
        if with_key {
            request = request.header("authorization", format!("Bearer {}", server.admin));
        }
        if let Some(signature) = signature {
            request = request.header("heartbeat-signature", signature).header("heartbeat-timestamp", "1");
        }
        let Ok(request) = request.body(Body::from(body)) else { return Ok(()) };
        let answer = RUNTIME.block_on(server.request(request));
        prop_assert!(!answer.status.is_server_error(), "{method} {path}?{query}: {answer:?}");
    }
    #[test]
    fn no_wish_breaks_the_server(
        (method, uri) in prop::sample::select(vec![
            ("POST", "/api/monitors"),
            ("PUT", "/api/monitors/made"),
            ("PATCH", "/api/monitors/job"),
            ("POST", "/api/schedules/preview"),
            ("POST", "/api/keys"),
            ("PUT", "/api/channels/made"),
            ("POST", "/api/maintenance"),
            ("PUT", "/api/maintenance/made"),
            ("PUT", "/api/routes/made"),
            ("POST", "/api/incidents/f2a6c6f0-41bb-4e9f-8a6a-7c1f0e5d3b21/note"),
            ("POST", "/api/monitors/job/pause"),
            ("POST", "/api/monitors/made/rotate-token"),
        ]),
        wish in wish(),
    ) {
        let server = &*SERVER;
        let answer = RUNTIME.block_on(server.manage(method, uri, &wish));
        prop_assert!(!answer.status.is_server_error(), "{method} {uri} {wish}: {answer:?}");
        prop_assert!(answer.status != 400 || answer.header("content-type") == "application/problem+json");
    }
}
