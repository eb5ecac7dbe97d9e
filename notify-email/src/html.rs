//! The HTML part: one table, inline styles and no pictures, as mail programs need it.

use heartbeat_engine::{Notification, NotificationKind};
use maud::{DOCTYPE, Markup, html};

use crate::compose::{Facts, footer};
use crate::digest::{List, headline, word};

const BODY: &str = "margin:0;padding:24px 12px;background:#f3f4f6;font-family:Helvetica,Arial,sans-serif;color:#1f2937";
const CARD: &str = "width:100%;max-width:600px;background:#ffffff;border-collapse:collapse";
const LABEL: &str = "padding:4px 16px 4px 0;color:#6b7280;font-size:14px;white-space:nowrap;vertical-align:top";
const WORD: &str = "padding:6px 16px 6px 0;border-top:1px solid #e5e7eb;font-size:14px;line-height:1.4;vertical-align:top;\
    font-weight:bold;white-space:nowrap";
const TOLD: &str = "width:100%;padding:6px 0;border-top:1px solid #e5e7eb;font-size:14px;line-height:1.4;vertical-align:top;\
    word-break:break-word";
const REST: &str = "padding:6px 0;border-top:1px solid #e5e7eb;font-size:14px;color:#6b7280";
const VALUE: &str = "padding:4px 0;font-size:14px;vertical-align:top;word-break:break-word";

/// The page; every text in it is escaped.
pub(crate) fn page(notification: &Notification, list: Option<&List>, facts: &Facts) -> String {
    let colour = colour(list.map_or(notification.kind, List::gravest));
    let band = format!("padding:12px 24px;background:{colour};color:#ffffff;font-size:14px;font-weight:bold");
    let first = headline(notification);
    // The further lines of a digest are what its list says better.
    let lines = notification.message.trim_end().lines().skip(1).filter(|_| list.is_none());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { (first) }
            }
            body style=(BODY) {
                table role="presentation" align="center" cellpadding="0" cellspacing="0" style=(CARD) {
                    tr { td style=(band) { (word(notification.kind).to_uppercase()) } }
                    tr {
                        td style="padding:20px 24px 4px;font-size:18px;line-height:1.4;word-break:break-word" {
                            (first)
                            @for line in lines { br; span style="font-size:14px;white-space:pre-wrap" { (line) } }
                        }
                    }
                    @if let Some(list) = list { (listed(list)) }
                    @if !facts.is_empty() {
                        tr {
                            td style="padding:12px 24px 20px" {
                                table role="presentation" cellpadding="0" cellspacing="0" style="border-collapse:collapse" {
                                    @for (label, value) in facts {
                                        tr { td style=(LABEL) { (label) } td style=(VALUE) { (value) } }
                                    }
                                }
                            }
                        }
                    }
                    tr {
                        td style="padding:12px 24px;border-top:1px solid #e5e7eb;color:#9ca3af;font-size:12px" {
                            (footer(notification))
                        }
                    }
                }
            }
        }
    }
    .into_string()
}

/// The messages of a digest, a row to each.
fn listed(list: &List) -> Markup {
    html! {
        tr {
            td style="padding:12px 24px 20px" {
                table role="presentation" cellpadding="0" cellspacing="0" style="width:100%;border-collapse:collapse" {
                    @for row in &list.rows {
                        tr {
                            td style=(format!("{WORD};color:{}", colour(row.kind))) { (word(row.kind)) }
                            // Name and message share a cell: on a telephone two columns more leave room for neither.
                            td style=(TOLD) {
                                @if !row.monitor.is_empty() { strong { (row.monitor) } br; }
                                span { (row.told) }
                            }
                        }
                    }
                    @if let Some(rest) = list.rest() {
                        tr { td colspan="2" style=(REST) { (rest) } }
                    }
                }
            }
        }
    }
}

fn colour(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Down
        | NotificationKind::Reminder
        | NotificationKind::Escalated
        | NotificationKind::ChannelFailing => "#b91c1c",
        NotificationKind::Recovered => "#15803d",
        NotificationKind::WatcherOutage | NotificationKind::Flapping => "#b45309",
        _ => "#374151",
    }
}
