//! Declared maintenance windows and routes.

use heartbeat_engine::{Engine, MaintenanceSpec, RouteSpec};

use super::check::{Window, WishedRoute};
use super::{DeclareError, Summary, refused};
use crate::settings::Settings;

pub(super) async fn declare_maintenance(
    engine: &Engine,
    settings: &Settings,
    windows: &[Window],
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    let stored = engine.maintenance();
    for Window { path, name, spec } in windows {
        let before = stored.iter().find(|window| window.id == *name);
        // When it was made the engine knows better.
        let same =
            before.is_some_and(|window| window.spec == MaintenanceSpec { since: window.spec.since, ..spec.clone() });
        if !same {
            let put = engine.put_maintenance(Some(name), spec.clone()).await;
            put.map_err(|error| refused(settings, path, error))?;
        }
        summary.count(before.is_none(), !same);
    }
    Ok(())
}

pub(super) async fn declare_routes(
    engine: &Engine,
    settings: &Settings,
    routes: &[WishedRoute],
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    let stored = engine.routes();
    for WishedRoute { path, name, spec } in routes {
        let before = stored.iter().find(|route| route.name == *name);
        let same = before.is_some_and(|route| route.spec == *spec);
        if !same {
            engine.put_route(name, spec.clone()).await.map_err(|error| refused(settings, path, error))?;
        }
        summary.count(before.is_none(), !same);
    }
    Ok(())
}

/// Windows that a file declared once and none declares now can be edited by the API again.
pub(super) async fn release_maintenance(
    engine: &Engine,
    settings: &Settings,
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    for window in engine.maintenance() {
        let declared = settings.maintenance.iter().any(|declared| declared.name == window.id);
        if window.spec.declared_in.is_some() && !declared {
            let spec = MaintenanceSpec { declared_in: None, ..window.spec.clone() };
            let put = engine.put_maintenance(Some(&window.id), spec).await;
            put.map_err(|error| refused(settings, "maintenance", error))?;
            summary.released += 1;
        }
    }
    Ok(())
}

/// The same for routes.
pub(super) async fn release_routes(
    engine: &Engine,
    settings: &Settings,
    summary: &mut Summary,
) -> Result<(), DeclareError> {
    for route in engine.routes() {
        let declared = settings.routes.iter().any(|declared| declared.name == route.name);
        if route.spec.declared_in.is_some() && !declared {
            let spec = RouteSpec { declared_in: None, ..route.spec.clone() };
            engine.put_route(&route.name, spec).await.map_err(|error| refused(settings, "route", error))?;
            summary.released += 1;
        }
    }
    Ok(())
}
