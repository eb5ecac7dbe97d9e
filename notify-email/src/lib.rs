#![doc = include_str!("../README.md")]

mod builder;
mod compose;
mod digest;
mod html;
mod kind;
mod notifier;
mod relay;
mod session;
mod text;

pub use builder::{EmailBuilder, InvalidSettings};
pub use kind::EmailKind;
pub use notifier::EmailNotifier;
