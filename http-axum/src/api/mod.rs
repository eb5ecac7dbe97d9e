//! The management API, a file for each kind of thing.

mod alert_routes;
mod channels;
mod cluster;
mod events;
mod incidents;
mod keys;
mod maintenance;
mod monitor_batch;
mod monitor_history;
mod monitor_operations;
mod monitors;
mod notifications;
mod request;
mod schedules;
mod tags;
mod uptime;

use axum::Router;

use crate::app::AppState;

pub(crate) use uptime::uptime;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .merge(monitors::routes())
        .merge(monitor_batch::routes())
        .merge(monitor_operations::routes())
        .merge(monitor_history::routes())
        .merge(incidents::routes())
        .merge(events::routes())
        .merge(tags::routes())
        .merge(schedules::routes())
        .merge(channels::routes())
        .merge(cluster::routes())
        .merge(alert_routes::routes())
        .merge(maintenance::routes())
        .merge(keys::routes())
        .merge(notifications::routes())
}
