//! The public JSON: from it to the engine's types, and back.

mod channel;
pub(crate) mod distinct;
mod fields;
mod history;
mod key;
mod maintenance;
mod monitor;
mod route;
mod schedule;

pub use channel::grouping_from_json;
pub(crate) use channel::{channel, read_channel};
pub(crate) use fields::{Fields, read_object};
pub(crate) use history::{change, counts, event, incident, notification, ping};
pub(crate) use key::{key, read_key};
pub use maintenance::maintenance_from_json;
pub(crate) use maintenance::{Coverage, Standing, maintenance};
pub use monitor::{MonitorWish, monitor_from_json};
pub(crate) use monitor::{Reading, monitor, read_monitor, wish};
pub(crate) use route::route;
pub use route::route_from_json;
pub(crate) use schedule::read_grace;
pub(crate) use schedule::{read_schedule, schedule};

use heartbeat_engine::Timestamp;
use serde_json::{Map, Value};

/// A page of a list.
pub(crate) fn page(items: Vec<Value>, next_cursor: Option<String>) -> Value {
    let mut page = Map::new();
    page.insert("items".to_owned(), Value::Array(items));
    page.insert("next_cursor".to_owned(), next_cursor.into());
    Value::Object(page)
}

/// An instant, or null where there is none or it never comes.
pub(crate) fn instant(at: impl Into<Option<Timestamp>>) -> Value {
    at.into().filter(|at| *at != Timestamp::MAX).map_or(Value::Null, |at| at.to_string().into())
}
