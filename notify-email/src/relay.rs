//! The mail server as a URL names it: `smtps://user:password@host:465`.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heartbeat_engine::is_public_address;
use lettre::transport::smtp::authentication::Credentials;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

const PORT_IMPLICIT_TLS: u16 = 465;
const PORT_SUBMISSION: u16 = 587;
const PORT_PLAIN: u16 = 25;
const HIDDEN_CHARS_MIN: usize = 4;
const FORM: &str = "smtps://user:password@host:465 or smtp://host:25";

/// How the connection is kept secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    /// Not at all.
    Plain,
    /// STARTTLS where the server offers it.
    Opportunistic,
    /// STARTTLS or nothing.
    Required,
    /// TLS from the first byte.
    Implicit,
}

/// A mail server and how to speak to it.
pub(crate) struct Relay {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
    pub(crate) login: Option<Credentials>,
    /// The password in every form in which it goes over the wire, to be hidden in what the server says back.
    pub(crate) secrets: Vec<String>,
    /// The URL itself leads to a private place, which whoever set it may do.
    pub(crate) private_by_name: bool,
}

impl Relay {
    /// Reads the URL.
    ///
    /// # Errors
    /// With what is wrong and what would be right; never with the password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL such as {FORM}: {error}"))?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(format!("must have nothing after the port but ?starttls=…, as in {FORM}"));
        }
        let security = security(&url)?;
        let host = host(&url).ok_or_else(|| format!("names no host that can exist; it must be like {FORM}"))?;
        let login = login(&url)?;
        let secrets = login.as_ref().map(|(user, password)| secrets(user, password)).unwrap_or_default();
        let login = login.map(|(user, password)| Credentials::new(user, password));
        if login.is_some() && matches!(security, Security::Plain | Security::Opportunistic) && !is_this_machine(&host) {
            return Err("would send the password unencrypted: use smtps:// or ?starttls=required".to_owned());
        }
        let port = url.port().unwrap_or(match security {
            Security::Implicit => PORT_IMPLICIT_TLS,
            Security::Required => PORT_SUBMISSION,
            Security::Plain | Security::Opportunistic => PORT_PLAIN,
        });
        let private_by_name = is_private_by_name(&host);
        Ok(Self { host: bare(&host), port, security, login, secrets, private_by_name })
    }

    /// `host:port`, for people.
    pub(crate) fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The addresses of the host that may be connected to.
    pub(crate) async fn addresses(&self, allow_private: bool) -> Result<Vec<SocketAddr>, String> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|error| format!("`{}` cannot be resolved: {error}", self.host))?.collect();
        let allowed = allow_private || self.private_by_name;
        let usable: Vec<_> = found.iter().copied().filter(|a| allowed || is_public_address(a.ip())).collect();
        match (usable.is_empty(), found.first()) {
            (false, _) => Ok(usable),
            (true, Some(address)) => Err(format!(
                "`{}` resolves to the private address {}, which is refused unless allow_private is true",
                self.host,
                address.ip()
            )),
            (true, None) => Err(format!("`{}` resolves to no address", self.host)),
        }
    }
}

/// Whether the URL itself leads to a private address or to a name of the local network.
pub(crate) fn leads_to_private_place(text: &str) -> bool {
    Url::parse(text).ok().and_then(|url| host(&url)).is_some_and(|host| is_private_by_name(&host))
}

/// The URL to be shown to people: its credentials are `***`.
pub(crate) fn redacted(text: &str) -> String {
    // Anything else may be a password in an unexpected place.
    let Some(mut url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host())
    else {
        return "***".to_owned();
    };
    if url.username().is_empty() && url.password().is_none() {
        return url.into();
    }
    match url.set_username("***").and_then(|()| url.set_password(None)) {
        Ok(()) => url.into(),
        Err(()) => "***".to_owned(),
    }
}

fn security(url: &Url) -> Result<Security, String> {
    let mut security = match url.scheme() {
        "smtps" => Security::Implicit,
        "smtp" => Security::Plain,
        other => return Err(format!("begins with `{other}:`; it must begin with smtps: or smtp:")),
    };
    for (name, value) in url.query_pairs() {
        security = match (name.as_ref(), value.as_ref()) {
            ("starttls", _) if url.scheme() == "smtps" => {
                return Err("has ?starttls with smtps:, which is TLS from the start: use one of them".to_owned());
            }
            ("starttls", "required") => Security::Required,
            ("starttls", "opportunistic") => Security::Opportunistic,
            ("starttls", other) => {
                return Err(format!("has starttls=`{other}`; it can be `required` or `opportunistic`"));
            }
            (other, _) => return Err(format!("has the unknown parameter `{other}`; there is `starttls`")),
        };
    }
    Ok(security)
}

/// The host; the URL parser leaves numbers that mean an IPv4 address alone in URLs that are not of the web.
fn host(url: &Url) -> Option<Host> {
    let host = Host::parse(url.host_str()?).ok()?;
    (host != Host::Domain(String::new())).then_some(host)
}

