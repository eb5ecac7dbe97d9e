//! `/api/schedules/preview`: what a schedule will expect, before a monitor is made of it.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::request::{JsonBody, NoQuery};
use crate::app::AppState;
use crate::auth::CanRead;
use crate::json::{instant, read_grace, read_object, read_schedule};
use crate::problem::Problem;

const COUNT_MAX: u32 = 100;
const COUNT_DEFAULT: u32 = 10;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/schedules/preview", post(preview))
}

/// The occurrences that a heartbeat at `from` leaves to come.
async fn preview(
    State(app): State<AppState>,
    CanRead(_): CanRead,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let now = app.engine.now();
    read_object(&body, |fields| {
        let schedule = match fields.value("schedule") {
            Some(value) => read_schedule(value, "schedule", &app.settings.timezone, fields.errors()),
            None => {
                fields.fault("schedule", "is missing; give one such as {\"every\": \"2h\"}");
                None
            }
        };
        let grace = fields.value("grace").map(read_grace).transpose();
        let early = fields.duration("early").unwrap_or_default();
        let from = fields.time("from").unwrap_or(now);
        let count = fields.count("count").unwrap_or(COUNT_DEFAULT);
        let is_few = (1..=COUNT_MAX).contains(&count);
        if !is_few {
            fields.fault("count", format!("{count} is out of range; it must be 1 to {COUNT_MAX}"));
        }
        if let Err(message) = &grace {
            fields.fault("grace", message.clone());
        }
        let (schedule, grace) = (schedule?, grace.ok()?);
        if !is_few {
            return None;
        }
        let grace = grace.unwrap_or_else(|| schedule.default_grace());
        if let Err(errors) = schedule.check(grace, early, from) {
            for error in errors {
                fields.fault(error.field(), error.to_string());
            }
            return None;
        }
        let occurrences = schedule.preview(grace, early, from, count as usize);
        let shown =
            |o: &heartbeat_engine::schedule::Occurrence| json!({"at": instant(o.at), "deadline": instant(o.deadline)});
        let occurrences: Vec<Value> = occurrences.iter().map(shown).collect();
        Some(json!({"occurrences": occurrences, "description": schedule.describe(), "grace": grace.to_string()}))
    })
    .map(Json)
}
