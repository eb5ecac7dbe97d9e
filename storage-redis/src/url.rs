//! Where the Redis is, as a URL.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, RedisConnectionInfo};

/// The URL of a Redis is not one. The message repeats no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisUrlError(String);

impl RedisUrlError {
    pub(crate) const fn new(message: String) -> Self {
        Self(message)
    }
}

const FORMS: &str = "write redis://[user:password@]host[:port][/database], the same with rediss:// for TLS, \
                     redis+sentinel://host:port,host:port/name-of-the-primary, or redis+cluster://host:port,host:port";

/// One of the ways in which Redis runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// One server, perhaps with replicas that nobody promotes.
    Single,
    /// A set of servers of which sentinels know the primary, by this name.
    Sentinel {
        primary: String,
        /// How to log in to the sentinels themselves.
        username: Option<String>,
        password: Option<String>,
    },
    /// A Redis Cluster, of which these are some nodes.
    Cluster,
}

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl {
    pub(crate) kind: Kind,
    pub(crate) tls: bool,
    /// Hosts and ports: one, or those of sentinels or nodes.
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: i64,
    /// What stands behind the question mark.
    pub(crate) query: HashMap<String, String>,
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisUrl").field("kind", &self.kind).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl RedisUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(RedisUrlError::new(format!("this is not the URL of a Redis; {FORMS}")));
        };
        let (family, tls) = match scheme {
            "redis" => ("single", false),
            "rediss" => ("single", true),
            "redis+sentinel" => ("sentinel", false),
            "redis+sentinels" => ("sentinel", true),
            "redis+cluster" => ("cluster", false),
            "redis+clusters" => ("cluster", true),
            other => return Err(RedisUrlError::new(format!("`{other}:` is not the scheme of a Redis; {FORMS}"))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut query = parse_query(query)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let (username, password) = login.map_or(Ok((None, None)), parse_login)?;
        let default_port = if family == "sentinel" { 26379 } else { 6379 };
        let hosts = hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<Vec<_>, _>>()?;
        if family == "single" && hosts.len() > 1 {
            return Err(RedisUrlError::new(format!("`{scheme}:` has one host, and this has {}; {FORMS}", hosts.len())));
        }
        let (kind, database) = match family {
            "sentinel" => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                if primary.is_empty() {
                    let message = format!("behind the sentinels must stand `/` and the name of the primary; {FORMS}");
                    return Err(RedisUrlError::new(message));
                }
                let (username, password) = (query.remove("sentinel_username"), query.remove("sentinel_password"));
                (Kind::Sentinel { primary: decode(primary)?, username, password }, database)
            }
            "cluster" if !matches!(path, "" | "0") => {
                return Err(RedisUrlError::new(format!("a Redis Cluster has no databases, and this names `{path}`")));
            }
            "cluster" => (Kind::Cluster, ""),
            _ => (Kind::Single, path),
        };
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        let database =
            database.map_err(|_| RedisUrlError::new(format!("the database is a number, and not `{path}`")))?;
        Ok(Self { kind, tls, hosts, username, password, database, query })
    }

    pub(crate) fn addresses(&self) -> Vec<ConnectionAddr> {
        let address = |(host, port): &(String, u16)| match self.tls {
            true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host.clone(), *port),
        };
        self.hosts.iter().map(address).collect()
    }

    /// How to log in to servers that keep data.
    pub(crate) fn login(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(self.database);
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }

    /// For people: without login and query.
    pub(crate) fn shown(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let (name, behind) = match &self.kind {
            Kind::Single if self.database != 0 => ("redis", format!("/{}", self.database)),
            Kind::Single => ("redis", String::new()),
            Kind::Sentinel { primary, .. } => ("redis+sentinel", format!("/{primary}")),
            Kind::Cluster => ("redis+cluster", String::new()),
        };
        format!("{name}{}://{}{behind}", if self.tls { "s" } else { "" }, hosts.join(","))
    }
}

fn decode(text: &str) -> Result<String, RedisUrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| RedisUrlError::new("a part of the URL is not UTF-8 behind its %".to_owned()))
}

/// `user:password`, `:password` or `user`.
fn parse_login(login: &str) -> Result<(Option<String>, Option<String>), RedisUrlError> {
    let (username, password) = login.split_once(':').map_or((login, None), |(user, rest)| (user, Some(rest)));
    let username = if username.is_empty() { None } else { Some(decode(username)?) };
    Ok((username, password.map(decode).transpose()?))
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16), RedisUrlError> {
    // An IPv6 address stands in brackets.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(RedisUrlError::new(format!("a host is missing; {FORMS}")));
    }
    let port = port.map_or(Ok(default_port), str::parse);
    let port = port.map_err(|_| RedisUrlError::new(format!("the port of `{host}` is not a number from 1 to 65535")))?;
    Ok((host.to_owned(), port))
}

fn parse_query(query: &str) -> Result<HashMap<String, String>, RedisUrlError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        let url = RedisUrl::parse("rediss://us%40er:p%3Aw@r.example:7000/3?prefix=a").unwrap();
        assert_eq!((url.kind.clone(), url.tls, url.database), (Kind::Single, true, 3));
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("us@er"), Some("p:w")));
        assert_eq!(url.query["prefix"], "a");
        assert_eq!(url.shown(), "rediss://r.example:7000/3");
        let url = RedisUrl::parse("redis+sentinel://:secret@a,b:1,[::1]:2/main/1?sentinel_password=x").unwrap();
        assert_eq!(url.hosts, [("a".to_owned(), 26379), ("b".to_owned(), 1), ("::1".to_owned(), 2)]);
        let Kind::Sentinel { primary, password, .. } = &url.kind else { panic!("{:?}", url.kind) };
        assert_eq!((primary.as_str(), password.as_deref(), url.database), ("main", Some("x"), 1));
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (None, Some("secret")));
        let url = RedisUrl::parse("redis+clusters://a:1,b:2").unwrap();
        assert_eq!((url.kind.clone(), url.tls, url.hosts.len()), (Kind::Cluster, true, 2));
        assert_eq!(url.shown(), "redis+clusters://a:1,b:2");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, part) in [
            ("localhost:6379", "not the URL"),
            ("http://u:secret@h", "`http:`"),
            ("redis://u:secret@", "a host is missing"),
            ("redis://u:secret@a,b", "one host, and this has 2"),
            ("redis://u:secret@a:port", "the port of `a`"),
            ("redis://u:secret@a/first", "`first`"),
            ("redis+sentinel://u:secret@a", "name of the primary"),
            ("redis+cluster://u:secret@a/3", "no databases"),
        ] {
            let message = RedisUrl::parse(text).unwrap_err().to_string();
            assert!(message.contains(part) && !message.contains("secret"), "{text}: {message}");
        }
        assert!(!format!("{:?}", RedisUrl::parse("redis://u:secret@a").unwrap()).contains("secret"));
    }
}
