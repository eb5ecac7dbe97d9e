//! The server listens before it has read what is stored; until then it answers that it is loading, and how far it is.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use heartbeat_engine::Engine;
use heartbeat_http::Site;
use serde_json::json;

/// What the server serves: 503 until it is opened, then everything.
#[derive(Clone)]
pub(crate) struct Gate {
    site: Site,
    /// The engine that loads.
    engine: Arc<OnceLock<Engine>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let engine = Arc::new(OnceLock::new());
        let before = Router::new().fallback(wait).with_state(engine.clone());
        Self { site: Site::closed(before), engine }
    }

    /// Tells how far this engine is from now on.
    pub(crate) fn show_loading(&self, engine: Engine) {
        // There is one.
        let _ = self.engine.set(engine);
    }

    /// Lets everything through from now on.
    pub(crate) fn open(&self, site: Site) {
        self.site.open(site);
    }

    /// What to serve.
    pub(crate) fn site(&self) -> Site {
        self.site.clone()
    }
}

async fn wait(State(engine): State<Arc<OnceLock<Engine>>>, request: Request) -> Response {
    if request.uri().path() == "/healthz" {
        return (StatusCode::OK, "OK").into_response();
    }
    let mut problem = json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "the server is still loading",
    });
    if let Some(readiness) = engine.get().map(Engine::readiness) {
        problem["loaded"] = readiness.loaded.into();
        problem["expected"] = readiness.expected.into();
    }
    let headers = [
        (header::CONTENT_TYPE, "application/problem+json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::RETRY_AFTER, "1"),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, problem.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use heartbeat_engine::MemoryStorage;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    async fn ask(site: &Site, path: &str) -> Response {
        site.router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn progress(answer: Response) -> (Value, Value) {
        let body: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 10_000).await.unwrap()).unwrap();
        (body["loaded"].clone(), body["expected"].clone())
    }

    #[tokio::test]
    async fn answers_503_until_it_is_opened() {
        let gate = Gate::new();
        let site = gate.site();
        let answer = ask(&site, "/ping/x").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        let opening = ask(&site, "/readyz").await;
        assert_eq!(opening.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(progress(opening).await, (Value::Null, Value::Null));
        assert_eq!(ask(&site, "/healthz").await.status(), StatusCode::OK);

        let (engine, _driver) = Engine::builder(MemoryStorage::new()).build();
        gate.show_loading(engine);
        let loading = ask(&site, "/readyz").await;
        assert_eq!(loading.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(progress(loading).await, (0.into(), 0.into()));

        gate.open(Router::new().route("/ping/{token}", get(|| async { "OK" })).into());
        assert_eq!(ask(&site, "/ping/x").await.status(), StatusCode::OK);
        assert_eq!(ask(&site, "/other").await.status(), StatusCode::NOT_FOUND);
    }
}
