//! Reads the wishes of monitors, which are stored as JSON.
//!
//! Nearly all of them are written in the same way, and most of such a text is the same for many monitors: it is read once, and
//! found again by its bytes. That is several times as fast as reading each as any JSON, which is done with all others, and
//! it lets monitors that are alike share memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use heartbeat_engine::{CommonTerms, LongText, Monitor, MonitorSpec, Rotating, Terms, Timestamp, Token, Version};

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
    /// Reads a wish.
    pub(crate) fn read(&self, text: &str) -> serde_json::Result<Monitor> {
        if let Some(parts) = Parts::of(text)
            && let Some(monitor) = self.terms(parts.terms).and_then(|terms| parts.monitor(terms))
        {
            return Ok(monitor);
        }
        let mut monitor: Monitor = serde_json::from_str(text)?;
        self.common.share(&mut monitor.spec);
        Ok(monitor)
    }

    /// The terms that these fields make, without the braces around them; `None` when they do not.
    fn terms(&self, fields: &str) -> Option<Arc<Terms>> {
        let hash = hash(fields.as_bytes());
        let texts = self.texts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, terms)) = texts.get(&hash).filter(|(text, _)| **text == *fields) {
            return Some(Arc::clone(terms));
        }
        drop(texts);
        let terms: Arc<Terms> = Arc::new(serde_json::from_str(&format!("{{{fields}}}")).ok()?);
        let terms = self.common.shared(terms);
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < TEXTS_MAX {
            texts.entry(hash).or_insert_with(|| (fields.into(), Arc::clone(&terms)));
        }
        Some(terms)
    }
}

/// A wish as this program writes it, while neither a token nor a secret is or was rotated, and without escapes in its texts.
struct Parts<'a> {
    id: &'a str,
    token: &'a str,
    slug: &'a str,
    name: &'a str,
    description: &'a str,
    terms: &'a str,
    revision: u64,
    created_at: i64,
    updated_at: i64,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (id, rest) = plain(text.strip_prefix(r#"{"id":"#)?)?;
        let (token, rest) = plain(rest.strip_prefix(r#","token":{"current":"#)?)?;
        let rest = rest.strip_prefix(r#","retiring":null},"signing_secret":null,"spec":{"slug":"#)?;
        let (slug, rest) = plain(rest)?;
        let (name, rest) = plain(rest.strip_prefix(r#","name":"#)?)?;
        let (description, rest) = plain(rest.strip_prefix(r#","description":"#)?)?;
        let (rest, updated_at) = last_number(rest.strip_suffix('}')?, r#","updated_at":"#)?;
        let (rest, created_at) = last_number(rest, r#","created_at":"#)?;
        let (rest, revision) = last_number(rest, r#"},"revision":"#)?;
        let terms = rest.strip_prefix(',')?;
        Some(Self {
            id,
            token,
            slug,
            name,
            description,
            terms,
            revision: revision.parse().ok()?,
            created_at: created_at.parse().ok()?,
            updated_at: updated_at.parse().ok()?,
        })
    }

    fn monitor(&self, terms: Arc<Terms>) -> Option<Monitor> {
        let spec = MonitorSpec {
            slug: self.slug.into(),
            name: self.name.into(),
            description: LongText::from(self.description),
            terms,
        };
        Some(Monitor {
            id: self.id.parse().ok()?,
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

    #[test]
    fn wishes_are_read_as_any_json_is() {
        let texts = WishTexts::default();
        for n in 1..20 {
            let mut escaped = plain_monitor(n);
            escaped.spec.name = "two\nlines".into();
            for monitor in [plain_monitor(n), (*full_record(n).monitor).clone(), escaped] {
                assert_eq!(texts.read(&json(&monitor)).unwrap(), monitor);
            }
        }
    }

    #[test]
    fn those_that_are_alike_share_what_they_have_in_common() {
        let texts = WishTexts::default();
        let [one, two] = [1, 2].map(|n| texts.read(&json(&plain_monitor(n))).unwrap());
        assert!(Parts::of(&json(&one)).is_some(), "it is written in another way than it is read: {}", json(&one));
        assert!(Arc::ptr_eq(&one.spec.terms, &two.spec.terms));
        let mut rotated = plain_monitor(3);
        rotated.token = rotated.token.clone().rotated(Token::new("another-token").unwrap(), Timestamp::EPOCH);
        assert!(Arc::ptr_eq(&one.spec.terms, &texts.read(&json(&rotated)).unwrap().spec.terms));
    }

    #[test]
    fn few_texts_are_remembered() {
        let texts = WishTexts::default();
        let of = |n: usize| {
            let mut monitor = plain_monitor(n as u64 + 1);
            monitor.spec.tags = vec![format!("tag-{n}")];
            texts.read(&json(&monitor)).unwrap()
        };
        let kept: Vec<_> = (0..TEXTS_MAX + 10).map(of).collect();
        assert!(texts.texts.read().unwrap().len() <= TEXTS_MAX);
        assert!(kept.iter().enumerate().all(|(n, monitor)| monitor.spec.tags == [format!("tag-{n}")]));
    }

    #[test]
    fn what_is_damaged_is_told() {
        let texts = WishTexts::default();
        let whole = json(&plain_monitor(1));
        assert!(texts.read(&whole).is_ok());
        for end in 0..whole.len() {
            if let Some(cut) = whole.get(..end) {
                assert!(texts.read(cut).is_err(), "cut at {end}");
            }
        }
        for (right, wrong) in [("monitor-1", "monitor\u{1}1"), ("token-00000001", "token"), ("\"every\"", "\"ever\"")] {
            assert!(whole.contains(right) && texts.read(&whole.replace(right, wrong)).is_err(), "{wrong:?}");
        }
    }
}
