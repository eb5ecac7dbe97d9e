//! What the server is told: defaults, the settings file, the environment and flags, each winning over the ones before.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use heartbeat_engine::{Zone, parse_duration};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::arguments::Arguments;
use crate::logging;
use crate::settings_file::{DeclaredChannel, DeclaredMonitor, DeclaredPolicy, FileSettings};
use crate::storage_url::StorageUrl;
use crate::toml_document::{FileFault, TomlDocument};

const ADMIN_KEY_CHARS_MIN: usize = 16;
const NODE_CHARS_MAX: usize = 100;

/// Everything that the server needs to know, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: String,
    pub(crate) storage: StorageUrl,
    /// How long a node's lease lasts where several share the storage.
    pub(crate) lease_ttl: Duration,
    pub(crate) public_url: Option<Url>,
    pub(crate) timezone: Zone,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) admin_key: Option<String>,
    pub(crate) log: EnvFilter,
    pub(crate) node: String,
    pub(crate) self_channels: Vec<String>,
    pub(crate) ping_url: Option<Url>,
    pub(crate) channels: Vec<DeclaredChannel>,
    pub(crate) monitors: Vec<DeclaredMonitor>,
    pub(crate) maintenance: Vec<DeclaredPolicy>,
    pub(crate) routes: Vec<DeclaredPolicy>,
    /// Bytes of a heartbeat's body that are kept, where the file says how many.
    pub(crate) ping_body_limit: Option<usize>,
    /// Heartbeats of one monitor that are taken per minute, where the file says how many; 0 takes all.
    pub(crate) pings_per_minute: Option<u32>,
    /// Whether `/noop` answers at once, which benchmarks compare heartbeats with.
    pub(crate) noop_route: bool,
    /// The file that declares them, for messages.
    pub(crate) document: Option<TomlDocument>,
}

