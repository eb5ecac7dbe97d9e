//! Channels: `kind`, `fallback`, and the settings of the kind beside them.

use heartbeat_engine::{ChannelInfo, ChannelSpec, FieldError, Grouping, format_duration};
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::instant;
use crate::problem::Problem;

const MASK: &str = "***";
/// What an answer tells and nobody can set.
const READ_ONLY: [&str; 4] = ["version", "failing_since", "last_error", "declared_in"];

/// A channel with its secrets masked.
pub(crate) fn channel(info: &ChannelInfo) -> Value {
    let mut value = match &info.spec.settings {
        Value::Object(settings) => Value::Object(settings.clone()),
        _ => json!({}),
    };
    value["name"] = info.name.as_str().into();
    value["kind"] = info.spec.kind.as_str().into();
    value["fallback"] = info.spec.fallback.clone().into();
    value["burst"] = info.spec.grouping.burst.into();
    value["group_wait"] = format_duration(info.spec.grouping.wait).into();
    value["version"] = info.version.map(|version| version.0).into();
    value["failing_since"] = instant(info.failing_since);
    value["last_error"] = info.last_error.clone().into();
    if let Some(file) = &info.spec.declared_in {
        value["declared_in"] = file.as_str().into();
    }
    value
}

/// Reads a channel; its settings are left to its kind, which `faults_of` asks, so that everything wrong is told at once.
pub(crate) fn read_channel(
    value: &Value,
    name: &str,
    faults_of: impl FnOnce(&ChannelSpec) -> Vec<FieldError>,
) -> Result<ChannelSpec, Problem> {
    let Value::Object(object) = value else {
        return Err(Problem::field("", "must be an object"));
    };
    let mut errors = Vec::new();
    let mut settings = Map::new();
    for (field, value) in object {
        match field.as_str() {
            "kind" | "fallback" | "burst" | "group_wait" => {}
            "name" if value.as_str() == Some(name) => {}
            "name" => errors.push(FieldError::new("name", format!("must be `{name}` as in the URL; leave it out"))),
            read_only if READ_ONLY.contains(&read_only) => {
                errors.push(FieldError::new(read_only, "can only be read; leave it out"));
            }
            _ => {
                masked(value, field, &mut errors);
                settings.insert(field.clone(), value.clone());
            }
        }
    }
    let kind = match object.get("kind") {
        Some(Value::String(kind)) => kind.clone(),
        _ => {
            errors.push(FieldError::new("kind", "must be the kind of the channel, such as `webhook` or `email`"));
            String::new()
        }
    };
    let fallback = match object.get("fallback") {
        None | Some(Value::Null) => None,
        Some(Value::String(fallback)) => Some(fallback.clone()),
        Some(_) => {
            errors.push(FieldError::new("fallback", "must be the name of a channel, or null"));
            None
        }
    };
    let grouping = grouping_from_json(value).map_err(|more| errors.extend(more)).unwrap_or_default();
    let spec = ChannelSpec { kind, settings: Value::Object(settings), grouping, fallback, declared_in: None };
    let told = errors.clone();
    let news = faults_of(&spec).into_iter().filter(|fault| told.iter().all(|error| error.field != fault.field));
    errors.extend(news);
    if errors.is_empty() { Ok(spec) } else { Err(Problem::invalid(errors)) }
}

/// Reads `burst` and `group_wait` of a channel's object; what is left out is the default (S7.9). Other fields are left
/// to others.
///
/// # Errors
/// Each of the two that is wrong, with what would be right.
pub fn grouping_from_json(channel: &Value) -> Result<Grouping, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut grouping = Grouping::default();
    if let Some(mut fields) = Fields::of(channel, "", &mut errors) {
        grouping.burst = fields.count("burst").unwrap_or(grouping.burst);
        grouping.wait = fields.duration("group_wait").unwrap_or(grouping.wait);
    }
    if errors.is_empty() { Ok(grouping) } else { Err(errors) }
}

/// An answer masks secrets; what was masked must not be stored as the secret.
fn masked(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) if text.contains(MASK) => {
            errors.push(FieldError::new(path, "holds a masked secret; give the secret itself"));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                masked(item, &format!("{path}.{index}"), errors);
            }
        }
        Value::Object(object) => {
            for (field, item) in object {
                masked(item, &format!("{path}.{field}"), errors);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_secrets_do_not_come_back() {
        let value =
            json!({"kind": "webhook", "url": "https://example.org/", "secret": "***", "headers": {"x": "a***"}});
        let problem = read_channel(&value, "ops", |_| Vec::new()).unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["headers.x", "secret"]);
    }

    #[test]
    fn what_belongs_to_every_kind_is_checked() {
        let problem =
            read_channel(&json!({"name": "other", "fallback": 1, "version": 2}), "ops", |_| Vec::new()).unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "version", "kind", "fallback"]);
        let spec =
            read_channel(&json!({"name": "ops", "kind": "webhook", "url": "u", "fallback": "mail"}), "ops", |_| {
                Vec::new()
            })
            .unwrap();
        assert_eq!((spec.kind.as_str(), spec.fallback.as_deref()), ("webhook", Some("mail")));
        assert_eq!(spec.settings, json!({"url": "u"}));
        assert_eq!(spec.grouping, Grouping::default());
    }

    #[test]
    fn grouping_is_read_for_every_kind() {
        let value = json!({"kind": "webhook", "url": "u", "burst": 0, "group_wait": "90s"});
        let spec = read_channel(&value, "ops", |_| Vec::new()).unwrap();
        assert_eq!((spec.grouping.burst, spec.grouping.wait.as_secs()), (0, 90));
        assert_eq!(spec.settings, json!({"url": "u"}));
        let problem =
            read_channel(&json!({"kind": "webhook", "burst": -1, "group_wait": "soon"}), "ops", |_| Vec::new())
                .unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["burst", "group_wait"]);
    }
}
