//! The engine's calls around policies: maintenance windows (S5.3) and routes (S7.8). They are stored as documents.

mod book;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub(crate) use book::{MAINTENANCE, Policies, ROUTE};

use crate::runtime::administration::finished;
use crate::runtime::directory::Target;
use crate::runtime::engine::Engine;
use crate::runtime::error::{EditError, Unavailable};
use crate::runtime::random;
use crate::step;
use crate::{
    DocumentWrite, FieldError, Maintenance, MaintenanceSpec, MaintenanceTime, Route, RouteSpec, Timestamp, Version,
};

/// How many documents of one kind are kept.
const KEPT_MAX: usize = 1_000;
/// How long a maintenance window that is over is kept, because it explains silence.
const KEPT_FOR: Duration = Duration::from_secs(31 * 86_400);
/// How long one is over at least when it makes room for another.
const ROOM_AFTER: Duration = Duration::from_secs(86_400);
/// How many are looked at to make room: each look may go through all monitors.
const ROOM_LOOKS_MAX: usize = 16;

/// What [`Engine::put_maintenance`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PutPolicy {
    /// Its id, a random one where none was given.
    pub id: String,
    /// Whether it was made.
    pub created: bool,
}

impl Engine {
    /// Every maintenance window that is kept, those that are over included, in the order of their ids. One that is over
    /// is kept for 31 days, because it explains silence.
    #[must_use]
    pub fn maintenance(&self) -> Vec<Arc<Maintenance>> {
        self.shared.policies.maintenance()
    }

    /// The maintenance windows that are in force now for a monitor; none where there is no such monitor.
    #[must_use]
    pub fn maintenance_of(&self, target: impl Into<Target>) -> Vec<Arc<Maintenance>> {
        let now = self.now();
        let Some(record) = self.find(target) else { return Vec::new() };
        let mut windows = self.maintenance();
        windows.retain(|window| window.covers(&record) && window.spec.current(now).is_some());
        windows
    }

    /// Makes a maintenance window or replaces one; without an id a random one is given. What a window explained before
    /// it was replaced stays explained: that part is kept beside it, under an id with a `~` in it. `since` and `ended_at` of the wish are ignored.
    /// Where 1,000 are kept already, the one that was over first makes room, if that was over a day ago and it explains no
    /// silence that is still to be judged.
    ///
    /// # Errors
    /// [`EditError::Invalid`] with every field that is wrong, an unknown monitor included, and those of
    /// [`Engine::write_document`].
    pub async fn put_maintenance(&self, id: Option<&str>, spec: MaintenanceSpec) -> Result<PutPolicy, EditError> {
        let now = self.now();
        self.must_be_loaded()?;
        let id = id.map_or_else(random::uuid, |id| Ok(id.to_owned()))?;
        let stored = self.shared.policies.window(&id);
        let before = stored.as_ref().and_then(|stored| stored.policy.clone());
        let mut faults: Vec<FieldError> = name_faults("id", &id).into_iter().collect();
        faults.extend(spec.faults(now));
        faults.extend(self.unknown_monitors(&spec, before.as_deref()));
        if stored.is_none() && faults.is_empty() {
            let engine = self.clone();
            finished(async move { engine.make_room(now).await }).await?;
        }
        faults.extend(self.room_fault(MAINTENANCE, "id", stored.is_none()));
        if !faults.is_empty() {
            return Err(EditError::Invalid(faults));
        }
        let wish = wished(spec, before.as_deref(), now);
        if before.as_ref().is_some_and(|before| before.spec == wish) {
            return Ok(PutPolicy { id, created: false });
        }
        let past = before.as_deref().and_then(|before| past_of(before, &wish, now));
        let (engine, expected) = (self.clone(), stored.map(|stored| stored.version));
        finished(async move {
            if let Some(past) = past {
                let kept_as = format!("{id}~{}", expected.unwrap_or(Version::FIRST));
                let known = engine.shared.policies.version(MAINTENANCE, &kept_as);
                engine.write_policy(MAINTENANCE, &kept_as, known, Some(&past)).await?;
            }
            engine.write_policy(MAINTENANCE, &id, expected, Some(&wish)).await?;
            engine.forget_expired(now).await;
            Ok(PutPolicy { id, created: expected.is_none() })
        })
        .await
    }

