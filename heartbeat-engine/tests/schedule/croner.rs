//! Cron expressions against the croner crate, where clock changes play no part.

use crate::oracle::{cases, expression};
use chrono::{DateTime, TimeZone};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use heartbeat_engine::{Schedule, Timestamp, Zone};
use proptest::prelude::*;

/// croner told to read as Debian does.
fn croner(expression: &str) -> Option<Cron> {
    let mut fields = expression.split(' ').skip(2);
    let star = |field: Option<&str>| field.is_some_and(|field| field.starts_with('*'));
    let (day, weekday) = (fields.next(), fields.nth(1));
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .sloppy_ranges(true)
        .dom_and_dow(star(day) || star(weekday))
        .build();
    parser.parse(expression).ok()
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn cron_equals_croner_where_the_clock_is_never_changed(
        expression in expression(),
        zone in prop_oneof![Just(Tz::UTC), Just(Tz::Asia__Kathmandu), Just(Tz::Asia__Shanghai), Just(Tz::America__Phoenix)],
        from in 946_684_800..4_000_000_000i64,
    ) {
        let start: DateTime<Tz> = zone.timestamp_opt(from, 0).single().ok_or(TestCaseError::reject("no such time"))?;
        let Ok(schedule) = Schedule::cron(&expression, Zone::named(zone.name())?) else {
            // croner takes what never fires, and says so when asked.
            let never = croner(&expression).is_none_or(|cron| cron.find_next_occurrence(&start, false).is_err());
            prop_assert!(never, "{expression} was refused");
            return Ok(());
        };
        let cron = croner(&expression).ok_or(TestCaseError::fail(format!("croner refuses {expression}")))?;
        let mut ours = Timestamp::from_secs(from);
        for theirs in cron.iter_after(start).take(5) {
            ours = schedule.next_after(ours);
            prop_assert_eq!(ours.as_secs(), theirs.timestamp(), "{} in {}", expression, zone);
        }
    }
}
