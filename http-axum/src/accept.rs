//! Which form of an answer a client prefers, by its `Accept` header.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The place of the preferred one among `offers` (such as `text/markdown`), of which the first is preferred among equals;
/// `None` where the client takes none of them.
pub(crate) fn preferred(headers: &HeaderMap, offers: &[&str]) -> Option<usize> {
    let texts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = texts.iter().flat_map(|text| text.split(',')).filter_map(Range::read).collect();
    if ranges.is_empty() {
        return Some(0);
    }
    let weights = offers.iter().map(|offer| weight(&ranges, offer));
    let mut best = None;
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0) {
        if best.is_none_or(|(_, most)| weight > most) {
            best = Some((index, weight));
        }
    }
    best.map(|(index, _)| index)
}

/// The weight that the most exact matching range gives to an offer, in thousandths.
fn weight(ranges: &[Range<'_>], offer: &str) -> u16 {
    let matching = ranges.iter().filter_map(|range| Some((range.exactness(offer)?, range.weight)));
    matching.max_by_key(|(exactness, _)| *exactness).map_or(0, |(_, weight)| weight)
}

#[derive(Debug)]
struct Range<'a> {
    media: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| !media.is_empty())?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = quality.map_or(Some(1.0), |text| text.parse::<f32>().ok()).unwrap_or(0.0).clamp(0.0, 1.0);
        Some(Self { media, weight: (weight * 1000.0).round() as u16 })
    }

    fn exactness(&self, offer: &str) -> Option<u8> {
        let family = offer.split('/').next().unwrap_or_default();
        if self.media.eq_ignore_ascii_case(offer) {
            Some(2)
        } else if self.media.strip_suffix("/*").is_some_and(|start| start.eq_ignore_ascii_case(family)) {
            Some(1)
        } else {
            (self.media == "*/*" || self.media == "*").then_some(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_form_is_chosen() {
        for (accept, chosen) in [
            ("", Some(0)),
            ("*/*", Some(0)),
            ("application/json", Some(0)),
            ("text/markdown", Some(1)),
            ("TEXT/Markdown; charset=utf-8", Some(1)),
            ("text/*", Some(1)),
            ("application/json;q=0.5, text/markdown", Some(1)),
            ("application/json, text/markdown", Some(0)),
            ("text/html, */*;q=0.1", Some(0)),
            ("application/json;q=0, */*", Some(1)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("application/json;q=often", None),
            ("image/*, text/plain", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(preferred(&headers, &["application/json", "text/markdown"]), chosen, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new(), &["application/json", "text/markdown"]), Some(0));
    }
}
