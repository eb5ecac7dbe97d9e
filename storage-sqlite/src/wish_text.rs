//! The texts of wishes: how a monitor is stored, all but its state.
//!
//! A wish is JSON. Nearly all have a short form, a list of what tells the monitor from others and, in an object, of the rest what
//! is not as it mostly is: `["token","slug","name","description",{"schedule":{"every":3600000},"grace":720000},1,0,0]`, with the
//! revision, when it was made and when it was edited last at the end. One with a rotated token, a secret, or texts that need escapes is
//! an object with all fields, as all of them were before schema 6.
//!
//! Most of a text is the same for many monitors: it is read once, and found again by its bytes. That is several times as fast as
//! reading each as any JSON, which is done with all others, and it lets monitors that are alike share memory.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use heartbeat_engine::{
    CommonTerms, LongText, Monitor, MonitorId, MonitorSpec, Rotating, Terms, Timestamp, Token, Version,
};
use serde::de::Error as _;
use serde_json::{Map, Value};

/// What a short form leaves out. It belongs to the form, and never changes with what is usual in the program.
const LEFT_OUT: &str = r#"{
    "early": 0, "max_runtime": null, "arm": "created", "failure_threshold": 1, "recovery_threshold": 1, "severity": "warning",
    "tags": [], "channels": [], "value_min": null, "value_max": null, "remind_every": null, "depends_on": [], "flap_limit": null,
    "require_signature": false, "declared_in": null
}"#;

/// The same, read.
static USUAL: LazyLock<Map<String, Value>> = LazyLock::new(|| serde_json::from_str(LEFT_OUT).unwrap_or_default());

/// So many texts are remembered, of a few hundred bytes each; the first ones, because nearly all wishes are read at the start.
const TEXTS_MAX: usize = 4096;

/// By a hash of the text. Of several with the same one, only the first is remembered.
type Texts = HashMap<u64, (Box<str>, Arc<Terms>)>;

/// What was read before.
#[derive(Debug, Default)]
pub(crate) struct WishTexts {
    texts: RwLock<Texts>,
    common: CommonTerms,
}

impl WishTexts {
    /// Reads the wish of a monitor.
    pub(crate) fn read(&self, id: MonitorId, text: &str) -> serde_json::Result<Monitor> {
        if text.starts_with('[') {
            let parts = Parts::of_short(text).ok_or_else(|| serde_json::Error::custom("it is no short form"))?;
            let terms = self.terms(parts.terms, true)?;
            return parts.monitor(id, terms).ok_or_else(|| serde_json::Error::custom("its token is none"));
        }
        if let Some(parts) = Parts::of_full(text)
            && let Some(monitor) = self.terms(parts.terms, false).ok().and_then(|terms| parts.monitor(id, terms))
        {
            return Ok(monitor);
        }
        let mut monitor: Monitor = serde_json::from_str(text)?;
        self.common.share(&mut monitor.spec);
        Ok(monitor)
    }

    /// The terms that these fields make, without the braces around them.
    fn terms(&self, fields: &str, short: bool) -> serde_json::Result<Arc<Terms>> {
        let hash = hash(fields.as_bytes());
        let texts = self.texts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, terms)) = texts.get(&hash).filter(|(text, _)| **text == *fields) {
            return Ok(Arc::clone(terms));
        }
        drop(texts);
        let mut all: Map<String, Value> = serde_json::from_str(&format!("{{{fields}}}"))?;
        if short {
            for (field, value) in USUAL.iter() {
                all.entry(field).or_insert_with(|| value.clone());
            }
        }
        let terms = self.common.shared(Arc::new(serde_json::from_value(Value::Object(all))?));
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < TEXTS_MAX {
            texts.entry(hash).or_insert_with(|| (fields.into(), Arc::clone(&terms)));
        }
        Ok(terms)
    }
}

/// The text of a wish.
pub(crate) fn write(monitor: &Monitor) -> serde_json::Result<String> {
    match short(monitor)? {
        Some(text) => Ok(text),
        None => serde_json::to_string(monitor),
    }
}

