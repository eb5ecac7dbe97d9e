//! Declared channels.

use heartbeat_engine::{ChannelSpec, Engine, Unavailable};

use super::{DeclareError, Summary, refused};
use crate::settings::Settings;

pub(super) async fn declare(engine: &Engine, settings: &Settings, summary: &mut Summary) -> Result<(), DeclareError> {
    for channel in &settings.channels {
        let before = engine.channel(&channel.name).and_then(|info| info.version);
        let made = engine.put_channel(&channel.name, channel.spec.clone()).await;
        let made = made.map_err(|error| refused(settings, &channel.path, error))?;
        let after = engine.channel(&channel.name).and_then(|info| info.version);
        summary.count(made, before != after);
    }
    Ok(())
}

/// Channels that a file declared once and none declares now can be edited by the API again.
pub(super) async fn release(engine: &Engine, settings: &Settings, summary: &mut Summary) -> Result<(), DeclareError> {
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
