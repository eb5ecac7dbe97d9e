//! Who calls: the key of a request and what it may do.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heartbeat_engine::{MonitorSpec, Record};

use crate::app::{App, AppState};
use crate::keys::{KeyHash, KeyRecord, Scope, check_form};
use crate::problem::Problem;

const NO_SUCH_KEY: &str = "there is no such key";
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Somebody with a valid key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    record: KeyRecord,
    /// Of the key that was presented; in an overlap it may be the one before that of the record.
    hash: KeyHash,
}

/// Why a caller has no valid key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AuthError {
    /// There is no key.
    Missing,
    /// There is one, and why it is not valid.
    Wrong(&'static str),
    /// It cannot be told.
    Unavailable(String),
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::unauthorized(
                "a key is needed: `Authorization: Bearer KEY`, `X-Api-Key: KEY`, or as the password of Basic",
            ),
            AuthError::Wrong(why) => Self::unauthorized(why),
            AuthError::Unavailable(why) => Self::unavailable(why),
        }
    }
}

impl Caller {
    /// The caller of a request, by `Authorization: Bearer`, `Basic` or `Token`, or `X-Api-Key`.
    pub(crate) async fn of(app: &App, headers: &HeaderMap) -> Result<Self, AuthError> {
        let text = presented(headers).ok_or(AuthError::Missing)?;
        Self::with_key(app, &text).await
    }

    /// The caller with this key.
    pub(crate) async fn with_key(app: &App, text: &str) -> Result<Self, AuthError> {
        let hash = KeyHash::of(text);
        match Self::with_hash(app, hash).await {
            Err(AuthError::Wrong(NO_SUCH_KEY)) if check_form(text) == Some(false) => {
                Err(AuthError::Wrong("the key is mistyped: its checksum does not match"))
            }
            answer => answer,
        }
    }

    /// The same caller as things stand now: keys are changed, removed, and expire.
    pub(crate) async fn again(&self, app: &App) -> Result<Self, AuthError> {
        Self::with_hash(app, self.hash).await
    }

    async fn with_hash(app: &App, hash: KeyHash) -> Result<Self, AuthError> {
        if app.admin_key.as_ref().is_some_and(|admin| admin.is(&hash)) {
            let record = KeyRecord::new("admin key of the settings", Scope::Admin, hash, app.engine.now());
            return Ok(Self { record, hash });
        }
        let found = app.keys.find(&hash).await.map_err(|error| AuthError::Unavailable(error.to_string()))?;
        let key = found.ok_or(AuthError::Wrong(NO_SUCH_KEY))?;
        if key.record.is_expired(app.engine.now()) {
            return Err(AuthError::Wrong("the key has expired"));
        }
        app.keys.note_use(&key);
        Ok(Self { record: key.record, hash })
    }

    /// The name of the key.
    pub(crate) fn name(&self) -> &str {
        &self.record.name
    }

    pub(crate) fn scope(&self) -> Scope {
        self.record.scope
    }

    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.record.scope >= scope
    }

    /// Whether it may deal with this monitor.
    pub(crate) fn covers(&self, monitor: &Record) -> bool {
        self.record.covers(monitor)
    }

    /// Whether it may deal with this monitor once that is as wished.
    pub(crate) fn covers_as(&self, monitor: &Record, wish: &MonitorSpec) -> bool {
        self.record.covers_as(monitor, wish)
    }

    /// Whether it may deal with every monitor that has these tags.
    pub(crate) fn covers_tags(&self, tags: &[String]) -> bool {
        self.record.covers_tags(tags)
    }

    /// Whether it is limited to some monitors or tags.
    pub(crate) fn is_limited(&self) -> bool {
        self.record.is_limited()
    }

    /// Refuses a key without the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let (needed, given) = (scope.name(), self.record.scope.name());
        Err(Problem::forbidden(format!("the scope `{needed}` is needed; this key has `{given}`")))
    }

    /// Refuses a key that is limited to some monitors.
    pub(crate) fn require_unlimited(&self) -> Result<(), Problem> {
        if !self.is_limited() {
            return Ok(());
        }
        Err(Problem::forbidden("this key is limited to some monitors; one without such limits is needed"))
    }

    /// Refuses a key that may not deal with this monitor.
    pub(crate) fn require_monitor(&self, monitor: &Record) -> Result<(), Problem> {
        if self.covers(monitor) {
            return Ok(());
        }
        Err(Problem::forbidden("this key is limited to other monitors"))
    }
}

macro_rules! caller_with_scope {
    ($(#[$doc:meta])* $name:ident, $scope:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(pub(crate) Caller);

        impl FromRequestParts<AppState> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
                let caller = Caller::of(app, &parts.headers).await?;
                caller.require($scope)?;
                Ok(Self(caller))
            }
        }
    };
}

caller_with_scope! {
    /// A caller that may read.
    CanRead, Scope::Read
}
caller_with_scope! {
    /// A caller that may change monitors and channels.
    CanManage, Scope::Manage
}
/// The caller may do everything.
#[derive(Debug)]
pub(crate) struct IsAdmin;

impl FromRequestParts<AppState> for IsAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        Caller::of(app, &parts.headers).await?.require(Scope::Admin)?;
        Ok(Self)
    }
}

/// The key that a request presents.
fn presented(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization =
        text(&AUTHORIZATION).and_then(|value| value.trim().split_once(' ')).and_then(|(scheme, rest)| {
            let rest = rest.trim();
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" | "token" => Some(rest.to_owned()),
                "basic" => basic_password(rest),
                _ => None,
            }
        });
    authorization.or_else(|| text(&X_API_KEY).map(|value| value.trim().to_owned())).filter(|key| !key.is_empty())
}

fn basic_password(credentials: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        presented(&headers)
    }

    #[test]
    fn a_key_is_found_where_it_may_stand() {
        assert_eq!(key(&[("authorization", "Bearer abc")]).as_deref(), Some("abc"));
        assert_eq!(key(&[("authorization", "bEARER  abc ")]).as_deref(), Some("abc"));
        assert_eq!(key(&[("authorization", "Token abc")]).as_deref(), Some("abc"));
        assert_eq!(key(&[("authorization", "Basic cm9vdDphOmI=")]).as_deref(), Some("a:b"));
        assert_eq!(key(&[("x-api-key", "abc")]).as_deref(), Some("abc"));
        assert_eq!(key(&[("authorization", "Digest x"), ("x-api-key", "abc")]).as_deref(), Some("abc"));
        for wrong in ["Bearer", "Bearer ", "Basic !!", "Basic cm9vdA==", "abc"] {
            assert_eq!(key(&[("authorization", wrong)]), None, "{wrong}");
        }
        assert_eq!(key(&[]), None);
    }
}
