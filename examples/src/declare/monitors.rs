//! Declared monitors.

use std::collections::HashSet;
use std::sync::Arc;

use heartbeat_engine::{Engine, Filter, MonitorId, PutMode, Record, Target};

use super::{DeclareError, Summary, refused};
use crate::monitor_wish::MonitorWish;
use crate::settings::Settings;

const PAGE: usize = 1_000;

/// How far one of the monitors is.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    made: bool,
    changed: bool,
}

/// Makes or updates the monitors in two turns: in the first, one depends only on those that it depends on already, so that
/// in the second all that it should depend on exist and no circle comes to be on the way.
pub(super) async fn declare(
    engine: &Engine,
    settings: &Settings,
    mut wishes: Vec<MonitorWish>,
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    let mut progress = vec![Progress::default(); wishes.len()];
    for wish in &mut wishes {
        let stored = engine.find(wish.spec.slug.as_str());
        if let Some(record) = &stored {
            warn_of_token(record, wish);
        }
        let before = stored.as_ref().map(|record| record.spec().depends_on.as_slice()).unwrap_or_default();
        wish.spec.depends_on = parents(engine, wish);
        wish.spec.depends_on.retain(|parent| before.contains(parent));
    }
    put(engine, settings, &wishes, &mut progress).await?;
    for wish in &mut wishes {
        wish.spec.depends_on = parents(engine, wish);
    }
    put(engine, settings, &wishes, &mut progress).await?;
    for Progress { made, changed } in progress {
        summary.count(made, changed);
    }
    Ok(())
}

/// The monitors that a wish depends on, as far as they exist.
fn parents(engine: &Engine, wish: &MonitorWish) -> Vec<MonitorId> {
    let found = wish.depends_on.iter().filter_map(|name| find(engine, name));
    found.map(|record| record.id()).collect()
}

/// The monitor with this id or slug.
pub(super) fn find(engine: &Engine, name: &str) -> Option<Arc<Record>> {
    engine.find(Target::id_or_slug(name)).or_else(|| engine.find(Target::slug(name)))
}

/// Makes or updates those that are not as wished yet.
async fn put(
    engine: &Engine,
    settings: &Settings,
    wishes: &[MonitorWish],
    progress: &mut [Progress],
) -> Result<(), DeclareError> {
    let mut turn = Vec::new();
    let mut puts = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let mode = match engine.find(wish.spec.slug.as_str()) {
            Some(record) if *record.spec() == wish.spec => continue,
            Some(record) => PutMode::Replace { monitor: record.id(), expected: None },
            None => PutMode::Create { token: wish.token.clone() },
        };
        turn.push(index);
        puts.push((wish.spec.clone(), mode));
    }
    for (index, put) in turn.into_iter().zip(engine.put_many(puts).await) {
        let put = put.map_err(|error| refused(settings, &wishes[index].path, error))?;
        progress[index].made |= put.created;
        progress[index].changed = true;
    }
    Ok(())
}

/// A token in the file is for the making of a monitor; another one later would be obeyed by nobody.
fn warn_of_token(record: &Record, wish: &MonitorWish) {
    if wish.token.as_ref().is_some_and(|token| record.monitor.token.all().all(|known| known != token)) {
        let slug = wish.spec.slug.as_str();
        tracing::warn!(slug, "the monitor exists with another ping token than the file names; rotate-token changes it");
    }
}

/// Monitors that a file declared once and none declares now can be edited by the API again.
pub(super) async fn release(
    engine: &Engine,
    settings: &Settings,
    declared: &HashSet<String>,
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    let is_stray = |record: &&Arc<Record>| !declared.contains(record.spec().slug.as_str());
    let mut filter = Filter { declared: Some(true), ..Filter::default() };
    loop {
        let page = engine.list(&filter, PAGE);
        filter.after = page.items.last().map(|record| record.spec().slug.as_str().to_owned());
        let stray = page.items.iter().filter(is_stray).map(|record| {
            let mut spec = record.spec().clone();
            spec.declared_in = None;
            spec.depends_on.retain(|parent| engine.find(*parent).is_some());
            (spec, PutMode::Replace { monitor: record.id(), expected: None })
        });
        for put in engine.put_many(stray.collect::<Vec<_>>()).await {
            put.map_err(|error| refused(settings, "monitor", error))?;
            summary.released += 1;
        }
        if !page.more {
            return Ok(());
        }
    }
}
