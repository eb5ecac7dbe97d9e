//! The report as Markdown. What jobs and people sent stays text, whatever it holds.

use std::fmt::Write as _;

use heartbeat_engine::{Incident, describe_duration};

use super::{LeftOut, Report};
use crate::query::cut;

/// Bytes of one text that are shown.
const TEXT_BYTES_MAX: usize = 2_000;

/// The report as GitHub-flavoured Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let name = report.record.as_ref().map(|record| record.spec().name.as_str());
    let name = name.or(report.told_monitor().map(|monitor| monitor.name.as_str())).map(escape);
    let name = name.unwrap_or_else(|| format!("monitor {}", report.incident.monitor));
    let _ = write!(out, "# Incident of {name}\n\n| | |\n| --- | --- |\n");
    for (what, text) in facts(report) {
        let _ = writeln!(out, "| {what} | {text} |");
    }
    out.push_str("\n## What happened\n\n");
    for entry in &report.timeline {
        let _ = writeln!(out, "- **{}** {}", entry.at, escape(&report.text(&entry.what)));
    }
    let LeftOut { heartbeats, changes, notifications } = report.left_out;
    if heartbeats + changes + notifications > 0 {
        let _ = write!(
            out,
            "\nLeft out in the middle: {heartbeats} heartbeats, {changes} changes of state, {notifications} messages.\n"
        );
    }
    let _ = write!(out, "\nMade at {} from incident `{}`.\n", report.at, report.incident.id);
    out
}

/// The rows of the table at the top.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let Incident { opened_at, detected_at, closed_at, closing, cause, detail, acknowledged, held_by, .. } =
        &report.incident;
    let mut facts = Vec::new();
    facts.push(match (&report.record, report.told_monitor()) {
        (Some(record), _) => ("Monitor", format!("`{}`, severity {}", record.spec().slug, record.spec().severity)),
        (None, Some(monitor)) => {
            ("Monitor", format!("`{}`, severity {}, removed since", monitor.slug, monitor.severity))
        }
        (None, None) => ("Monitor", format!("`{}`, removed since", report.incident.monitor)),
    });
    let colon = if detail.is_empty() { "" } else { ": " };
    facts.push(("Cause", format!("{cause}{colon}{}", escape(detail))));
    facts.push(("Opened", opened_at.to_string()));
    let after = |at| describe_duration(report.after_opening(at));
    facts.push(("Detected", format!("{detected_at}, after {}", after(*detected_at))));
    facts.push((
        "Acknowledged",
        acknowledged.as_ref().map_or_else(
            || "by nobody".to_owned(),
            |by| format!("{} by {}, after {}", by.at, escape(&by.by), after(by.at)),
        ),
    ));
    let lasted = describe_duration(report.lasted());
    facts.push((
        "Closed",
        match (closed_at, closing) {
            (Some(at), Some(closing)) => format!("{at}, {closing}, after {lasted}", closing = closing.name()),
            (Some(at), None) => format!("{at}, after {lasted}"),
            (None, _) => format!("not yet; open for {lasted}"),
        },
    ));
    if !held_by.is_empty() {
        let names: Vec<_> = held_by.iter().map(|slug| escape(slug)).collect();
        facts.push(("Held back by", names.join(", ")));
    }
    facts
}

/// A text as Markdown that shows exactly this text, on one line: no markup, link, table cell or HTML comes of it.
fn escape(text: &str) -> String {
    let shown = cut(text.trim(), TEXT_BYTES_MAX);
    let mut out = String::with_capacity(shown.len() + 16);
    let mut rest = shown.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push_str(" ⏎ "),
            '\t' => out.push(' '),
            c if c.is_control() || turns_direction(c) => out.push('\u{fffd}'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '@' | '$' | '!' | '#' => {
                out.push('\\');
                out.push(c);
            }
            // Some renderers make links of bare addresses.
            ':' if rest.peek() == Some(&'/') => out.push_str("\\:"),
            '.' if ends_with_www(&out) => out.push_str("\\."),
            c => out.push(c),
        }
    }
    if shown.len() < text.trim().len() {
        out.push_str(" …");
    }
    out
}

fn ends_with_www(text: &str) -> bool {
    text.as_bytes().last_chunk::<3>().is_some_and(|last| last.eq_ignore_ascii_case(b"www"))
}

/// Characters that make text run the other way, and so could make it show something else than it says.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jobs_sent_stays_text() {
        for (text, shown) in [
            ("disk full (97 %), see log.", "disk full (97 %), see log."),
            ("a|b", "a\\|b"),
            ("`rm -rf`", "\\`rm -rf\\`"),
            ("a\\|b", "a\\\\\\|b"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
            ("one\r\ntwo\nthree", "one ⏎ two ⏎ three"),
            ("x\n\n# Heading\n- item", "x ⏎  ⏎ \\# Heading ⏎ - item"),
            ("![a](http://evil/x.png)", "\\!\\[a\\](http\\://evil/x.png)"),
            ("www.evil.example @all", "www\\.evil.example \\@all"),
            ("\u{202e}gpj.exe\u{7}", "\u{fffd}gpj.exe\u{fffd}"),
            ("**bold** _it_ ~~no~~", "\\*\\*bold\\*\\* \\_it\\_ \\~\\~no\\~\\~"),
            ("größer", "größer"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let shown = escape(&"ü".repeat(1_500));
        assert_eq!(shown, format!("{} …", "ü".repeat(1_000)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_leaves_its_line(text in "\\PC*|[\\x00-\\x7f\u{80}-\u{9f}\u{2028}\u{2029}]*") {
            let shown = escape(&text);
            let breaks_out = |c: char| c.is_control() || ['<', '>', '\u{2028}', '\u{2029}'].contains(&c);
            proptest::prop_assert!(!shown.contains(breaks_out));
            let mut escaped = false;
            for c in shown.chars() {
                proptest::prop_assert!(escaped || !['|', '`', '*', '[', ']'].contains(&c), "{shown:?}");
                escaped = c == '\\' && !escaped;
            }
        }
    }
}