    /// Ends a maintenance window now, a recurring one for ever. One that has not begun yet is removed; any other is kept
    /// for 31 days, because it explains silence until now. One that is over stays as it is.
    ///
    /// # Errors
    /// [`EditError::NotFound`], and those of [`Engine::write_document`].
    pub async fn end_maintenance(&self, id: &str) -> Result<(), EditError> {
        let now = self.now();
        self.must_be_loaded()?;
        let Some(stored) = self.shared.policies.window(id) else {
            return Err(EditError::NotFound("maintenance window"));
        };
        let ended = stored.policy.filter(|window| window.spec.has_begun(now)).map(|window| {
            let ended_at = window.spec.over_since(now).unwrap_or(now);
            MaintenanceSpec { ended_at: Some(ended_at), ..window.spec.clone() }
        });
        let (engine, id) = (self.clone(), id.to_owned());
        finished(async move {
            engine.write_policy(MAINTENANCE, &id, Some(stored.version), ended.as_ref()).await?;
            engine.forget_expired(now).await;
            Ok(())
        })
        .await
    }

    /// Every route, in the order of their names.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.shared.policies.routes()
    }

    /// Makes a route or replaces it; says whether it was made.
    ///
    /// # Errors
    /// [`EditError::Invalid`] with every field that is wrong, an unknown channel included, and those of
    /// [`Engine::write_document`].
    pub async fn put_route(&self, name: &str, spec: RouteSpec) -> Result<bool, EditError> {
        self.must_be_loaded()?;
        let stored = self.shared.policies.route(name);
        let mut faults: Vec<FieldError> = name_faults("name", name).into_iter().collect();
        faults.extend(spec.faults());
        faults.extend(self.unknown_channels(&spec.channels));
        faults.extend(self.room_fault(ROUTE, "name", stored.is_none()));
        if !faults.is_empty() {
            return Err(EditError::Invalid(faults));
        }
        let expected = stored.as_ref().map(|stored| stored.version);
        if stored.and_then(|stored| stored.policy).is_some_and(|route| route.spec == spec) {
            return Ok(false);
        }
        let (engine, name) = (self.clone(), name.to_owned());
        finished(async move {
            engine.write_policy(ROUTE, &name, expected, Some(&spec)).await?;
            Ok(expected.is_none())
        })
        .await
    }

    /// Removes a route.
    ///
    /// # Errors
    /// [`EditError::NotFound`], and those of [`Engine::write_document`].
    pub async fn remove_route(&self, name: &str) -> Result<(), EditError> {
        self.must_be_loaded()?;
        let stored = self.shared.policies.route(name).ok_or(EditError::NotFound("route"))?;
        let (engine, name) = (self.clone(), name.to_owned());
        finished(async move { engine.write_policy::<RouteSpec>(ROUTE, &name, Some(stored.version), None).await }).await
    }

    fn must_be_loaded(&self) -> Result<(), EditError> {
        if self.shared.loaded() { Ok(()) } else { Err(EditError::Unavailable(Unavailable::Loading)) }
    }

    fn room_fault(&self, kind: &str, field: &str, makes: bool) -> Option<FieldError> {
        let full = makes && self.shared.policies.count(kind) >= KEPT_MAX;
        full.then(|| {
            FieldError::new(field, format!("there are {KEPT_MAX} already, and more are not kept; remove one first"))
        })
    }

    /// Names that lead to no monitor; those that it had before may have lost theirs since.
    fn unknown_monitors(&self, spec: &MaintenanceSpec, before: Option<&Maintenance>) -> Vec<FieldError> {
        let named = |name: &String| before.is_some_and(|before| before.spec.monitors.contains(name));
        let known = |name: &str| {
            self.find(Target::slug(name)).is_some() || name.parse().is_ok_and(|id| self.find(Target::Id(id)).is_some())
        };
        let unknown = spec.monitors.iter().enumerate().filter(|(_, name)| !known(name) && !named(name));
        unknown
            .map(|(index, name)| {
                let shown: String = name.chars().take(64).collect();
                FieldError::new(format!("monitors.{index}"), format!("there is no monitor `{shown}`; make it first"))
            })
            .collect()
    }

    /// Writes a policy's document; the evaluator knows it when this returns. When somebody else wrote it meanwhile, or
    /// nobody knows, the stored one is taken over.
    async fn write_policy<T: Serialize>(
        &self,
        kind: &str,
        id: &str,
        expected: Option<Version>,
        spec: Option<&T>,
    ) -> Result<(), EditError> {
        let body = spec
            .map(serde_json::to_value)
            .transpose()
            .map_err(|error| EditError::Invalid(vec![FieldError::new("", error.to_string())]))?;
        let write = DocumentWrite { kind: kind.to_owned(), id: id.to_owned(), expected, body };
        let outcome = self.write_document(write).await;
        if outcome.is_err()
            && let Ok(documents) = self.documents(kind).await
            && self.shared.policies.version(kind, id) == expected
        {
            match documents.iter().find(|document| document.id == id) {
                Some(document) => self.shared.policies.load(document),
                None => self.shared.policies.forget(kind, id),
            }
            // The seats hand it to their evaluators.
            self.shared.nudge_all();
        }
        outcome.map(|_| ())
    }

    /// Removes a window that can be done without, where no other fits in.
    async fn make_room(&self, now: Timestamp) -> Result<(), EditError> {
        if self.shared.policies.count(MAINTENANCE) < KEPT_MAX {
            return Ok(());
        }
        let Some(id) = self.shared.dispensable_maintenance(now) else { return Ok(()) };
        let version = self.shared.policies.version(MAINTENANCE, &id);
        self.write_policy::<MaintenanceSpec>(MAINTENANCE, &id, version, None).await
    }

    /// Removes the windows that explain nothing any more.
    async fn forget_expired(&self, now: Timestamp) {
        for id in self.shared.expired_maintenance(now) {
            let version = self.shared.policies.version(MAINTENANCE, &id);
            // What cannot be removed now is removed with the next change or start.
            let _ = self.write_policy::<MaintenanceSpec>(MAINTENANCE, &id, version, None).await;
        }
    }
}