/// The configuration is wrong: where, and what would be right. The exit status is 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigFault {
    /// In the file.
    #[error("{0}")]
    File(FileFault),
    /// In a flag or an environment variable.
    #[error("{given}: {message}")]
    Given {
        /// `--listen` or `HEARTBEAT_LISTEN`.
        given: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl From<FileFault> for ConfigFault {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}

/// Reads an environment variable; an empty one counts as not set.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Settings {
    /// Gathers the settings. `environment` reads a variable.
    pub(crate) fn gather(
        arguments: &Arguments,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigFault> {
        let config = arguments.config.clone().or_else(|| environment("HEARTBEAT_CONFIG").map(Into::into));
        let file = config.as_deref().map(read_file).transpose()?;
        Self::of(arguments, environment, file)
    }

    /// The same with what a file says, whatever file the arguments name.
    pub(crate) fn of(
        arguments: &Arguments,
        environment: impl Fn(&str) -> Option<String>,
        mut file: Option<FileSettings>,
    ) -> Result<Self, ConfigFault> {
        let environment = |name: &'static str| environment(name).map(|value| (Source::Given(name), value));
        let flag = |name: &'static str, value: &Option<String>| value.clone().map(|value| (Source::Given(name), value));
        let mut in_file = |key: &'static str, pick: fn(&mut FileSettings) -> Option<String>| {
            file.as_mut().and_then(pick).map(|value| (Source::File(key), value))
        };

        let listen = flag("--listen", &arguments.listen)
            .or_else(|| environment("HEARTBEAT_LISTEN"))
            .or_else(|| in_file("listen", |file| file.listen.take()));
        let storage = flag("--storage", &arguments.storage)
            .or_else(|| environment("HEARTBEAT_STORAGE"))
            .or_else(|| in_file("storage", |file| file.storage.take()));
        let lease_ttl =
            environment("HEARTBEAT_LEASE_TTL").or_else(|| in_file("lease_ttl", |file| file.lease_ttl.take()));
        let public_url =
            environment("HEARTBEAT_PUBLIC_URL").or_else(|| in_file("public_url", |file| file.public_url.take()));
        let timezone = in_file("timezone", |file| file.timezone.take());
        let ping_url = in_file("self.ping_url", |file| file.ping_url.take());
        let document = file.as_ref().map(|file| &file.document);

        Ok(Self {
            listen: parsed(document, listen, "127.0.0.1:8080", listen_address)?,
            storage: parsed(document, storage, "sqlite:heartbeat.db", StorageUrl::parse)?,
            lease_ttl: parsed(document, lease_ttl, "10s", lease_ttl_text)?,
            public_url: parsed_optional(document, public_url, web_url)?,
            timezone: parsed(document, timezone, "UTC", |name| Zone::named(name).map_err(|error| error.to_string()))?,
            admin_key: parsed_optional(document, environment("HEARTBEAT_ADMIN_KEY"), admin_key)?,
            log: parsed(document, environment("HEARTBEAT_LOG"), "info", logging::filter)?,
            node: parsed(document, environment("HEARTBEAT_NODE"), "heartbeat", node)?,
            ping_url: parsed_optional(document, ping_url, web_url)?,
            allowed_hosts: file.as_mut().map(|file| std::mem::take(&mut file.allowed_hosts)).unwrap_or_default(),
            self_channels: file.as_mut().map(|file| std::mem::take(&mut file.self_channels)).unwrap_or_default(),
            channels: file.as_mut().map(|file| std::mem::take(&mut file.channels)).unwrap_or_default(),
            monitors: file.as_mut().map(|file| std::mem::take(&mut file.monitors)).unwrap_or_default(),
            maintenance: file.as_mut().map(|file| std::mem::take(&mut file.maintenance)).unwrap_or_default(),
            routes: file.as_mut().map(|file| std::mem::take(&mut file.routes)).unwrap_or_default(),
            ping_body_limit: file.as_ref().and_then(|file| file.ping_body_limit),
            pings_per_minute: file.as_ref().and_then(|file| file.pings_per_minute),
            noop_route: arguments.noop_route,
            document: file.map(|file| file.document),
        })
    }

    /// Says that a declared value is wrong.
    pub(crate) fn fault(&self, path: &str, message: impl fmt::Display) -> ConfigFault {
        let message = message.to_string();
        match &self.document {
            Some(document) => document.fault(path, message).into(),
            None => ConfigFault::Given { given: "the configuration", message },
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Source {
    File(&'static str),
    Given(&'static str),
}

fn read_file(path: &Path) -> Result<FileSettings, FileFault> {
    FileSettings::read(TomlDocument::read(path)?)
}

fn parsed<T>(
    document: Option<&TomlDocument>,
    value: Option<(Source, String)>,
    default: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, ConfigFault> {
    let value = value.unwrap_or_else(|| (Source::Given("the default"), default.to_owned()));
    let (source, text) = value;
    parse(&text).map_err(|message| match (source, document) {
        (Source::File(path), Some(document)) => document.fault(path, message).into(),
        (Source::File(given) | Source::Given(given), _) => ConfigFault::Given { given, message },
    })
}

fn parsed_optional<T>(
    document: Option<&TomlDocument>,
    value: Option<(Source, String)>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigFault> {
    value.map(|value| parsed(document, Some(value), "", parse)).transpose()
}

fn listen_address(text: &str) -> Result<String, String> {
    let wanted = || format!("`{text}` is not an address; write for example 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080");
    let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_ipv6 || host.contains(char::is_whitespace) || port.parse::<u16>().is_err() {
        return Err(wanted());
    }
    Ok(text.to_owned())
}

fn lease_ttl_text(text: &str) -> Result<Duration, String> {
    let wanted = "it must be a duration from 1s to 5m, such as 10s";
    let ttl = parse_duration(text).map_err(|error| format!("`{text}`: {error}; {wanted}"))?;
    if (Duration::from_secs(1)..=Duration::from_secs(300)).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(format!("`{text}` is out of range; {wanted}"))
    }
}

fn web_url(text: &str) -> Result<Url, String> {
    let wanted = |why: &str| format!("`{text}` is not a URL such as https://heartbeat.example.org: {why}");
    let url = Url::parse(text).map_err(|error| wanted(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wanted("it must begin with http:// or https://"));
    }
    Ok(url)
}

/// The key itself is never repeated.
fn admin_key(text: &str) -> Result<String, String> {
    let chars = text.chars().count();
    if chars < ADMIN_KEY_CHARS_MIN {
        return Err(format!("has {chars} characters; it must have at least {ADMIN_KEY_CHARS_MIN}"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("has a blank or a control character; it could not be sent in a header".to_owned());
    }
    Ok(text.to_owned())
}

fn node(text: &str) -> Result<String, String> {
    if text.chars().count() > NODE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(format!("must have 1 to {NODE_CHARS_MAX} characters and no control character"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gather(file: Option<&str>, variables: &[(&str, &str)], flags: Arguments) -> Result<Settings, String> {
        let mut stored = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let mut arguments = flags;
        if let Some(text) = file {
            stored.write_all(text.as_bytes()).unwrap();
            arguments.config = Some(stored.path().to_owned());
        }
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::gather(&arguments, variable).map_err(|fault| fault.to_string())
    }

    #[test]
    fn defaults_then_file_then_environment_then_flags() {
        let listen = |file, variables: &[_], flag: Option<&str>| {
            let flags = Arguments { listen: flag.map(str::to_owned), ..Arguments::default() };
            gather(file, variables, flags).unwrap().listen
        };
        let file = Some("listen = \"127.0.0.1:1\"");
        let variables = [("HEARTBEAT_LISTEN", "127.0.0.1:2")];
        assert_eq!(listen(None, &[], None), "127.0.0.1:8080");
        assert_eq!(listen(file, &[], None), "127.0.0.1:1");
        assert_eq!(listen(file, &variables, None), "127.0.0.1:2");
        assert_eq!(listen(file, &variables, Some("127.0.0.1:3")), "127.0.0.1:3");
    }

    #[test]
    fn names_the_source_of_a_bad_value() {
        let fault = |file, variables: &[_]| gather(file, variables, Arguments::default()).unwrap_err();
        for (name, value, part) in [
            ("HEARTBEAT_LISTEN", "8080", "is not an address"),
            ("HEARTBEAT_LISTEN", "::1:8080x", "is not an address"),
            ("HEARTBEAT_STORAGE", "redis://h/x", "the database is a number"),
            ("HEARTBEAT_LEASE_TTL", "10ms", "from 1s to 5m"),
            ("HEARTBEAT_LEASE_TTL", "soon", "from 1s to 5m"),
            ("HEARTBEAT_ADMIN_KEY", "short", "at least 16"),
            ("HEARTBEAT_ADMIN_KEY", "with a blank in the middle", "blank"),
            ("HEARTBEAT_PUBLIC_URL", "example.org", "is not a URL"),
            ("HEARTBEAT_LOG", "heartbeat=loud", "is not a log filter"),
        ] {
            let message = fault(None, &[(name, value)]);
            assert!(message.starts_with(&format!("{name}: ")), "{message}");
            assert!(message.contains(part), "{message}");
        }
        for (text, place) in [
            ("\nlisten = \"x\"", ".toml, line 2, listen: "),
            ("timezone = \"Mars/Olympus\"", ".toml, line 1, timezone: "),
            ("[self]\nping_url = \"ftp://x\"", ".toml, line 2, [self] ping_url: "),
        ] {
            let message = fault(Some(text), &[]);
            assert!(message.contains(place), "{message}");
        }
        let missing = Arguments { config: Some("no/such/file.toml".into()), ..Arguments::default() };
        let message = gather(None, &[], missing).unwrap_err();
        assert!(message.starts_with("no/such/file.toml: cannot be read: "), "{message}");
    }
}
