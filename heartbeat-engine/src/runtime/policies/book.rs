//! The stored policies as the engine knows them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Document, DocumentWrite, Maintenance, Route, Version};

/// The kind of the documents that hold maintenance windows.
pub(crate) const MAINTENANCE: &str = "maintenance";
/// The kind of the documents that hold routes.
pub(crate) const ROUTE: &str = "route";

/// A document of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) version: Version,
    /// `None` where what is stored cannot be read.
    pub(crate) policy: Option<Arc<T>>,
}

#[derive(Debug, Default)]
struct Pages {
    maintenance: BTreeMap<String, Stored<Maintenance>>,
    routes: BTreeMap<String, Stored<Route>>,
    generation: u64,
}

/// Maintenance windows and routes as they were last committed.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pages: RwLock<Pages>,
}

impl Policies {
    /// The windows in the order of their ids.
    pub(crate) fn maintenance(&self) -> Vec<Arc<Maintenance>> {
        self.read().maintenance.values().filter_map(|stored| stored.policy.clone()).collect()
    }

    /// The routes in the order of their names.
    pub(crate) fn routes(&self) -> Vec<Arc<Route>> {
        self.read().routes.values().filter_map(|stored| stored.policy.clone()).collect()
    }

    pub(crate) fn window(&self, id: &str) -> Option<Stored<Maintenance>> {
        self.read().maintenance.get(id).cloned()
    }

    pub(crate) fn route(&self, name: &str) -> Option<Stored<Route>> {
        self.read().routes.get(name).cloned()
    }

    /// How many documents of this kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        let pages = self.read();
        if kind == ROUTE { pages.routes.len() } else { pages.maintenance.len() }
    }

    /// The version of a document, where there is one.
    pub(crate) fn version(&self, kind: &str, id: &str) -> Option<Version> {
        let pages = self.read();
        match kind {
            ROUTE => pages.routes.get(id).map(|stored| stored.version),
            _ => pages.maintenance.get(id).map(|stored| stored.version),
        }
    }

    /// A route that tells this channel.
    pub(crate) fn route_to(&self, channel: &str) -> Option<String> {
        let routes = self.routes();
        let route = routes.iter().find(|route| route.spec.channels.iter().any(|name| name == channel))?;
        Some(route.name.clone())
    }

    /// Changes with every change of the policies.
    pub(crate) fn generation(&self) -> u64 {
        self.read().generation
    }

    /// Takes over a stored document. One that cannot be read is told and has no effect until it is written anew.
    pub(crate) fn load(&self, document: &Document) {
        let Document { kind, id, version, body } = document;
        match kind.as_str() {
            MAINTENANCE => {
                let policy = readable(kind, id, body).map(|spec| Arc::new(Maintenance { id: id.clone(), spec }));
                self.change(|pages| drop(pages.maintenance.insert(id.clone(), Stored { version: *version, policy })));
            }
            ROUTE => {
                let policy = readable(kind, id, body).map(|spec| Arc::new(Route { name: id.clone(), spec }));
                self.change(|pages| drop(pages.routes.insert(id.clone(), Stored { version: *version, policy })));
            }
            _ => {}
        }
    }

    /// Takes over a write that was committed.
    pub(crate) fn adopt(&self, write: &DocumentWrite) {
        match &write.body {
            Some(body) => self.load(&Document {
                kind: write.kind.clone(),
                id: write.id.clone(),
                version: write.expected.map_or(Version::FIRST, Version::next),
                body: body.clone(),
            }),
            None => self.forget(&write.kind, &write.id),
        }
    }

    /// Takes over that a document is not stored any more.
    pub(crate) fn forget(&self, kind: &str, id: &str) {
        match kind {
            MAINTENANCE => self.change(|pages| drop(pages.maintenance.remove(id))),
            ROUTE => self.change(|pages| drop(pages.routes.remove(id))),
            _ => {}
        }
    }

    /// Takes over all stored documents of a kind as they are now.
    pub(crate) fn reload(&self, kind: &str, documents: &[Document]) {
        for id in self.ids(kind) {
            if !documents.iter().any(|document| document.id == id) {
                self.forget(kind, &id);
            }
        }
        for document in documents {
            if self.version(kind, &document.id) != Some(document.version) {
                self.load(document);
            }
        }
    }

    fn ids(&self, kind: &str) -> Vec<String> {
        let pages = self.read();
        if kind == ROUTE { pages.routes.keys().cloned().collect() } else { pages.maintenance.keys().cloned().collect() }
    }

    /// Forgets all, before they are loaded anew.
    pub(crate) fn clear(&self) {
        self.change(|pages| {
            pages.maintenance.clear();
            pages.routes.clear();
        });
    }

    fn change(&self, change: impl FnOnce(&mut Pages)) {
        let mut pages = self.write();
        change(&mut pages);
        pages.generation += 1;
    }

    // Every change is one insertion or removal, so a panicking caller leaves nothing half done.
    fn read(&self) -> RwLockReadGuard<'_, Pages> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Pages> {
        self.pages.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn readable<T: DeserializeOwned>(kind: &str, id: &str, body: &Value) -> Option<T> {
    serde_json::from_value(body.clone())
        .inspect_err(|error| {
            tracing::error!(kind, id, %error, "what is stored cannot be read; it has no effect until it is written anew");
        })
        .ok()
}
