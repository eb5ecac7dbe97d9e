//! What a settings file may say.

use heartbeat_engine::ChannelSpec;
use serde_json::{Map, Value};

use crate::toml_document::{FileFault, TomlDocument};

/// What a settings file says, each part with its place.
#[derive(Debug)]
pub(crate) struct FileSettings {
    pub(crate) document: TomlDocument,
    pub(crate) listen: Option<String>,
    pub(crate) public_url: Option<String>,
    pub(crate) storage: Option<String>,
    pub(crate) lease_ttl: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) channels: Vec<DeclaredChannel>,
    pub(crate) monitors: Vec<DeclaredMonitor>,
    pub(crate) maintenance: Vec<DeclaredPolicy>,
    pub(crate) routes: Vec<DeclaredPolicy>,
    pub(crate) ping_body_limit: Option<usize>,
    pub(crate) pings_per_minute: Option<u32>,
    pub(crate) self_channels: Vec<String>,
    pub(crate) ping_url: Option<String>,
}

/// A channel that the file declares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeclaredChannel {
    /// Where it stands: `channel.0`.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) spec: ChannelSpec,
}

/// A monitor that the file declares, in the form of the API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeclaredMonitor {
    /// Where it stands: `monitor.0`.
    pub(crate) path: String,
    pub(crate) wish: Value,
}

/// A maintenance window or a route that the file declares, in the form of the API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeclaredPolicy {
    /// Where it stands: `route.0`.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) wish: Value,
}

const KEYS: [&str; 13] = [
    "listen",
    "public_url",
    "storage",
    "lease_ttl",
    "timezone",
    "allowed_hosts",
    "ping_body_limit",
    "pings_per_minute",
    "[[channel]]",
    "[[route]]",
    "[[monitor]]",
    "[[maintenance]]",
    "[self]",
];
/// A page of history may hold the bodies of a thousand heartbeats.
const PING_BODY_LIMIT_MAX: usize = 100_000;
/// One a microsecond.
const PINGS_PER_MINUTE_MAX: usize = 60_000_000;
const SELF_KEYS: [&str; 2] = ["channels", "ping_url"];

impl FileSettings {
    /// Reads the settings of a file; the first fault in the order of lines ends it.
    pub(crate) fn read(document: TomlDocument) -> Result<Self, FileFault> {
        known_keys(&document, document.root(), "", &KEYS)?;
        let watcher = match document.root().get("self") {
            None => Map::new(),
            Some(Value::Object(table)) => table.clone(),
            Some(_) => return Err(document.fault("self", "must be a table: write [self]")),
        };
        known_keys(&document, &watcher, "self.", &SELF_KEYS)?;
        let top = Section { document: &document, values: document.root(), prefix: "" };
        let own = Section { document: &document, values: &watcher, prefix: "self." };
        let (listen, public_url, storage) = (top.text("listen")?, top.text("public_url")?, top.text("storage")?);
        let lease_ttl = top.text("lease_ttl")?;
        let ping_body_limit = top.number("ping_body_limit", PING_BODY_LIMIT_MAX)?;
        let pings_per_minute = top.number("pings_per_minute", PINGS_PER_MINUTE_MAX)?;
        let pings_per_minute = pings_per_minute.and_then(|number| u32::try_from(number).ok());
        let (timezone, allowed_hosts) = (top.text("timezone")?, top.texts("allowed_hosts")?);
        let (self_channels, ping_url) = (own.texts("channels")?, own.text("ping_url")?);
        let channels = top.tables("channel")?.map(|(path, table)| channel(&document, path, table));
        let channels = channels.collect::<Result<Vec<_>, _>>()?;
        for (index, channel) in channels.iter().enumerate() {
            name_is_right(&document, &channel.path, &channel.name, "channel")?;
            if channel.spec.fallback.as_ref() == Some(&channel.name) {
                let path = format!("{}.fallback", channel.path);
                return Err(document.fault(&path, "a channel cannot be its own fallback"));
            }
            let before = channels[..index].iter().map(|other| (other.path.as_str(), other.name.as_str()));
            name_is_new(&document, before, &channel.path, &channel.name)?;
        }
        let maintenance = policies(&document, &top, "maintenance", "patch-day")?;
        let routes = policies(&document, &top, "route", "night-watch")?;
        let monitors = top.tables("monitor")?;
        let monitors = monitors.map(|(path, table)| DeclaredMonitor { path, wish: Value::Object(table.clone()) });
        let monitors = monitors.collect();
        Ok(Self {
            document,
            listen,
            public_url,
            storage,
            lease_ttl,
            timezone,
            allowed_hosts,
            channels,
            monitors,
            maintenance,
            routes,
            ping_body_limit,
            pings_per_minute,
            self_channels,
            ping_url,
        })
    }
}

