//! The channels and monitors that the settings file declares: made or updated at start, never deleted.

use std::collections::HashSet;
use std::sync::Arc;

use heartbeat_engine::{
    ChannelKind, ChannelSpec, Clock, EditError, Engine, FieldError, Filter, MonitorSpec, PutMode, Record, SystemClock,
    Unavailable,
};

use crate::monitor_wish::{self, MonitorWish};
use crate::settings::{ConfigFault, Settings};
use crate::toml_document::TomlDocument;

const PAGE: usize = 1_000;

/// Why the declarations did not take effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The store does not take them.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What the file declares, read and checked as far as that goes without a store.
#[derive(Debug)]
pub(crate) struct Declarations {
    pub(crate) monitors: Vec<MonitorWish>,
    /// Channels that are named and not declared: where, and which. They must be in the store.
    pub(crate) elsewhere: Vec<(String, String)>,
}

/// How many there were of what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) made: usize,
    pub(crate) updated: usize,
    pub(crate) unchanged: usize,
    /// Declared once and no longer: from now on the API edits them.
    pub(crate) released: usize,
}

/// Faults of declared values, by their paths.
#[derive(Default)]
struct Faults(Vec<(String, String)>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((path.into(), message.into()));
    }

    fn add_fields(&mut self, path: &str, fields: Vec<FieldError>) {
        for FieldError { field, message } in fields {
            let separator = if field.is_empty() { "" } else { "." };
            self.add(format!("{path}{separator}{field}"), message);
        }
    }

    /// The first one in the order of lines, and how many more there are.
    fn into_result(self, settings: &Settings) -> Result<(), ConfigFault> {
        let line = |path: &str| settings.document.as_ref().map_or(0, |document| document.line(path));
        let more = match self.0.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        match self.0.into_iter().min_by_key(|(path, _)| line(path)) {
            Some((path, message)) => Err(settings.fault(&path, format!("{message}{more}"))),
            None => Ok(()),
        }
    }
}

/// Checks what the file declares without a store. A channel that is named and not declared may be in the store; it is
/// refused here only where that is certainly empty.
pub(crate) fn check(settings: &Settings, kinds: &[Arc<dyn ChannelKind>]) -> Result<Declarations, ConfigFault> {
    let mut faults = Faults::default();
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
    let monitors = monitor_wishes(settings, &mut faults);
    let declared: HashSet<&str> = settings.channels.iter().map(|channel| channel.name.as_str()).collect();
    let elsewhere: Vec<_> =
        channel_names(settings, &monitors).filter(|(_, name)| !declared.contains(name.as_str())).collect();
    if settings.storage.is_new() {
        for (path, name) in &elsewhere {
            faults.add(path, unknown_channel(name));
        }
    }
    faults.into_result(settings)?;
    Ok(Declarations { monitors, elsewhere })
}

/// Makes or updates what the file declares.
pub(crate) async fn declare(
    engine: &Engine,
    settings: &Settings,
    declarations: Declarations,
) -> Result<Summary, DeclareError> {
    let Declarations { monitors, elsewhere } = declarations;
    let mut faults = Faults::default();
    for (path, name) in elsewhere.iter().filter(|(_, name)| engine.channel(name).is_none()) {
        faults.add(path, unknown_channel(name));
    }
    faults.into_result(settings)?;
    let slugs: HashSet<String> = monitors.iter().map(|wish| wish.spec.slug.clone()).collect();
    let mut summary = Summary::default();
    declare_channels(engine, settings, &mut summary).await?;
    declare_monitors(engine, settings, monitors, &mut summary).await?;
    release_channels(engine, settings, &mut summary).await?;
    release_monitors(engine, settings, &slugs, &mut summary).await?;
    Ok(summary)
}

fn unknown_channel(name: &str) -> String {
    format!("there is no channel `{name}`; declare it with [[channel]] or make it with the API first")
}

