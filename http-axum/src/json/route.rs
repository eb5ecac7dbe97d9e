//! Routes: which incidents they are for, and whom they tell.

use heartbeat_engine::{Cause, FieldError, Route, RouteSpec, format_duration};
use serde_json::{Value, json};

use super::fields::Fields;
use super::monitor::SEVERITIES;

const CAUSES: [(&str, Cause); 4] =
    [("missed", Cause::Missed), ("failed", Cause::Failed), ("overrun", Cause::Overrun), ("value", Cause::Value)];

pub(crate) fn route(route: &Route) -> Value {
    let RouteSpec { severities, tags, causes, channels, after, declared_in } = &route.spec;
    json!({
        "name": route.name,
        "severities": severities.iter().map(|severity| severity.name()).collect::<Vec<_>>(),
        "tags": tags,
        "causes": causes.iter().map(|cause| cause.name()).collect::<Vec<_>>(),
        "channels": channels,
        "after": format_duration(*after),
        "declared_in": declared_in,
    })
}

/// Reads a route in the form that `PUT /api/routes/{name}` takes, for hosts that declare routes elsewhere, such as in a
/// settings file; a `name` must be the one given. Whether the channels exist is not checked.
///
/// # Errors
/// Every field that is wrong, with what would be right.
///
/// ```
/// let wish = serde_json::json!({"severities": ["critical"], "channels": ["boss"], "after": "30m"});
/// let spec = heartbeat_http::route_from_json(&wish, "escalate").map_err(|faults| faults[0].clone())?;
/// assert_eq!(spec.after.as_secs(), 1800);
/// # Ok::<(), heartbeat_engine::FieldError>(())
/// ```
pub fn route_from_json(value: &Value, name: &str) -> Result<RouteSpec, Vec<FieldError>> {
    let mut errors = Vec::new();
    let spec = read(value, name, &mut errors);
    if let Some(spec) = &spec {
        let told = errors.clone();
        let is_new = |fault: &FieldError| told.iter().all(|error| root(&error.field) != root(&fault.field));
        errors.extend(spec.faults().into_iter().filter(is_new));
    }
    match spec {
        Some(spec) if errors.is_empty() => Ok(spec),
        _ => Err(errors),
    }
}

fn read(value: &Value, name: &str, errors: &mut Vec<FieldError>) -> Option<RouteSpec> {
    let mut fields = Fields::of(value, "", errors)?;
    if fields.text("name").is_some_and(|given| given != name) {
        fields.fault("name", format!("must be `{name}` as in the URL; leave it out"));
    }
    let severities = fields.words("severities", &SEVERITIES).unwrap_or_default();
    let tags = fields.texts("tags").unwrap_or_default();
    let causes = fields.words("causes", &CAUSES).unwrap_or_default();
    if fields.value("channels").is_none() {
        fields.fault("channels", "is missing: who is told, such as [\"ops\"]");
    }
    let channels = fields.texts("channels").unwrap_or_default();
    let after = fields.duration("after").unwrap_or_default();
    if fields.has("declared_in") {
        let _ = fields.value("declared_in");
        fields.fault("declared_in", "can only be read; leave it out");
    }
    fields.finish();
    Some(RouteSpec { severities, tags, causes, channels, after, declared_in: None })
}

fn root(field: &str) -> &str {
    field.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let value = json!({
            "name": "night", "severities": ["critical"], "tags": ["db"], "causes": ["missed", "overrun"], "channels": ["ops"],
            "after": "30m",
        });
        let spec = route_from_json(&value, "night").unwrap();
        let mut shown = route(&Route { name: "night".to_owned(), spec });
        assert_eq!(shown["declared_in"], Value::Null);
        shown.as_object_mut().unwrap().remove("declared_in");
        assert_eq!(shown, value);
        assert_eq!(route_from_json(&json!({"channels": ["ops"]}), "x").unwrap().after, std::time::Duration::ZERO);
    }

    #[test]
    fn each_wrong_part_is_named() {
        for (value, fields) in [
            (json!({}), vec!["channels"]),
            (json!({"channels": []}), vec!["channels"]),
            (json!({"channels": ["ops", 1], "after": "later"}), vec!["channels.1", "after"]),
            (
                json!({"channels": ["ops"], "severities": ["grave"], "causes": ["missed", "bored", 1], "to": "x"}),
                vec!["severities.0", "causes.1", "causes.2", "to"],
            ),
            (json!({"channels": ["ops"], "name": "other", "declared_in": "f"}), vec!["name", "declared_in"]),
            (json!({"channels": ["ops"], "severities": "critical"}), vec!["severities"]),
        ] {
            let errors = route_from_json(&value, "night").unwrap_err();
            let named: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(named, fields, "{value}");
        }
    }
}