fn channel(document: &TomlDocument, path: String, table: &Map<String, Value>) -> Result<DeclaredChannel, FileFault> {
    let prefix = format!("{path}.");
    let section = Section { document, values: table, prefix: &prefix };
    let name = section.required_text("name", "ops")?;
    let kind = section.required_text("kind", "webhook")?;
    let fallback = section.text("fallback")?;
    let grouping = heartbeat_http::grouping_from_json(&Value::Object(table.clone())).map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(|| section.fault("burst", "is wrong"), |error| section.fault(&error.field, error.message))
    })?;
    let mut settings = table.clone();
    for key in ["name", "kind", "fallback", "burst", "group_wait"] {
        settings.remove(key);
    }
    let declared_in = Some(document.file_name());
    Ok(DeclaredChannel {
        path,
        name,
        spec: ChannelSpec { kind, settings: Value::Object(settings), grouping, fallback, declared_in },
    })
}

/// The maintenance windows or routes, each with a name of its own.
fn policies(
    document: &TomlDocument,
    top: &Section<'_>,
    key: &'static str,
    example: &str,
) -> Result<Vec<DeclaredPolicy>, FileFault> {
    let mut found: Vec<DeclaredPolicy> = Vec::new();
    for (path, table) in top.tables(key)? {
        let prefix = format!("{path}.");
        let section = Section { document, values: table, prefix: &prefix };
        let name = section.required_text("name", example)?;
        name_is_right(document, &path, &name, key)?;
        let before = found.iter().map(|other| (other.path.as_str(), other.name.as_str()));
        name_is_new(document, before, &path, &name)?;
        let mut wish = table.clone();
        wish.remove("name");
        found.push(DeclaredPolicy { path, name, wish: Value::Object(wish) });
    }
    Ok(found)
}

fn name_is_right(document: &TomlDocument, path: &str, name: &str, what: &str) -> Result<(), FileFault> {
    if (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    let message = format!("`{shown}` is not a {what} name: 1 to 100 of A-Z, a-z, 0-9, `-`, `_` and `.`");
    Err(document.fault(&format!("{path}.name"), message))
}

/// Refuses a name that one before it has.
fn name_is_new<'a>(
    document: &TomlDocument,
    mut before: impl Iterator<Item = (&'a str, &'a str)>,
    path: &str,
    name: &str,
) -> Result<(), FileFault> {
    let Some((first, _)) = before.find(|(_, other)| *other == name) else { return Ok(()) };
    let line = document.line(&format!("{first}.name"));
    Err(document.fault(&format!("{path}.name"), format!("`{name}` is declared already, on line {line}")))
}

fn known_keys(
    document: &TomlDocument,
    table: &Map<String, Value>,
    prefix: &str,
    known: &[&str],
) -> Result<(), FileFault> {
    let is_known = |key: &String| known.iter().any(|name| name.trim_matches(['[', ']']) == key);
    let unknown = table.keys().filter(|key| !is_known(key)).map(|key| format!("{prefix}{key}"));
    let Some(path) = unknown.min_by_key(|path| document.line(path)) else { return Ok(()) };
    let key = path.strip_prefix(prefix).unwrap_or(&path);
    let what = if table.get(key).is_some_and(is_section) { "section" } else { "setting" };
    Err(document.fault(&path, format!("there is no such {what}; there are {}", known.join(", "))))
}

