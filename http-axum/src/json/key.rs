//! Keys: what they may do; never their hash.

use heartbeat_engine::Timestamp;
use serde_json::{Value, json};

use super::fields::read_object;
use super::instant;
use crate::keys::{Scope, StoredKey};
use crate::problem::Problem;

const NAME_CHARS_MAX: usize = 200;
const LIST_MAX: usize = 100;

/// A key as somebody wishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyWish {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) monitors: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) expires_at: Option<Timestamp>,
}

pub(crate) fn key(key: &StoredKey, now: Timestamp) -> Value {
    let record = &key.record;
    let retiring = record.retiring.as_ref().map(|(_, ends)| *ends).filter(|ends| *ends > now);
    json!({
        "id": key.id,
        "name": record.name,
        "scope": record.scope.name(),
        "monitors": record.monitors,
        "tags": record.tags,
        "created_at": instant(record.created_at),
        "expires_at": instant(record.expires_at),
        "last_used_at": instant(record.last_used_at),
        "previous_valid_until": instant(retiring),
    })
}

pub(crate) fn read_key(value: &Value, now: Timestamp) -> Result<KeyWish, Problem> {
    read_object(value, |fields| {
        let name = fields.text("name").map(str::to_owned);
        if name.as_ref().is_none_or(|name| name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX) {
            fields.fault("name", format!("give a name of 1 to {NAME_CHARS_MAX} characters"));
        }
        let scope = fields.word("scope", &Scope::ALL);
        if fields.value("scope").is_none() {
            fields.fault("scope", "is missing; give `ping`, `read`, `manage` or `admin`");
        }
        let monitors = fields.texts("monitors").unwrap_or_default();
        let tags = fields.texts("tags").unwrap_or_default();
        for (field, list) in [("monitors", &monitors), ("tags", &tags)] {
            if list.len() > LIST_MAX {
                fields.fault(field, format!("has {} entries; at most {LIST_MAX} are allowed", list.len()));
            }
            if scope == Some(Scope::Admin) && !list.is_empty() {
                fields.fault(field, "a key of the scope `admin` cannot be limited; choose `manage`");
            }
        }
        let expires_at = fields.time("expires_at");
        if expires_at.is_some_and(|at| at <= now) {
            fields.fault("expires_at", format!("must be after {now}"));
        }
        Some(KeyWish { name: name?, scope: scope?, monitors, tags, expires_at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_refused_in_every_field() {
        let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let wrong = json!({"name": " ", "scope": "root", "expires_at": "2026-11-20T08:00:00Z", "hash": "x"});
        let problem = read_key(&wrong, now).unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "scope", "expires_at", "hash"]);
        let problem = read_key(&json!({"name": "n", "scope": "admin", "tags": ["a"]}), now).unwrap_err();
        assert_eq!(problem.errors[0].field, "tags");
        assert!(read_key(&json!({"name": "n", "scope": "manage", "tags": ["a"]}), now).is_ok());
    }
}
