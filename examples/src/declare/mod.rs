//! What the settings file declares: made or updated at start, never deleted.

mod channels;
mod check;
mod monitors;
mod policies;

use std::collections::HashSet;

use heartbeat_engine::{EditError, Engine, FieldError, Unavailable};

use crate::settings::{ConfigFault, Settings};

pub(crate) use check::{Declarations, Named, check};

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

/// How many there were of what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) made: usize,
    pub(crate) updated: usize,
    pub(crate) unchanged: usize,
    /// Declared once and no longer: from now on the API edits them.
    pub(crate) released: usize,
}

impl Summary {
    fn count(&mut self, made: bool, changed: bool) {
        match (made, changed) {
            (true, _) => self.made += 1,
            (false, true) => self.updated += 1,
            (false, false) => self.unchanged += 1,
        }
    }
}

/// Faults of declared values, by their paths.
#[derive(Debug, Default)]
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

/// Makes or updates what the file declares, what others name before those that name it.
pub(crate) async fn declare(
    engine: &Engine,
    settings: &Settings,
    declarations: Declarations,
) -> Result<Summary, DeclareError> {
    let Declarations { monitors, maintenance, routes, elsewhere, warnings: _ } = declarations;
    let mut faults = Faults::default();
    for named in elsewhere.iter().filter(|named| !named.exists(engine)) {
        faults.add(&named.path, named.unknown());
    }
    faults.into_result(settings)?;
    let slugs: HashSet<String> = monitors.iter().map(|wish| wish.spec.slug.as_str().to_owned()).collect();
    let mut summary = Summary::default();
    channels::declare(engine, settings, &mut summary).await?;
    policies::declare_routes(engine, settings, &routes, &mut summary).await?;
    monitors::declare(engine, settings, monitors, &mut summary).await?;
    policies::declare_maintenance(engine, settings, &maintenance, &mut summary).await?;
    policies::release_routes(engine, settings, &mut summary).await?;
    policies::release_maintenance(engine, settings, &mut summary).await?;
    channels::release(engine, settings, &mut summary).await?;
    monitors::release(engine, settings, &slugs, &mut summary).await?;
    Ok(summary)
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
