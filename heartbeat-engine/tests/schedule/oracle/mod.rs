//! Slow and plain second opinions: a walk over every minute of a local clock, and a reader of cron fields.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike, Weekday};
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

pub(crate) const DAY_S: i64 = 86_400;

/// Zones with unusual clock changes: half an hour, a skipped day, at midnight, a minute past it, by two hours.
const ZONES: [&str; 18] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Shanghai",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Chatham",
];

/// Changes in these years are the same in every version of the data since 2025b.
const FROM_S: i64 = 315_532_800;
const TO_S: i64 = 1_735_689_600;

/// Each zone with the instants at which its clock was changed from 1980 to 2024.
pub(crate) static CHANGES: LazyLock<Vec<(Tz, Vec<i64>)>> =
    LazyLock::new(|| ZONES.iter().map(|name| (name.parse().unwrap(), changes(name.parse().unwrap()))).collect());

pub(crate) fn offset_s(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

fn changes(zone: Tz) -> Vec<i64> {
    let differs = |from: i64, to: i64| offset_s(zone, from) != offset_s(zone, to);
    let days = (FROM_S..TO_S).step_by(86_400).filter(|day| differs(*day, day + DAY_S));
    days.map(|day| (day..day + DAY_S).step_by(60).find(|at| differs(at - 60, *at) && *at > day).unwrap_or(day + DAY_S))
        .collect()
}

/// Any zone of the list, and an instant within two days of one of its clock changes, half of them within two hours.
pub(crate) fn near_a_change() -> impl Strategy<Value = (Tz, i64)> {
    let shift = prop_oneof![-2 * DAY_S..2 * DAY_S, -7200..7200i64];
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), shift).prop_map(|(zone, change, shift)| {
        let (zone, changes) = zone.get(&CHANGES);
        (*zone, change.get(changes) + shift)
    })
}

/// What a local clock shows at each whole minute of some days; both in seconds.
pub(crate) struct Walk {
    shown: Vec<(i64, i64)>,
    first: BTreeMap<i64, i64>,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Walk {
    /// Six days around `from`, of which the first and the last only give context.
    pub(crate) fn around(zone: Tz, from: i64) -> Self {
        let start = (from - 2 * DAY_S).div_euclid(60) * 60;
        let shown: Vec<_> = (start..start + 8 * DAY_S).step_by(60).map(|at| (at, at + offset_s(zone, at))).collect();
        let mut first = BTreeMap::new();
        for (at, local) in &shown {
            first.entry(*local).or_insert(*at);
        }
        Self { shown, first, from, until: from + 4 * DAY_S }
    }

    /// The instants at which the clock shows a matching minute.
    pub(crate) fn shown(&self, matches: impl Fn(i64) -> bool) -> Vec<i64> {
        self.clip(self.shown.iter().filter(|(_, local)| matches(*local)).map(|(at, _)| *at).collect())
    }

    /// The instants of matching minutes that happen once each, `second` seconds after the minute: the first time,
    /// or after the gap.
    pub(crate) fn fixed(&self, second: i64, matches: impl Fn(i64) -> bool) -> Vec<i64> {
        let (low, high) = (self.shown[0].1, self.shown[self.shown.len() - 1].1);
        let minutes = (low..high).step_by(60).filter(|local| matches(*local));
        self.clip(
            minutes
                .map(|local| match self.first.get(&local) {
                    Some(at) => at + second,
                    None => self.shown.windows(2).find(|two| two[0].1 < local && local < two[1].1).unwrap()[1].0,
                })
                .collect(),
        )
    }

    fn clip(&self, times: BTreeSet<i64>) -> Vec<i64> {
        times.into_iter().filter(|at| *at > self.from && *at <= self.until).collect()
    }
}

/// A cron expression read in the plainest way.
pub(crate) struct PlainCron {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    months: BTreeSet<u32>,
    day: String,
    weekday: String,
    pub(crate) fixed: bool,
}

impl PlainCron {
    pub(crate) fn read(expression: &str) -> Self {
        let fields: Vec<_> = expression.split(' ').collect();
        Self {
            minutes: values(fields[0], 0, 59),
            hours: values(fields[1], 0, 23),
            months: values(fields[3], 1, 12),
            day: fields[2].to_owned(),
            weekday: fields[4].to_owned(),
            fixed: !fields[0].starts_with('*') && !fields[1].starts_with('*'),
        }
    }

