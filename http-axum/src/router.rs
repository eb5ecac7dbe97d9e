//! The router: every route of the crate.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use heartbeat_engine::Engine;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::{App, AppState};
use crate::problem::Problem;
use crate::settings::HttpSettings;
use crate::{api, dialect, health, metrics, ping, trace};

/// The whole HTTP surface of an engine, to be served at the root, or nested at a path of somebody's own application.
///
/// It has a fallback of its own, so in an application that has one too it is nested and not merged. Where it is nested, [`HttpSettings::public_url`] includes that path. Heartbeats keep the client's address where
/// the application is served with `ConnectInfo<SocketAddr>`, as [`serve`](crate::serve) does. A server for nothing else
/// is better made of a [`Site`](crate::Site), which answers the same and takes many more heartbeats.
pub fn router(engine: Engine, settings: HttpSettings) -> Router {
    with_app(App::new(engine, settings))
}

pub(crate) fn with_app(app: AppState) -> Router {
    let management =
        api::routes().layer(from_fn_with_state(app.clone(), trace::check_loaded)).layer(from_fn(trace::check_site));
    let guarded = management
        .merge(ping::routes())
        .merge(dialect::routes())
        .merge(metrics::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn(trace::check_path))
        .layer(from_fn_with_state(app.clone(), trace::check_host));
    observed(guarded.merge(health::routes()), app)
}

/// What happens around every request, however it goes.
fn observed(router: Router<AppState>, app: AppState) -> Router {
    router
        .layer(CatchPanicLayer::custom(trace::panicked))
        .layer(from_fn_with_state(app.clone(), trace::observe))
        .with_state(app)
}

async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")
}

async fn wrong_method(method: Method) -> Problem {
    let method: String = method.as_str().chars().take(16).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} does not work here; see the Allow header"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use heartbeat_engine::MemoryStorage;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_one_bad_answer() {
        let (engine, _driver) = Engine::builder(MemoryStorage::new()).build();
        let broken = Router::new().route("/", get(async || -> &'static str { panic!("a bug") }));
        let router = observed(broken, App::new(engine, HttpSettings::default()));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.headers().contains_key("x-request-id"));
    }
}