fn is_section(value: &Value) -> bool {
    value.is_object() || value.as_array().is_some_and(|items| items.first().is_some_and(Value::is_object))
}

/// One table of the file and where it stands.
struct Section<'d> {
    document: &'d TomlDocument,
    values: &'d Map<String, Value>,
    prefix: &'d str,
}

impl<'d> Section<'d> {
    fn fault(&self, key: &str, message: impl Into<String>) -> FileFault {
        self.document.fault(&format!("{}{key}", self.prefix), message)
    }

    /// A text; an empty one counts as not given.
    fn text(&self, key: &str) -> Result<Option<String>, FileFault> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.fault(key, "must be a text between quotation marks")),
        }
    }

    fn required_text(&self, key: &str, example: &str) -> Result<String, FileFault> {
        let missing = || self.fault(key, format!("is missing; write for example {key} = \"{example}\""));
        self.text(key)?.ok_or_else(missing)
    }

    fn number(&self, key: &str, max: usize) -> Result<Option<usize>, FileFault> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| *number <= max);
        let wanted = || self.fault(key, format!("{value} is not a whole number from 0 to {max}"));
        number.map(Some).ok_or_else(wanted)
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, FileFault> {
        let wanted = "must be a list of texts, such as [\"ops\"]";
        match self.values.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let text = |(index, item): (usize, &Value)| {
                    item.as_str().map(str::to_owned).ok_or_else(|| self.fault(&format!("{key}.{index}"), wanted))
                };
                items.iter().enumerate().map(text).collect()
            }
            Some(_) => Err(self.fault(key, wanted)),
        }
    }

    fn tables(
        &self,
        key: &'static str,
    ) -> Result<impl Iterator<Item = (String, &'d Map<String, Value>)> + use<'d>, FileFault> {
        let wanted = || self.fault(key, format!("must be a list of tables: write [[{key}]] above each"));
        let items = match self.values.get(key) {
            None => &[][..],
            Some(Value::Array(items)) if items.iter().all(Value::is_object) => &items[..],
            Some(_) => return Err(wanted()),
        };
        Ok(items
            .iter()
            .enumerate()
            .filter_map(move |(index, item)| Some((format!("{key}.{index}"), item.as_object()?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FileSettings, String> {
        let document = TomlDocument::parse("heartbeat.toml", text).map_err(|fault| fault.to_string())?;
        FileSettings::read(document).map_err(|fault| fault.to_string())
    }

    #[test]
    fn reads_every_section() {
        let settings = read(
            r#"
            listen = "127.0.0.1:9000"
            allowed_hosts = ["a.example"]
            ping_body_limit = 20_000
            pings_per_minute = 0
            timezone = "Europe/Berlin"
            [[channel]]
            name = "ops"
            kind = "webhook"
            url = "https://example.org/hook"
            burst = 5
            group_wait = "0s"
            fallback = "mail"
            [self]
            channels = ["ops"]
            ping_url = ""
            [[monitor]]
            slug = "a"
            schedule = { every = "5m" }
            [[maintenance]]
            name = "move"
            all = true
            from = 2026-11-20T22:00:00Z
            to = 2026-11-21T00:00:00+01:00
            [[route]]
            name = "night"
            channels = ["ops"]
            "#,
        )
        .unwrap();
        assert_eq!(settings.listen.as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(settings.allowed_hosts, ["a.example"]);
        assert_eq!((settings.self_channels, settings.ping_url), (vec!["ops".to_owned()], None));
        assert_eq!(settings.channels[0].name, "ops");
        let spec = &settings.channels[0].spec;
        assert_eq!(spec.settings, serde_json::json!({"url": "https://example.org/hook"}));
        assert_eq!((spec.fallback.as_deref(), spec.declared_in.as_deref()), (Some("mail"), Some("heartbeat.toml")));
        let (window, route) = (&settings.maintenance[0], &settings.routes[0]);
        let times = serde_json::json!({"all": true, "from": "2026-11-20T22:00:00Z", "to": "2026-11-21T00:00:00+01:00"});
        assert_eq!((window.name.as_str(), window.path.as_str(), &window.wish), ("move", "maintenance.0", &times));
        assert_eq!((route.name.as_str(), &route.wish), ("night", &serde_json::json!({"channels": ["ops"]})));
        assert_eq!((settings.ping_body_limit, settings.pings_per_minute), (Some(20_000), Some(0)));
        assert_eq!(settings.monitors[0].wish, serde_json::json!({"slug": "a", "schedule": {"every": "5m"}}));
    }

    #[test]
    fn names_line_and_key_of_what_is_wrong() {
        let channel = "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\n";
        for (text, place, message) in [
            ("listen = \"a:1\"\nlisten_on = \"x\"\n", "line 2, listen_on", "no such setting; there are listen,"),
            ("\n[servre]\nlisten = \"x\"\n", "line 2, servre", "no such section"),
            ("[self]\nping = \"x\"\n", "line 2, [self] ping", "there are channels, ping_url"),
            ("listen = 8080\n", "line 1, listen", "quotation marks"),
            ("allowed_hosts = [\n\"a\",\n1]\n", "line 3, allowed_hosts.1", "list of texts"),
            ("[monitor]\nslug = \"a\"\n", "line 1, monitor", "write [[monitor]]"),
            ("[[channel]]\nkind = \"email\"\n", "line 1, [[channel]] name", "is missing"),
            (&format!("{channel}group_wait = \"soon\"\n"), "line 4, [[channel]] group_wait", "duration"),
            (&format!("{channel}burst = -1\n"), "line 4, [[channel]] burst", "a whole number"),
            ("ping_body_limit = 100_001\n", "line 1, ping_body_limit", "100001 is not a whole number from 0 to 100000"),
            ("pings_per_minute = 60_000_001\n", "line 1, pings_per_minute", "whole number from 0 to 60000000"),
            ("ping_body_limit = \"10 kB\"\n", "line 1, ping_body_limit", "whole number"),
            ("[[route]]\nchannels = [\"a\"]\n", "line 1, [[route]] name", "write for example name = \"night-watch\""),
            ("[[route]]\nname = \"a b\"\n", "line 2, [[route]] name", "`a b` is not a route name"),
            (
                "[[maintenance]]\nname = \"a\"\n[[maintenance]]\nname = \"a\"\n",
                "line 4, [[maintenance]] name",
                "declared already, on line 2",
            ),
            ("[maintenance]\nname = \"a\"\n", "line 1, maintenance", "write [[maintenance]]"),
            (&format!("{channel}{channel}"), "line 5, [[channel]] name", "declared already, on line 2"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.starts_with(&format!("heartbeat.toml, {place}: ")), "{text}: {fault}");
            assert!(fault.contains(message), "{text}: {fault}");
        }
    }

    #[test]
    fn channels_have_names_of_their_own() {
        for (text, place, message) in [
            ("name = \"o ps\"\nkind = \"email\"\n", "line 2, [[channel]] name", "`o ps` is not a channel name"),
            ("name = \"a\"\nkind = \"email\"\nfallback = \"a\"\n", "line 4, [[channel]] fallback", "its own fallback"),
        ] {
            let fault = read(&format!("[[channel]]\n{text}")).unwrap_err();
            assert!(fault.starts_with(&format!("heartbeat.toml, {place}: ")), "{fault}");
            assert!(fault.contains(message), "{fault}");
        }
    }
}
