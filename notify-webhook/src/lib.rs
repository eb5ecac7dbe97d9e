#![doc = include_str!("../README.md")]

mod builder;
mod client;
mod kind;
mod notifier;
mod signing;
mod text;
mod webhook;

pub use builder::{InvalidSettings, WebhookBuilder};
pub use kind::WebhookKind;
pub use notifier::WebhookNotifier;
