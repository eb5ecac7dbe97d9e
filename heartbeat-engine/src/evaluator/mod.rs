//! One partition's work.

mod request;

pub use request::{Done, Edit, Refusal, Request, Taken};