/// The short form, where it has one.
fn short(monitor: &Monitor) -> serde_json::Result<Option<String>> {
    let Monitor { token, signing_secret, spec, revision, created_at, updated_at, .. } = monitor;
    let token = token.current.reveal();
    let texts = [&*token, &spec.slug, &spec.name, &spec.description];
    let is_plain = |text: &&str| text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if monitor.token.retiring.is_some() || signing_secret.is_some() || !texts.iter().all(is_plain) {
        return Ok(None);
    }
    let mut text = String::with_capacity(256);
    for part in texts {
        text.extend([if text.is_empty() { "[\"" } else { ",\"" }, part, "\""]);
    }
    let Value::Object(mut terms) = serde_json::to_value(&*spec.terms)? else { return Ok(None) };
    terms.retain(|field, value| USUAL.get(field) != Some(value));
    let (created_at, updated_at) = (created_at.as_millis(), updated_at.as_millis());
    // Writing to a text cannot fail.
    let _ = write!(text, ",{},{},{created_at},{updated_at}]", Value::Object(terms), revision.0);
    Ok(Some(text))
}

/// A wish in pieces, while neither a token nor a secret is or was rotated, and without escapes in its texts.
struct Parts<'a> {
    token: &'a str,
    slug: &'a str,
    name: &'a str,
    description: &'a str,
    terms: &'a str,
    revision: u64,
    created_at: i64,
    updated_at: i64,
}

/// What stands in front of each piece, and behind the last one.
struct Form {
    token: &'static str,
    slug: &'static str,
    name: &'static str,
    description: &'static str,
    terms: &'static str,
    revision: &'static str,
    created_at: &'static str,
    updated_at: &'static str,
    end: &'static str,
}

const SHORT: Form = Form {
    token: "[",
    slug: ",",
    name: ",",
    description: ",",
    terms: ",{",
    revision: "},",
    created_at: ",",
    updated_at: ",",
    end: "]",
};

/// With all fields, as this program wrote it, from behind the id on.
const FULL: Form = Form {
    token: r#","token":{"current":"#,
    slug: r#","retiring":null},"signing_secret":null,"spec":{"slug":"#,
    name: r#","name":"#,
    description: r#","description":"#,
    terms: ",",
    revision: r#"},"revision":"#,
    created_at: r#","created_at":"#,
    updated_at: r#","updated_at":"#,
    end: "}",
};

impl<'a> Parts<'a> {
    fn of_short(text: &'a str) -> Option<Self> {
        Self::of(text, &SHORT)
    }

