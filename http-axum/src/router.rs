//! The router: every route of the crate.

use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Router, http::StatusCode};
use heartbeat_engine::Engine;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::problem::Problem;
use crate::settings::HttpSettings;
use crate::{api, dialect, health, metrics, ping, trace};

/// The whole HTTP surface of an engine, to be served at the root, or nested at a path of somebody's own application.
///
/// Where it is nested, [`HttpSettings::public_url`] includes that path. Heartbeats keep the client's address where
/// the application is served with `ConnectInfo<SocketAddr>`, as [`serve`](crate::serve) does.
pub fn router(engine: Engine, settings: HttpSettings) -> Router {
    let app = App::new(engine, settings);
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
    guarded
        .merge(health::routes())
        .layer(CatchPanicLayer::custom(trace::panicked))
        .layer(from_fn_with_state(app.clone(), trace::observe))
        .with_state(app)
}

async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")
}

async fn wrong_method(method: Method, _: Uri) -> Problem {
    let method: String = method.as_str().chars().take(16).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} does not work here; see the Allow header"))
}
