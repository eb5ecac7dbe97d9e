//! `/api/events`: changes of state as server-sent events, which go on where a client stopped reading.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::{FutureExt, Stream, stream};
use heartbeat_engine::{HistoryItem, HistoryQuery, MonitorId, Record, StateChange, StateChanges, StorageError};
use tokio::time::Instant;

use super::request::find_where_named;
use crate::app::{App, AppState};
use crate::auth::{AuthError, Caller, CanRead};
use crate::json;
use crate::metrics::StreamCount;
use crate::problem::Problem;
use crate::query::{Query, clip};
use crate::serve::Stopping;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events that are read from the store at a time, and all that a stream holds in memory.
const PAGE: usize = 100;
/// After so many events that a stream does not show it tells its place, so that a client that comes back skips them.
const PLACE_TOLD_EVERY: u64 = 1_000;
/// How long a client should wait before it comes back, and how long a stream waits for a store that is away.
const COME_BACK_AFTER: Duration = Duration::from_secs(2);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long a key that was removed or has expired may still read.
const KEY_CHECKED_EVERY: Duration = Duration::from_secs(30);

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/events", get(events))
}

async fn events(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    headers: HeaderMap,
    stopping: Option<Extension<Stopping>>,
    query: Query,
) -> Result<Response, Problem> {
    let right = "the id of an event, a whole number";
    let (name, tags, after) = query.read(|parameters| {
        (
            parameters.text("monitor"),
            parameters.list("tag"),
            parameters.parsed("after", right, |text| text.parse::<u64>().ok()),
        )
    })?;
    // A browser that comes back repeats the query and says in the header how far it came.
    let after = last_event_id(&headers)?.or(after);
    let monitor = find_where_named(&app, &caller, name).await?.map(|record| record.id());
    let count = app.metrics.count_stream(app.settings.event_streams_max).ok_or_else(|| {
        let most = app.settings.event_streams_max;
        Problem::unavailable(format!(
            "{most} streams of events are open, which is all that are served; come back later"
        ))
    })?;
    // Whatever is committed from here on wakes the stream.
    let changes = app.engine.subscribe();
    let newest = newest(&app).await?;
    let reader = Reader {
        // A place that was never reached is one of another database.
        place: after.map_or(newest, |after| after.min(newest)),
        told: None,
        waiting: VecDeque::new(),
        more: true,
        changes,
        key_checked_at: Instant::now(),
        stopping: stopping.map(|Extension(stopping)| stopping).unwrap_or_default(),
        wanted: Wanted { monitor, tags },
        caller,
        app,
        _count: count,
    };
    let alive = KeepAlive::new().interval(KEEP_ALIVE_EVERY).text("still here");
    let mut response = Sse::new(reader.into_stream()).keep_alive(alive).into_response();
    // Proxies that collect answers before they pass them on would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Problem::field("Last-Event-ID", format!("`{}` is not the id of an event", clip(text))))
}

async fn newest(app: &App) -> Result<u64, StorageError> {
    match app.engine.history(&HistoryQuery::LatestEvent, 1).await?.items.pop() {
        Some(HistoryItem::Event { seq, .. }) => Ok(seq),
        _ => Ok(0),
    }
}

/// Which events are shown.
#[derive(Debug)]
struct Wanted {
    monitor: Option<MonitorId>,
    /// The monitor has all of these.
    tags: Vec<String>,
}

impl Wanted {
    fn is(&self, record: Option<&Record>, change: &StateChange) -> bool {
        let has_tag = |tag| record.is_some_and(|record| record.spec().tags.contains(tag));
        self.monitor.is_none_or(|monitor| monitor == change.monitor) && self.tags.iter().all(has_tag)
    }
}

/// A client's place in the feed of changes.
struct Reader {
    app: AppState,
    caller: Caller,
    wanted: Wanted,
    /// The last event that was read.
    place: u64,
    /// The last place that the client was told.
    told: Option<u64>,
    /// What was read from the store and not looked at yet.
    waiting: VecDeque<(u64, StateChange)>,
    /// Whether the store has more than that.
    more: bool,
    /// Tells when the store may have more.
    changes: StateChanges,
    key_checked_at: Instant,
    stopping: Stopping,
    _count: StreamCount,
}

impl Reader {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut reader| {
            let event = reader.next().await?;
            Some((Ok(event), reader))
        })
    }

    /// The next event for the client; `None` when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        if self.told.is_none() {
            return Some(self.tell_place().retry(COME_BACK_AFTER));
        }
        loop {
            while let Some((seq, change)) = self.waiting.pop_front() {
                self.place = seq;
                if let Some(event) = self.shown(seq, &change) {
                    self.told = Some(seq);
                    return Some(event);
                }
            }
            if self.told.is_none_or(|told| self.place - told >= PLACE_TOLD_EVERY) {
                return Some(self.tell_place());
            }
            if !self.may_go_on().await {
                return None;
            }
            if !self.more {
                self.wait().await;
            } else if let Err(error) = self.read().await {
                tracing::debug!(%error, "events cannot be read");
                self.pause(COME_BACK_AFTER).await;
            }
        }
    }

    /// An event without data, which a client does not show, with the place to come back to.
    fn tell_place(&mut self) -> Event {
        self.told = Some(self.place);
        Event::default().id(self.place.to_string())
    }

    fn shown(&self, seq: u64, change: &StateChange) -> Option<Event> {
        let record = self.app.engine.find(change.monitor);
        let covered = record.as_ref().map_or(!self.caller.is_limited(), |record| self.caller.covers(record));
        if !covered || !self.wanted.is(record.as_deref(), change) {
            return None;
        }
        let data = json::event(seq, change, record.as_deref());
        Some(Event::default().id(seq.to_string()).event("state").data(data.to_string()))
    }

    async fn read(&mut self) -> Result<(), StorageError> {
        let page = self.app.engine.history(&HistoryQuery::Feed { after: self.place }, PAGE).await?;
        self.more = page.more;
        self.waiting.extend(page.items.into_iter().filter_map(|item| match item {
            HistoryItem::Event { seq, change } => Some((seq, change)),
            _ => None,
        }));
        Ok(())
    }

    /// Waits until the store may have more, or it is time to look at the key again.
    async fn wait(&mut self) {
        let stopping = self.stopping.clone();
        tokio::select! {
            change = self.changes.next() => {
                self.more = true;
                if change.is_none() {
                    stopping.pause(COME_BACK_AFTER).await;
                }
                // One reading finds them all.
                while self.changes.next().now_or_never().flatten().is_some() {}
            }
            () = stopping.pause(KEY_CHECKED_EVERY) => {}
        }
    }

    async fn pause(&self, length: Duration) {
        self.stopping.pause(length).await;
    }

    /// Whether the server serves on and the key is valid still.
    async fn may_go_on(&mut self) -> bool {
        if self.stopping.has_come() {
            return false;
        }
        if self.key_checked_at.elapsed() < KEY_CHECKED_EVERY {
            return true;
        }
        self.key_checked_at = Instant::now();
        match self.caller.again(&self.app).await {
            Ok(caller) => self.caller = caller,
            Err(AuthError::Unavailable(_)) => {}
            Err(_) => return false,
        }
        true
    }
}
