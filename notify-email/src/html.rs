//! The HTML part: one table, inline styles and no pictures, as mail programs need it.

use heartbeat_engine::{Notification, NotificationKind};
use maud::{DOCTYPE, html};

use crate::compose::{Facts, footer, word};

const BODY: &str = "margin:0;padding:24px 12px;background:#f3f4f6;font-family:Helvetica,Arial,sans-serif;color:#1f2937";
const CARD: &str = "width:100%;max-width:600px;background:#ffffff;border-collapse:collapse";
const LABEL: &str = "padding:4px 16px 4px 0;color:#6b7280;font-size:14px;white-space:nowrap;vertical-align:top";
const VALUE: &str = "padding:4px 0;font-size:14px;vertical-align:top;word-break:break-word";

/// The page; every text in it is escaped.
pub(crate) fn page(notification: &Notification, facts: &Facts) -> String {
    let colour = colour(notification.kind);
    let band = format!("padding:12px 24px;background:{colour};color:#ffffff;font-size:14px;font-weight:bold");
    let mut lines = notification.message.trim_end().lines();
    let first = lines.next().unwrap_or_default();
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
                            @for line in lines { br; span style="font-size:14px" { (line) } }
                        }
                    }
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

fn colour(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Down | NotificationKind::ChannelFailing => "#b91c1c",
        NotificationKind::Recovered => "#15803d",
        NotificationKind::WatcherOutage => "#b45309",
        _ => "#374151",
    }
}