    fn of_full(text: &'a str) -> Option<Self> {
        let (_, rest) = plain(text.strip_prefix(r#"{"id":"#)?)?;
        Self::of(rest, &FULL)
    }

    fn of(text: &'a str, form: &Form) -> Option<Self> {
        let (token, rest) = plain(text.strip_prefix(form.token)?)?;
        let (slug, rest) = plain(rest.strip_prefix(form.slug)?)?;
        let (name, rest) = plain(rest.strip_prefix(form.name)?)?;
        let (description, rest) = plain(rest.strip_prefix(form.description)?)?;
        let (rest, updated_at) = last_number(rest.strip_suffix(form.end)?, form.updated_at)?;
        let (rest, created_at) = last_number(rest, form.created_at)?;
        let (rest, revision) = last_number(rest, form.revision)?;
        Some(Self {
            token,
            slug,
            name,
            description,
            terms: rest.strip_prefix(form.terms)?,
            revision: revision.parse().ok()?,
            created_at: created_at.parse().ok()?,
            updated_at: updated_at.parse().ok()?,
        })
    }

    fn monitor(&self, id: MonitorId, terms: Arc<Terms>) -> Option<Monitor> {
        let spec = MonitorSpec {
            slug: self.slug.into(),
            name: self.name.into(),
            description: LongText::from(self.description),
            terms,
        };
        Some(Monitor {
            id,
            token: Rotating::new(Token::new(self.token).ok()?),
            signing_secret: None,
            spec,
            revision: Version(self.revision),
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// A JSON text without escapes at the beginning, and what follows it.
fn plain(json: &str) -> Option<(&str, &str)> {
    let rest = json.strip_prefix('"')?;
    let end = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
    (rest.as_bytes()[end] == b'"').then(|| (&rest[..end], &rest[end + 1..]))
}

/// What is in front of the last field, whose value is a number, and the number.
fn last_number<'a>(json: &'a str, field: &str) -> Option<(&'a str, &'a str)> {
    let begin = json.bytes().rposition(|byte| byte != b'-' && !byte.is_ascii_digit())? + 1;
    Some((json.get(..begin)?.strip_suffix(field)?, &json[begin..]))
}

/// Of texts that differ in a few places. Whoever makes two with the same one has them read more slowly.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(bytes.len() as u64, |hash, word| {
        let product = u128::from(hash ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15_u128;
        (product >> 64) as u64 ^ product as u64
    })
}

#[cfg(test)]
mod tests {
    use heartbeat_engine::schedule::{Grace, Schedule};
    use heartbeat_engine::testing::fixtures::{full_record, record};

    use super::*;

    fn json(monitor: &Monitor) -> String {
        serde_json::to_string(monitor).unwrap()
    }

    fn plain_monitor(n: u64) -> Monitor {
        let mut monitor = (*record(n).monitor).clone();
        monitor.spec.description = "ü, and more".into();
        monitor.spec.tags = vec!["a \"quoted\" tag".to_owned(), r#"},"revision":7"#.to_owned()];
        monitor
    }

    /// Both forms that it may be stored in.
    fn both(monitor: &Monitor) -> [String; 2] {
        [json(monitor), write(monitor).unwrap()]
    }

    #[test]
    fn wishes_are_read_as_they_were_written() {
        let texts = WishTexts::default();
        for n in 1..20 {
            let mut escaped = plain_monitor(n);
            escaped.spec.name = "two\nlines".into();
            let mut rotated = plain_monitor(n);
            rotated.token = rotated.token.clone().rotated(Token::new("another-token").unwrap(), Timestamp::EPOCH);
            for monitor in [plain_monitor(n), (*full_record(n).monitor).clone(), escaped, rotated] {
                for text in both(&monitor) {
                    assert_eq!(texts.read(monitor.id, &text).unwrap(), monitor, "{text}");
                }
            }
        }
    }

    /// What is stored must be understood for ever, so also what is left out.
    #[test]
    fn a_short_form_leaves_out_what_is_usual() {
        let every = Schedule::every(std::time::Duration::from_secs(3600)).unwrap();
        let mut monitor = (*record(1).monitor).clone();
        let text = r#"["token-00000001","monitor-1","n","",{"grace":5000,"schedule":{"every":3600000}},1,2,3]"#;
        monitor.spec = MonitorSpec::new("monitor-1", every);
        monitor.spec.name = "n".into();
        monitor.spec.grace = Grace::Fixed(std::time::Duration::from_secs(5));
        (monitor.created_at, monitor.updated_at) = (Timestamp::from_millis(2), Timestamp::from_millis(3));
        assert_eq!(write(&monitor).unwrap(), text);
        assert_eq!(WishTexts::default().read(monitor.id, text).unwrap(), monitor);
    }

    #[test]
    fn those_that_are_alike_share_what_they_have_in_common() {
        let texts = WishTexts::default();
        let read = |monitor: &Monitor, text: &str| texts.read(monitor.id, text).unwrap().spec.terms;
        let [one, two] = [1, 2].map(plain_monitor);
        assert!(Parts::of_full(&json(&one)).is_some(), "it is written in another way than it is read: {}", json(&one));
        let shared = read(&one, &json(&one));
        for (monitor, text) in [(&two, json(&two)), (&one, write(&one).unwrap()), (&two, write(&two).unwrap())] {
            assert!(Arc::ptr_eq(&shared, &read(monitor, &text)), "{text}");
        }
        let mut rotated = plain_monitor(3);
        rotated.token = rotated.token.clone().rotated(Token::new("another-token").unwrap(), Timestamp::EPOCH);
        assert!(Arc::ptr_eq(&shared, &read(&rotated, &json(&rotated))));
    }

    #[test]
    fn few_texts_are_remembered() {
        let texts = WishTexts::default();
        let of = |n: usize| {
            let mut monitor = plain_monitor(n as u64 + 1);
            monitor.spec.tags = vec![format!("tag-{n}")];
            texts.read(monitor.id, &write(&monitor).unwrap()).unwrap()
        };
        let kept: Vec<_> = (0..TEXTS_MAX + 10).map(of).collect();
        assert!(texts.texts.read().unwrap().len() <= TEXTS_MAX);
        assert!(kept.iter().enumerate().all(|(n, monitor)| monitor.spec.tags == [format!("tag-{n}")]));
    }

    #[test]
    fn what_is_damaged_is_told() {
        let texts = WishTexts::default();
        let monitor = plain_monitor(1);
        for whole in both(&monitor) {
            let read = |text: &str| texts.read(monitor.id, text);
            assert!(read(&whole).is_ok());
            for end in 0..whole.len() {
                if let Some(cut) = whole.get(..end) {
                    assert!(read(cut).is_err(), "cut at {end}");
                }
            }
            for (right, wrong) in
                [("monitor-1", "monitor\u{1}1"), ("token-00000001", "token"), ("\"every\"", "\"ever\"")]
            {
                assert!(whole.contains(right) && read(&whole.replace(right, wrong)).is_err(), "{wrong:?}");
            }
        }
    }
}
