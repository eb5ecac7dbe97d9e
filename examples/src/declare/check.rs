//! What the file declares, checked as far as that goes without a store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use heartbeat_engine::{ChannelKind, Clock, Engine, Maintenance, MaintenanceSpec, RouteSpec, SystemClock, Timestamp};
use heartbeat_http::{maintenance_from_json, route_from_json};

use super::{Faults, monitors};
use crate::monitor_wish::{self, MonitorWish};
use crate::settings::{ConfigFault, Settings};
use crate::settings_file::DeclaredPolicy;
use crate::toml_document::TomlDocument;

/// Monitors that are named in the warnings of a window; to find each is laborious.
const WARNINGS_MAX: usize = 20;

/// What the file declares, read and checked as far as that goes without a store.
#[derive(Debug)]
pub(crate) struct Declarations {
    pub(crate) monitors: Vec<MonitorWish>,
    pub(crate) maintenance: Vec<Window>,
    pub(crate) routes: Vec<WishedRoute>,
    /// What is named and not declared. It must be in the store.
    pub(crate) elsewhere: Vec<Named>,
    /// What is right and yet hardly what somebody wants, by the place in the file.
    pub(crate) warnings: Vec<(String, String)>,
}

/// A declared maintenance window.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) spec: MaintenanceSpec,
}

/// A declared route.
#[derive(Debug)]
pub(crate) struct WishedRoute {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) spec: RouteSpec,
}

/// A place of the file that names a channel or a monitor.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    Monitor,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Monitor => "monitor",
        }
    }
}

impl Named {
    /// Whether the store has it.
    pub(super) fn exists(&self, engine: &Engine) -> bool {
        match self.kind {
            Kind::Channel => engine.channel(&self.name).is_some(),
            Kind::Monitor => monitors::find(engine, &self.name).is_some(),
        }
    }

    pub(super) fn unknown(&self) -> String {
        let kind = self.kind.name();
        format!("there is no {kind} `{}`; declare it with [[{kind}]] or make it with the API first", self.name)
    }
}

/// Checks what the file declares without a store. A channel or monitor that is named and not declared may be in the store;
/// it is refused here only where that is certainly empty.
pub(crate) fn check(settings: &Settings, kinds: &[Arc<dyn ChannelKind>]) -> Result<Declarations, ConfigFault> {
    let now = SystemClock::new().now();
    let mut faults = Faults::default();
    check_channels(settings, kinds, &mut faults);
    let monitors = monitor_wishes(settings, now, &mut faults);
    let maintenance = windows(settings, now, &mut faults);
    let routes = routes(settings, &mut faults);
    check_circles(&monitors, &mut faults);
    let channels: HashSet<&str> = settings.channels.iter().map(|channel| channel.name.as_str()).collect();
    let slugs: HashSet<&str> = monitors.iter().map(|wish| wish.spec.slug.as_str()).collect();
    let named = channel_names(settings, &monitors, &routes).chain(monitor_names(&monitors, &maintenance));
    let elsewhere: Vec<_> = named
        .filter(|named| match named.kind {
            Kind::Channel => !channels.contains(named.name.as_str()),
            Kind::Monitor => !slugs.contains(named.name.as_str()),
        })
        .collect();
    if settings.storage.is_new() {
        for named in &elsewhere {
            faults.add(&named.path, named.unknown());
        }
    }
    faults.into_result(settings)?;
    let warnings = swallowed(&monitors, &maintenance, now);
    Ok(Declarations { monitors, maintenance, routes, elsewhere, warnings })
}

/// Windows that cover every occurrence of a declared monitor (S5.3).
fn swallowed(wishes: &[MonitorWish], windows: &[Window], now: Timestamp) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    for Window { path, name, spec } in windows {
        let window = Maintenance { id: name.clone(), spec: spec.clone() };
        let covered = |wish: &&MonitorWish| {
            let named = spec.monitors.iter().any(|name| wish.spec.slug == *name);
            spec.all || named || spec.tags.iter().any(|tag| wish.spec.tags.contains(tag))
        };
        let swallowed = wishes.iter().filter(covered).filter(|wish| window.swallows(&wish.spec, now));
        for wish in swallowed.take(WARNINGS_MAX) {
            let message = format!("covers every occurrence of `{}`: its silence is never found", wish.spec.slug);
            warnings.push((path.clone(), message));
        }
    }
    warnings
}

fn check_channels(settings: &Settings, kinds: &[Arc<dyn ChannelKind>], faults: &mut Faults) {
    for channel in &settings.channels {
        match kinds.iter().find(|kind| kind.name() == channel.spec.kind) {
            Some(kind) => {
                if let Err(fields) = kind.build(&channel.name, &channel.spec.settings) {
                    faults.add_fields(&channel.path, fields);
                }
            }
            None => {
                let known = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
                let message = format!("`{}` is not a kind of channel; there are {known}", channel.spec.kind);
                faults.add(format!("{}.kind", channel.path), message);
            }
        }
    }
}