    pub(crate) fn matches(&self, local: i64) -> bool {
        let local = naive(local);
        self.minutes.contains(&local.minute())
            && self.hours.contains(&local.hour())
            && self.months.contains(&local.month())
            && self.matches_day(local.date())
    }

    fn matches_day(&self, date: NaiveDate) -> bool {
        let by_day = self.day.split(',').any(|item| match item {
            "L" => is_last(date),
            "LW" => is_workday(date) && (1..=3).all(|n| !is_workday(date + Days::new(n)) || other_month(date, n)),
            _ => values(item, 1, 31).contains(&date.day()),
        });
        let weekday = date.weekday().num_days_from_sunday();
        let by_weekday = self.weekday.split(',').any(|item| {
            if let Some((day, nth)) = item.split_once('#') {
                return values(day, 0, 7).contains(&weekday) && (date.day() - 1) / 7 + 1 == nth.parse::<u32>().unwrap();
            }
            if let Some(day) = item.strip_suffix('L') {
                return values(day, 0, 7).iter().any(|day| day % 7 == weekday) && other_month(date, 7);
            }
            values(item, 0, 7).iter().any(|day| day % 7 == weekday)
        });
        match self.day.starts_with('*') || self.weekday.starts_with('*') {
            true => by_day && by_weekday,
            false => by_day || by_weekday,
        }
    }
}

pub(crate) fn naive(local: i64) -> NaiveDateTime {
    DateTime::from_timestamp(local, 0).unwrap().naive_utc()
}

fn is_last(date: NaiveDate) -> bool {
    other_month(date, 1)
}

fn is_workday(date: NaiveDate) -> bool {
    !matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

fn other_month(date: NaiveDate, days: u64) -> bool {
    (date + Days::new(days)).month() != date.month()
}

fn values(text: &str, low: u32, high: u32) -> BTreeSet<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap();
    text.split(',')
        .flat_map(|item| {
            let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(number(step))));
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (low, high),
                Some((from, to)) => (number(from), number(to)),
                None => (number(range), if step.is_some() { high } else { number(range) }),
            };
            (from..=to).filter(move |value| (value - from) % step.unwrap_or(1) == 0)
        })
        .collect()
}

/// The settings of every property here: `usual` cases unless `PROPTEST_CASES` says otherwise; failures are kept
/// beside the test.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let kept = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        cases: asked.unwrap_or(usual),
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

/// The text of a cron field without specials.
pub(crate) fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    let value = low..=high;
    let item = prop_oneof![
        4 => value.clone().prop_map(|a| a.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), value.clone(), 1..9u32).prop_map(|(a, b, n)| format!("{}-{}/{n}", a.min(b), a.max(b))),
        1 => (value, 1..20u32).prop_map(|(a, n)| format!("{a}/{n}")),
    ];
    prop_oneof![
        4 => Just("*".to_owned()),
        2 => (1..20u32).prop_map(|n| format!("*/{n}")),
        6 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

/// Cron expressions that fire near any date often enough.
pub(crate) fn expression() -> impl Strategy<Value = String> {
    let day = prop_oneof![3 => Just("*".to_owned()), 2 => field(1, 31), 1 => Just("L".to_owned()), 1 => Just("LW".to_owned())];
    let month = prop_oneof![4 => Just("*".to_owned()), 1 => field(1, 12)];
    let weekday = prop_oneof![
        3 => Just("*".to_owned()),
        2 => field(0, 7),
        1 => (0..7u32).prop_map(|day| format!("{day}L")),
        1 => (0..7u32, 1..6u32).prop_map(|(day, nth)| format!("{day}#{nth}")),
    ];
    let hour = prop_oneof![1 => field(0, 23), 1 => field(0, 3)];
    (field(0, 59), hour, day, month, weekday).prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}
