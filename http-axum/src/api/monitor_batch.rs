//! `/api/monitors/batch`: many monitors at once, which may depend on one another.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use heartbeat_engine::{EditError, MonitorSpec, PutMode, Record, Target, slug_from_name};
use serde_json::{Value, json};

use super::monitors::{check_reach, read_new, refuse_declared, refuse_other_token, shown_with_secret};
use super::request::{JsonBody, NoQuery};
use crate::app::{App, AppState};
use crate::auth::{Caller, CanManage};
use crate::json::{MonitorWish, page};
use crate::problem::Problem;

/// Monitors of one batch.
const BATCH_MAX: usize = 1000;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/monitors/batch", post(batch))
}

/// Makes or replaces up to 1,000 monitors by their slugs; the answer has a result for each, in the same order.
async fn batch(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let Value::Array(items) = body else { return Err(Problem::field("", "must be a list of monitors")) };
    if items.len() > BATCH_MAX {
        let count = items.len();
        return Err(Problem::field("", format!("has {count} monitors; at most {BATCH_MAX} are taken at once")));
    }
    let names: Vec<_> = items.iter().map(Names::of).collect();
    let mut results: Vec<Option<Result<Value, Problem>>> = items.iter().map(|_| None).collect();
    let mut slugs = HashSet::new();
    loop {
        let turn = next_turn(&names, |index| results[index].is_some());
        if turn.is_empty() {
            break;
        }
        let turn: Vec<_> = turn.into_iter().map(|index| (index, &items[index])).collect();
        for (index, result) in put(&app, &caller, &turn, &mut slugs).await {
            results[index] = Some(result);
        }
    }
    let in_a_circle = || {
        Problem::field("depends_on", "leads back to a monitor that depends on this one, by way of others of this batch")
    };
    let shown = results.into_iter().map(|result| match result.unwrap_or_else(|| Err(in_a_circle())) {
        Ok(value) => value,
        Err(problem) => json!({"status": problem.status.as_u16(), "problem": problem.to_json()}),
    });
    Ok(Json(page(shown.collect(), None)))
}

/// What an item of a batch is called, and the names that it depends on, as far as that can be told before it is read.
#[derive(Debug)]
struct Names {
    slug: String,
    depends_on: Vec<String>,
}

impl Names {
    fn of(item: &Value) -> Self {
        let text = |field: &str| item.get(field).and_then(Value::as_str);
        let slug = text("slug").map(str::to_owned).or_else(|| text("name").map(slug_from_name)).unwrap_or_default();
        let list = item.get("depends_on").and_then(Value::as_array);
        let depends_on = list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        Self { slug, depends_on }
    }
}

/// The items that are not done and depend on none that is not done; none when all are done or the rest runs in a circle.
fn next_turn(names: &[Names], is_done: impl Fn(usize) -> bool) -> Vec<usize> {
    let waiting: Vec<usize> = (0..names.len()).filter(|index| !is_done(*index)).collect();
    let undone: HashSet<&str> = waiting.iter().map(|index| names[*index].slug.as_str()).collect();
    let is_free = |index: &usize| {
        let Names { slug, depends_on } = &names[*index];
        depends_on.iter().all(|parent| parent == slug || !undone.contains(parent.as_str()))
    };
    waiting.into_iter().filter(is_free).collect()
}

/// Makes or replaces monitors that do not depend on one another.
async fn put(
    app: &App,
    caller: &Caller,
    turn: &[(usize, &Value)],
    slugs: &mut HashSet<String>,
) -> Vec<(usize, Result<Value, Problem>)> {
    let read: Vec<_> = turn
        .iter()
        .map(|(_, item)| {
            let wish = read_batched(app, caller, item)?;
            // They are put at the same time: which of two would win is left to chance.
            let is_first = slugs.insert(wish.spec.slug.as_str().to_owned());
            is_first
                .then_some(wish)
                .ok_or_else(|| Problem::field("slug", "stands twice in this batch; the first is taken"))
        })
        .collect();
    let wishes: Vec<_> = read.iter().flatten().map(|wish| (wish.spec.clone(), wish.mode.clone())).collect();
    let mut puts = app.engine.put_many(wishes).await.into_iter();
    let results = read.into_iter().map(|wish: Result<Batched, Problem>| {
        let wish = wish?;
        let put = puts.next().unwrap_or(Err(EditError::NotFound("result")))?;
        let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
        let monitor = shown_with_secret(app, caller, wish.before.as_deref(), &put.record);
        Ok(json!({"status": status.as_u16(), "monitor": monitor}))
    });
    turn.iter().map(|(index, _)| *index).zip(results.collect::<Vec<_>>()).collect()
}

/// One monitor of a batch, and the one that it replaces.
#[derive(Debug, Clone)]
struct Batched {
    spec: MonitorSpec,
    mode: PutMode,
    before: Option<Arc<Record>>,
}

fn read_batched(app: &App, caller: &Caller, item: &Value) -> Result<Batched, Problem> {
    let MonitorWish { spec, token, .. } = read_new(app, item, None)?;
    let before = app.known(Target::slug(&spec.slug))?;
    check_reach(app, caller, before.as_deref(), &spec)?;
    let Some(record) = &before else {
        return Ok(Batched { spec, mode: PutMode::Create { token }, before });
    };
    refuse_declared(record)?;
    refuse_other_token(record, token.as_ref())?;
    let mode = PutMode::Replace { monitor: record.id(), expected: None };
    Ok(Batched { spec, mode, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(batch: &Value) -> Vec<Vec<usize>> {
        let names: Vec<_> = batch.as_array().unwrap().iter().map(Names::of).collect();
        let mut done = HashSet::new();
        let mut turns = Vec::new();
        loop {
            let turn = next_turn(&names, |index| done.contains(&index));
            if turn.is_empty() {
                return turns;
            }
            done.extend(turn.iter().copied());
            turns.push(turn);
        }
    }

    #[test]
    fn parents_come_first() {
        let batch = json!([
            {"slug": "c", "depends_on": ["b", "elsewhere"]},
            {"name": "B", "depends_on": ["a"]},
            {"slug": "a"},
            {"slug": "x", "depends_on": ["y"]},
            {"slug": "y", "depends_on": ["x"]},
            {"slug": "z", "depends_on": ["x"]},
            {"slug": "self", "depends_on": ["self"]},
            7,
        ]);
        assert_eq!(turns(&batch), [vec![2, 6, 7], vec![1], vec![0]]);
    }
}