impl crate::runtime::shared::Shared {
    /// The ids of the windows that explain nothing any more.
    pub(crate) fn expired_maintenance(&self, now: Timestamp) -> Vec<String> {
        let mut windows = self.over_for(KEPT_FOR, now);
        windows.retain(|window| !self.explains(window, now));
        windows.iter().map(|window| window.id.clone()).collect()
    }

    /// The id of the window that was over first and explains nothing any more, if that is over a day ago.
    fn dispensable_maintenance(&self, now: Timestamp) -> Option<String> {
        let mut windows = self.over_for(ROOM_AFTER, now);
        windows.sort_by_key(|window| window.spec.over_since(now));
        let first = windows.into_iter().take(ROOM_LOOKS_MAX).find(|window| !self.explains(window, now));
        first.map(|window| window.id.clone())
    }

    /// The windows that are over for longer than this. What a file declares stays as long as it does.
    fn over_for(&self, length: Duration, now: Timestamp) -> Vec<Arc<Maintenance>> {
        let mut windows = self.policies.maintenance();
        windows.retain(|window| {
            let declared = window.spec.declared_in.is_some() && window.spec.ended_at.is_none();
            !declared && window.spec.over_since(now).is_some_and(|over| over + length < now)
        });
        windows
    }

    /// Whether a monitor that was not looked at for long depends on it still.
    fn explains(&self, window: &Arc<Maintenance>, now: Timestamp) -> bool {
        let mut found = false;
        self.directory.for_each(|record| found |= window.covers(record) && step::explains(record, window, now));
        found
    }
}

/// The wish with what the engine sets in it. A recurring window explains nothing before it was made.
pub(crate) fn wished(spec: MaintenanceSpec, before: Option<&Maintenance>, now: Timestamp) -> MaintenanceSpec {
    let same = before
        .map(|before| &before.spec)
        .filter(|before| before.ended_at.is_none() && before.time == spec.time && before.covers_the_same(&spec));
    let since = match spec.time {
        MaintenanceTime::Once { .. } => None,
        MaintenanceTime::Recurring { .. } => same.map_or(Some(now), |before| before.since),
    };
    MaintenanceSpec { since, ended_at: None, ..spec }
}

/// What a window that is replaced has explained up to now, where the wish does not explain it too.
pub(crate) fn past_of(before: &Maintenance, wish: &MaintenanceSpec, now: Timestamp) -> Option<MaintenanceSpec> {
    let old = &before.spec;
    let over = old.over_since(now).unwrap_or(now);
    let explained = old.covers_the_same(wish)
        && match (&old.time, &wish.time) {
            (MaintenanceTime::Once { from: begun, .. }, MaintenanceTime::Once { from, to }) => {
                from <= begun && over <= *to
            }
            (old_time, time) => old_time == time && old.since == wish.since && old.ended_at.is_none(),
        };
    let past = || MaintenanceSpec { ended_at: Some(over), declared_in: None, ..old.clone() };
    (old.has_begun(now) && over + KEPT_FOR >= now && !explained).then(past)
}

fn name_faults(field: &str, name: &str) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let right = (1..=100).contains(&name.len()) && name.chars().all(allowed);
    let shown: String = name.chars().take(64).collect();
    (!right).then(|| {
        FieldError::new(field, format!("`{shown}` is not a name: 1 to 100 of A-Z, a-z, 0-9, `-`, `_` and `.`"))
    })
}