fn monitor_wishes(settings: &Settings, faults: &mut Faults) -> Vec<MonitorWish> {
    let now = SystemClock::new().now();
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

/// Every place that names a channel.
fn channel_names<'a>(settings: &'a Settings, wishes: &'a [MonitorWish]) -> impl Iterator<Item = (String, String)> + 'a {
    let list = |path: String, names: &'a [String]| {
        names.iter().enumerate().map(move |(index, name)| (format!("{path}.{index}"), name.clone()))
    };
    let of_monitors = wishes.iter().flat_map(move |wish| list(format!("{}.channels", wish.path), &wish.spec.channels));
    let of_watcher = list("self.channels".to_owned(), &settings.self_channels);
    let fallbacks = settings
        .channels
        .iter()
        .filter_map(|channel| Some((format!("{}.fallback", channel.path), channel.spec.fallback.clone()?)));
    of_monitors.chain(of_watcher).chain(fallbacks)
}

async fn declare_channels(engine: &Engine, settings: &Settings, summary: &mut Summary) -> Result<(), DeclareError> {
    for channel in &settings.channels {
        let before = engine.channel(&channel.name).and_then(|info| info.version);
        let made = engine.put_channel(&channel.name, channel.spec.clone()).await;
        let made = made.map_err(|error| refused(settings, &channel.path, error))?;
        let after = engine.channel(&channel.name).and_then(|info| info.version);
        match (made, before == after) {
            (true, _) => summary.made += 1,
            (false, false) => summary.updated += 1,
            (false, true) => summary.unchanged += 1,
        }
    }
    Ok(())
}

async fn declare_monitors(
    engine: &Engine,
    settings: &Settings,
    wishes: Vec<MonitorWish>,
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    let (mut paths, mut puts) = (Vec::new(), Vec::new());
    for wish in wishes {
        let mode = match engine.find(wish.spec.slug.as_str()) {
            Some(record) if *record.spec() == wish.spec => {
                warn_of_token(&record, &wish);
                summary.unchanged += 1;
                continue;
            }
            Some(record) => {
                warn_of_token(&record, &wish);
                PutMode::Replace { monitor: record.id(), expected: None }
            }
            None => PutMode::Create { token: wish.token },
        };
        paths.push(wish.path);
        puts.push((wish.spec, mode));
    }
    for (path, put) in paths.iter().zip(engine.put_many(puts).await) {
        let put = put.map_err(|error| refused(settings, path, error))?;
        if put.created {
            summary.made += 1;
        } else {
            summary.updated += 1;
        }
    }
    Ok(())
}

/// A token in the file is for the making of a monitor; another one later would be obeyed by nobody.
fn warn_of_token(record: &Record, wish: &MonitorWish) {
    if wish.token.as_ref().is_some_and(|token| record.monitor.token.all().all(|known| known != token)) {
        let slug = &wish.spec.slug;
        tracing::warn!(slug, "the monitor exists with another ping token than the file names; rotate-token changes it");
    }
}

/// Channels that a file declared once and none declares now can be edited by the API again.
async fn release_channels(engine: &Engine, settings: &Settings, summary: &mut Summary) -> Result<(), DeclareError> {
    for document in engine.documents("channel").await.map_err(Unavailable::from)? {
        let Ok(mut spec) = serde_json::from_value::<ChannelSpec>(document.body) else { continue };
        if spec.declared_in.is_none() || settings.channels.iter().any(|channel| channel.name == document.id) {
            continue;
        }
        spec.declared_in = None;
        engine.put_channel(&document.id, spec).await.map_err(|error| refused(settings, "channel", error))?;
        summary.released += 1;
    }
    Ok(())
}

/// The same for monitors.
async fn release_monitors(
    engine: &Engine,
    settings: &Settings,
    declared: &HashSet<String>,
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    let is_stray =
        |record: &&Arc<Record>| record.spec().declared_in.is_some() && !declared.contains(&record.spec().slug);
    let mut filter = Filter::default();
    loop {
        let page = engine.list(&filter, PAGE);
        filter.after = page.items.last().map(|record| record.spec().slug.clone());
        let stray = page.items.iter().filter(is_stray).map(|record| {
            let spec = MonitorSpec { declared_in: None, ..record.spec().clone() };
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

fn refused(settings: &Settings, path: &str, error: EditError) -> DeclareError {
    match error {
        EditError::Unavailable(error) => error.into(),
        EditError::Invalid(fields) => {
            let mut faults = Faults::default();
            faults.add_fields(path, fields);
            faults.into_result(settings).map_or_else(Into::into, |()| Unavailable::Stopped.into())
        }
        error => settings.fault(path, error).into(),
    }
}
