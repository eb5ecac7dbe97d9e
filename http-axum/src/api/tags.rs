//! `/api/tags`: the tags of all monitors. (`/api/tags/`, with a slash, is left to a dialect.)

use std::collections::BTreeMap;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{Filter, Status, StatusWord};
use serde_json::{Value, json};

use crate::app::AppState;
use crate::auth::CanRead;
use crate::json::page;
use crate::problem::Problem;
use crate::query::{PAGE_MAX, Query};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/tags", get(list))
}

/// In alphabetical order, with how many monitors have each and how many of those are down.
async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    query.none()?;
    let mut tags: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut filter = Filter::default();
    loop {
        let found = app.engine.list(&filter, PAGE_MAX);
        let now = app.engine.now();
        for record in found.items.iter().filter(|record| caller.covers(record)) {
            let down = Status::of(record, now).word == StatusWord::Down;
            for tag in &record.spec().tags {
                let counts = tags.entry(tag.clone()).or_default();
                counts.0 += 1;
                counts.1 += u64::from(down);
            }
        }
        filter.after = found.items.last().map(|record| record.spec().slug.as_str().to_owned());
        if !found.more {
            break;
        }
        // A million monitors take a while; others are served meanwhile.
        tokio::task::yield_now().await;
    }
    let items = tags.into_iter().map(|(tag, (monitors, down))| json!({"tag": tag, "monitors": monitors, "down": down}));
    Ok(Json(page(items.collect(), None)))
}