fn login(url: &Url) -> Result<Option<(String, String)>, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let user = decode(url.username()).map_err(|_| "has a user that is not UTF-8 after percent-decoding")?;
    let password = url.password().map(decode).transpose();
    let password = password.map_err(|_| "has a password that is not UTF-8 after percent-decoding")?;
    match (user.is_empty(), password) {
        (true, None) => Ok(None),
        (false, Some(password)) => Ok(Some((user, password))),
        (false, None) => Err("has a user without a password: write user:password@".to_owned()),
        (true, Some(_)) => Err("has a password without a user: write user:password@".to_owned()),
    }
}

/// As it is, and as AUTH PLAIN and LOGIN send it. A very short password is not worth hiding: it stands in every other word.
fn secrets(user: &str, password: &str) -> Vec<String> {
    let plain = STANDARD.encode(format!("\0{user}\0{password}"));
    let forms = [plain, STANDARD.encode(password), password.to_owned()];
    forms.into_iter().filter(|form| form.chars().count() >= HIDDEN_CHARS_MIN).collect()
}

fn bare(host: &Host) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

fn address(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    }
}

fn is_this_machine(host: &Host) -> bool {
    match (host, address(host)) {
        (Host::Domain(name), _) => name == "localhost",
        (_, address) => address.is_some_and(|address| address.to_canonical().is_loopback()),
    }
}

fn is_private_by_name(host: &Host) -> bool {
    match (host, address(host)) {
        (Host::Domain(name), _) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let local = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];
            !name.contains('.') || local.iter().any(|end| name.ends_with(end))
        }
        (_, address) => address.is_some_and(|address| !is_public_address(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(text: &str) -> Relay {
        Relay::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn reads_every_form() {
        for (text, host, port, security) in [
            ("smtps://u:p@mail.example.org", "mail.example.org", 465, Security::Implicit),
            ("smtps://mail.example.org:2465/", "mail.example.org", 2465, Security::Implicit),
            ("smtp://mail.example.org", "mail.example.org", 25, Security::Plain),
            ("smtp://u:p@mail.example.org?starttls=required", "mail.example.org", 587, Security::Required),
            ("smtp://mail.example.org?starttls=opportunistic", "mail.example.org", 25, Security::Opportunistic),
            ("smtp://u:p@[::1]:1025", "::1", 1025, Security::Plain),
            ("smtp://u:p@0x7f.1:1025", "127.0.0.1", 1025, Security::Plain),
        ] {
            let relay = relay(text);
            assert_eq!((relay.host.as_str(), relay.port, relay.security), (host, port, security), "{text}");
        }
        assert_eq!(relay("smtp://[::1]:25").place(), "[::1]:25");
        let decoded = relay("smtps://ops%40example.org:p%3Aw@mail.example.org").login;
        assert_eq!(decoded, Some(Credentials::new("ops@example.org".to_owned(), "p:w".to_owned())));
    }

    #[test]
    fn says_what_is_wrong_without_the_password() {
        for (text, words) in [
            ("mail.example.org", "is not a URL"),
            ("http://u:s3cr3t@mail.example.org", "begins with `http:`"),
            ("smtp://u:s3cr3t@mail.example.org", "unencrypted"),
            ("smtp://u:s3cr3t@mail.example.org?starttls=opportunistic", "unencrypted"),
            ("smtps://u:s3cr3t@mail.example.org?starttls=required", "use one of them"),
            ("smtp://mail.example.org?starttls=maybe", "`required` or `opportunistic`"),
            ("smtp://mail.example.org?tls=1", "unknown parameter `tls`"),
            ("smtps://u:s3cr3t@mail.example.org/path", "nothing after the port"),
            ("smtps://u@mail.example.org", "user without a password"),
            ("smtps://:s3cr3t@mail.example.org", "password without a user"),
            ("smtp:", "names no host"),
            ("smtp://256.256.256.256", "names no host"),
        ] {
            let fault = Relay::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(fault.contains(words) && !fault.contains("s3cr3t"), "{text}: {fault}");
        }
    }

    #[test]
    fn knows_private_places() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "10.0.0.1",
            "0x7f.1",
            "[::ffff:10.0.0.1]",
            "localhost",
            "mailhog",
            "mx.lan",
            "mx.local.",
        ] {
            assert!(leads_to_private_place(&format!("smtp://{host}:1025")), "{host}");
        }
        for host in ["mail.example.org", "9.9.9.9", "[2606:4700:4700::1111]"] {
            assert!(!leads_to_private_place(&format!("smtp://{host}:1025")), "{host}");
        }
    }

    #[tokio::test]
    async fn a_private_address_behind_a_public_looking_name_needs_leave() {
        let mut relay = relay("smtp://localhost:25");
        assert!(relay.addresses(false).await.is_ok());
        relay.private_by_name = false;
        assert!(relay.addresses(false).await.unwrap_err().contains("allow_private"));
        assert!(relay.addresses(true).await.is_ok());
    }

    #[test]
    fn shows_no_credentials() {
        assert_eq!(redacted("smtps://u:p@mail.example.org:465"), "smtps://***@mail.example.org:465");
        assert_eq!(
            redacted("smtp://mail.example.org:25?starttls=required"),
            "smtp://mail.example.org:25?starttls=required"
        );
        for text in ["u:p", "u:p@mail.example.org", "smtp:u:p@mail.example.org", "mail.example.org"] {
            assert_eq!(redacted(text), "***");
        }
    }
}