fn monitor_wishes(settings: &Settings, now: Timestamp, faults: &mut Faults) -> Vec<MonitorWish> {
    let file = settings.document.as_ref().map(TomlDocument::file_name);
    let mut wishes: Vec<MonitorWish> = Vec::new();
    for declared in &settings.monitors {
        let mut wish = match monitor_wish::read(declared, &settings.timezone, now) {
            Ok(wish) => wish,
            Err(fields) => {
                faults.add_fields(&declared.path, fields);
                continue;
            }
        };
        wish.spec.declared_in.clone_from(&file);
        if let Some(first) = wishes.iter().find(|first| first.spec.slug == wish.spec.slug) {
            let line = settings.document.as_ref().map_or(0, |document| document.line(&first.path));
            let message = format!("`{}` is declared already, on line {line}", wish.spec.slug);
            faults.add(format!("{}.slug", wish.path), message);
        }
        wishes.push(wish);
    }
    wishes
}

fn windows(settings: &Settings, now: Timestamp, faults: &mut Faults) -> Vec<Window> {
    let file = settings.document.as_ref().map(TomlDocument::file_name);
    let read = settings.maintenance.iter().filter_map(|DeclaredPolicy { path, name, wish }| {
        let recurs = wish.get("schedule").is_some();
        if !recurs && wish.get("from").is_none() {
            // Without it the window would begin anew with each start.
            faults.add(format!("{path}.from"), "is missing; a file says when a window begins, or its `schedule`");
        }
        match maintenance_from_json(wish, &settings.timezone, now) {
            Ok(mut spec) => {
                spec.declared_in.clone_from(&file);
                if wish.get("title").is_none() {
                    spec.title.clone_from(name);
                }
                Some(Window { path: path.clone(), name: name.clone(), spec })
            }
            Err(fields) => {
                faults.add_fields(path, fields);
                None
            }
        }
    });
    read.collect()
}

fn routes(settings: &Settings, faults: &mut Faults) -> Vec<WishedRoute> {
    let file = settings.document.as_ref().map(TomlDocument::file_name);
    let read =
        settings.routes.iter().filter_map(|DeclaredPolicy { path, name, wish }| match route_from_json(wish, name) {
            Ok(mut spec) => {
                spec.declared_in.clone_from(&file);
                Some(WishedRoute { path: path.clone(), name: name.clone(), spec })
            }
            Err(fields) => {
                faults.add_fields(path, fields);
                None
            }
        });
    read.collect()
}

/// Every place that names a channel.
fn channel_names<'a>(
    settings: &'a Settings,
    wishes: &'a [MonitorWish],
    routes: &'a [WishedRoute],
) -> impl Iterator<Item = Named> + 'a {
    let of_monitors = wishes.iter().flat_map(|wish| list(&wish.path, "channels", &wish.spec.channels, Kind::Channel));
    let of_routes = routes.iter().flat_map(|route| list(&route.path, "channels", &route.spec.channels, Kind::Channel));
    let of_watcher = list("self", "channels", &settings.self_channels, Kind::Channel);
    let fallbacks = settings.channels.iter().filter_map(|channel| {
        let name = channel.spec.fallback.clone()?;
        Some(Named { path: format!("{}.fallback", channel.path), kind: Kind::Channel, name })
    });
    of_monitors.chain(of_routes).chain(of_watcher).chain(fallbacks)
}

/// Every place that names a monitor.
fn monitor_names<'a>(wishes: &'a [MonitorWish], windows: &'a [Window]) -> impl Iterator<Item = Named> + 'a {
    let parents = wishes.iter().flat_map(|wish| list(&wish.path, "depends_on", &wish.depends_on, Kind::Monitor));
    let covered =
        windows.iter().flat_map(|window| list(&window.path, "monitors", &window.spec.monitors, Kind::Monitor));
    parents.chain(covered)
}

fn list<'a>(path: &str, key: &str, names: &'a [String], kind: Kind) -> impl Iterator<Item = Named> + use<'a> {
    let path = format!("{path}.{key}");
    let named =
        move |(index, name): (usize, &String)| Named { path: format!("{path}.{index}"), kind, name: name.clone() };
    names.iter().enumerate().map(named)
}

/// Refuses monitors that depend on themselves, directly or by way of others of the file, and names that stand twice.
fn check_circles(wishes: &[MonitorWish], faults: &mut Faults) {
    let by_slug: HashMap<&str, &MonitorWish> = wishes.iter().map(|wish| (wish.spec.slug.as_str(), wish)).collect();
    for wish in wishes {
        for (index, name) in wish.depends_on.iter().enumerate() {
            let path = format!("{}.depends_on.{index}", wish.path);
            if wish.depends_on[..index].contains(name) {
                faults.add(path, format!("`{name}` stands twice"));
            } else if let Some(way) = way_back(&by_slug, name, &wish.spec.slug) {
                let way = way.iter().map(|slug| format!("`{slug}`")).collect::<Vec<_>>().join(" on ");
                faults.add(path, format!("depends on itself: `{}` on {way}", wish.spec.slug));
            }
        }
    }
}

/// The way from one monitor to another along what they depend on, where there is one.
fn way_back<'a>(by_slug: &HashMap<&str, &'a MonitorWish>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut seen = HashSet::from([from]);
    let mut ways = vec![vec![from]];
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        let next = by_slug.get(last).map(|wish| wish.depends_on.as_slice()).unwrap_or_default();
        for parent in next.iter().filter(|parent| by_slug.contains_key(parent.as_str())) {
            if seen.insert(parent) {
                ways.push(way.iter().copied().chain([parent.as_str()]).collect());
            }
        }
    }
    None
}
