//! The story of a world: what happened, in order, for people.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;

const LINES_KEPT: usize = 40_000;
/// How many lines before a broken promise are told, if nobody says otherwise.
const LINES_TOLD: usize = 150;

/// What a line is about; the world where nothing is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct About {
    pub(super) monitor: Option<usize>,
    pub(super) node: Option<usize>,
}

/// How long before the end everything is told.
const DULL_FOR: Duration = Duration::from_secs(45);

/// What only fills a story.
pub(super) const DULL: About = About { monitor: Some(usize::MAX), node: None };

#[derive(Debug)]
struct Line {
    at: Timestamp,
    about: About,
    text: String,
}

#[derive(Debug)]
pub(super) struct Story {
    told: bool,
    lines_told: usize,
    lines: VecDeque<Line>,
}

impl Story {
    /// A story is told only where somebody reads it: telling costs more than the rest.
    pub(super) fn new(told: bool, lines: Option<usize>) -> Self {
        Self { told, lines_told: lines.unwrap_or(LINES_TOLD), lines: VecDeque::new() }
    }

    pub(super) fn tell(&mut self, at: Timestamp, about: About, text: impl FnOnce() -> String) {
        if !self.told {
            return;
        }
        if self.lines.len() >= LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at, about, text: text() });
    }

    /// The last lines that concern the monitor, nodes and the world; all, where no monitor is named.
    pub(super) fn last(&self, monitor: Option<usize>) -> Vec<String> {
        let end = self.lines.back().map_or(Timestamp::MIN, |line| line.at);
        let concerns = |line: &&Line| match line.about.monitor {
            None => true,
            Some(usize::MAX) => end.since(line.at) < DULL_FOR,
            other => monitor.is_none() || other == monitor,
        };
        let mut last: Vec<String> = self.lines.iter().rev().filter(concerns).take(self.lines_told).map(show).collect();
        last.reverse();
        let plans =
            self.lines.iter().take_while(|line| line.text.contains("thresholds") || line.about == About::default());
        let mut told: Vec<String> = plans.filter(concerns).map(show).collect();
        told.append(&mut last);
        told
    }
}

fn show(line: &Line) -> String {
    let who = match (line.about.node, line.about.monitor) {
        (Some(node), Some(monitor)) => format!("node {node}, m{monitor}"),
        (Some(node), None) => format!("node {node}"),
        (None, Some(usize::MAX)) => "store".to_owned(),
        (None, Some(monitor)) => format!("m{monitor}"),
        (None, None) => "world".to_owned(),
    };
    let at = chrono::DateTime::from_timestamp_millis(line.at.as_millis());
    let at = at.map_or_else(|| line.at.to_string(), |at| at.format("%m-%d %H:%M:%S%.3f").to_string());
    format!("{at}  {who:<12} {}", line.text)
}
