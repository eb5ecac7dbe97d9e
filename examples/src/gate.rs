//! The server listens before it has read what is stored; until then it answers that it is loading.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

/// Answers 503 until it is opened, then lets everything through.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    behind: Arc<OnceLock<Router>>,
}

impl Gate {
    /// Lets everything through to this router from now on.
    pub(crate) fn open(&self, router: Router) {
        // It is opened once; a second router would have no place.
        let _ = self.behind.set(router);
    }

    /// The router to serve.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(pass).with_state(self.clone())
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    match gate.behind.get() {
        Some(router) => router.clone().oneshot(request).await.into_response(),
        None if request.uri().path() == "/healthz" => (StatusCode::OK, "OK").into_response(),
        None => {
            let kind = [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, "1")];
            let problem = r#"{"title":"Service Unavailable","status":503,"detail":"the server is still loading"}"#;
            (StatusCode::SERVICE_UNAVAILABLE, kind, problem).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;

    use super::*;

    async fn ask(router: &Router, path: &str) -> Response {
        router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn answers_503_until_it_is_opened() {
        let gate = Gate::default();
        let router = gate.router();
        let answer = ask(&router, "/ping/x").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        assert_eq!(ask(&router, "/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&router, "/healthz").await.status(), StatusCode::OK);

        gate.open(Router::new().route("/ping/{token}", get(|| async { "OK" })));
        assert_eq!(ask(&router, "/ping/x").await.status(), StatusCode::OK);
        assert_eq!(ask(&router, "/other").await.status(), StatusCode::NOT_FOUND);
    }
}
