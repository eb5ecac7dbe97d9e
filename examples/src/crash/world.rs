//! What one server watches: monitors of several kinds, and channels that lead to the receiver.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::crash::api::{Api, text};
use crate::crash::failure::Failure;

/// The channels that are told of everything: one gets each message, one groups them.
pub const CHANNELS: [&str; 2] = ["each", "grouped"];

/// What a monitor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reports well and must never go down (S8.2).
    Steady,
    /// Fails now and then.
    Fickle,
    /// Reports values that are too large now and then.
    Valued,
    /// Must report every second, and mostly does not.
    Silent,
    /// Begins runs that never end in time.
    Overrun,
}

/// A monitor of the world.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What it is for.
    pub role: Role,
    /// Its token.
    pub token: String,
}

/// The monitors of one server by their slugs.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The monitors.
    pub monitors: BTreeMap<String, Watched>,
}

const ROLES: [(Role, &str, usize); 5] = [
    (Role::Steady, "steady", 6),
    (Role::Fickle, "fickle", 4),
    (Role::Valued, "valued", 2),
    (Role::Silent, "silent", 3),
    (Role::Overrun, "overrun", 2),
];

impl World {
    /// Makes channels and monitors. `hook` is the receiver's URL for this server.
    ///
    /// # Errors
    /// When the server does not take them.
    pub async fn make(api: &Api, hook: &str) -> Result<Self, Failure> {
        for channel in CHANNELS {
            let (burst, wait) = if channel == "grouped" { (2, "1s") } else { (1, "0s") };
            let url = format!("{hook}/{channel}");
            let wish =
                json!({"kind": "webhook", "url": url, "allow_private": true, "burst": burst, "group_wait": wait});
            made(api, "PUT", &format!("/api/channels/{channel}"), wish).await?;
        }
        let mut monitors = BTreeMap::new();
        for (role, name, count) in ROLES {
            for number in 0..count {
                let slug = format!("{name}-{number}");
                let made = made(api, "POST", "/api/monitors", wish(role, &slug)).await?;
                monitors.insert(slug, Watched { role, token: text(&made, "/token").to_owned() });
            }
        }
        Ok(Self { monitors })
    }

    /// The monitors of some roles.
    pub fn of<'a>(&'a self, roles: &'a [Role]) -> impl Iterator<Item = (&'a String, &'a Watched)> {
        self.monitors.iter().filter(|(_, watched)| roles.contains(&watched.role))
    }
}

fn wish(role: Role, slug: &str) -> Value {
    let mut wish = json!({"slug": slug, "schedule": {"every": "1h"}, "channels": CHANNELS});
    match role {
        Role::Steady | Role::Fickle => {}
        Role::Valued => wish["value_max"] = json!(10),
        Role::Silent => {
            wish["schedule"] = json!({"every": "1s"});
            wish["grace"] = json!("200ms");
        }
        Role::Overrun => wish["max_runtime"] = json!("1s"),
    }
    wish
}

async fn made(api: &Api, method: &str, path: &str, wish: Value) -> Result<Value, Failure> {
    let answer = api.send(method, path, Some(wish)).await?;
    match serde_json::from_str(&answer.text) {
        Ok(made) if (200..300).contains(&answer.status) => Ok(made),
        _ => Err(Failure::Harness(format!("{method} {path} was answered {}: {}", answer.status, answer.text))),
    }
}
