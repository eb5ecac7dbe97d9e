//! Which cron expressions are read, and what is said of those that are not (S2.3).

use heartbeat_engine::{Schedule, Timestamp, Zone};
use proptest::prelude::*;

fn next(expression: &str, from: &str) -> String {
    let schedule = Schedule::cron(expression, Zone::utc()).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let from: Timestamp = from.parse().unwrap_or_default();
    schedule.next_after(from).to_string()
}

#[test]
fn accepted() {
    for (expression, expected) in [
        ("@hourly", "2026-11-20T09:00:00Z"),
        ("@daily", "2026-11-21T00:00:00Z"),
        ("@midnight", "2026-11-21T00:00:00Z"),
        ("@weekly", "2026-11-22T00:00:00Z"),
        ("@monthly", "2026-12-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@annually", "2027-01-01T00:00:00Z"),
        ("\t0  9 * * mon ", "2026-11-23T09:00:00Z"),
        ("0 9 * jan,DEC Sun", "2026-12-06T09:00:00Z"),
        ("0 9 * * 7", "2026-11-22T09:00:00Z"),
        ("0 9 * * 0", "2026-11-22T09:00:00Z"),
        ("0 9 * * 5-7", "2026-11-20T09:00:00Z"),
        ("0 9 * * 6/1", "2026-11-21T09:00:00Z"),
        ("0 9 * * TUE-thu/2", "2026-11-24T09:00:00Z"),
        ("10-40/10 9 * * *", "2026-11-20T09:10:00Z"),
        ("5/15 9 * * *", "2026-11-20T09:05:00Z"),
        ("7-7/2 9 * * *", "2026-11-20T09:07:00Z"),
        ("*/90 9 * * *", "2026-11-20T09:00:00Z"),
        ("007 009 * * *", "2026-11-20T09:07:00Z"),
        ("0 9 L * *", "2026-11-30T09:00:00Z"),
        ("0 9 LW 5 *", "2027-05-31T09:00:00Z"),
        ("0 9 lw 1 *", "2027-01-29T09:00:00Z"),
        ("0 9 1,L 12 *", "2026-12-01T09:00:00Z"),
        ("0 9 * * 5L", "2026-11-27T09:00:00Z"),
        ("0 9 * * 7l", "2026-11-29T09:00:00Z"),
        ("0 9 * * FRIL", "2026-11-27T09:00:00Z"),
        ("0 9 * * MON#2", "2026-12-14T09:00:00Z"),
        ("0 9 * * 1#1,3#5", "2026-12-07T09:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 * 2 1#5", "2044-02-29T00:00:00Z"),
        // Either field is enough ...
        ("0 9 13 * FRI", "2026-11-20T09:00:00Z"),
        ("0 9 24,*/13 * MON", "2026-11-23T09:00:00Z"),
        ("0 9 30 2 MON", "2027-02-01T09:00:00Z"),
        // ... unless one of them starts with a star.
        ("0 9 */13 * FRI", "2026-11-27T09:00:00Z"),
        ("0 9 25 * */5", "2026-12-25T09:00:00Z"),
        ("0 9 *,1 * MON", "2026-11-23T09:00:00Z"),
    ] {
        assert_eq!(next(expression, "2026-11-20T08:05:00Z"), expected, "{expression}");
    }
}

#[test]
fn refused_with_the_field_the_text_and_what_would_be_right() {
    for (expression, message) in [
        ("", "`` has 0 fields; a cron expression has five: minute, hour, day of month, month, day of week"),
        ("* * * *", "has 4 fields"),
        (
            "0 * * * * *",
            "has 6 fields; a cron expression has five: minute, hour, day of month, month, day of week (seconds",
        ),
        ("@reboot", "`@reboot` is not known; write @hourly, @daily"),
        ("@Daily", "`@Daily` is not known"),
        ("1,,2 * * * *", "in the minute field `1,,2`: an item of the list is empty; remove the extra comma"),
        (", * * * *", "in the minute field `,`: an item"),
        ("0 1, * * *", "in the hour field `1,`: an item"),
        ("0 0 ? * *", "in the day-of-month field `?`: `?` is not used here; write `*`"),
        ("0 0 15W * *", "in the day-of-month field `15W`: `15W`: `W` is only known as `LW`"),
        ("0 0 W * *", "`W` is only known as `LW`"),
        ("0 0 L-3 * *", "`L` stands alone"),
        ("0 0 L/2 * *", "`L` stands alone"),
        ("0 0 * * L", "such as 5L for the last Friday"),
        ("0 0 * L *", "in the month field `L`: `L`: `L` and `LW` belong in the day-of-month field"),
        ("0 0 * * 1-5L", "write one weekday before `L`"),
        ("0 0 * * 8L", "write one weekday before `L`"),
        ("0 0 * * MON#6", "write a number from 1 to 5 after `#`"),
        ("0 0 * * MON#", "write a number from 1 to 5 after `#`"),
        ("0 0 * * #1", "write one weekday before `#`"),
        ("0 0 * * 1-2#1", "write one weekday before `#`"),
        ("0 0 1#2 * *", "`#` belongs in the day-of-week field"),
        ("40-10 * * * *", "in the minute field `40-10`: the range `40-10` runs backwards; write 40-59,0-10"),
        ("0 0 * * FRI-SUN", "the range `FRI-SUN` runs backwards; write 5-7, 7 is Sunday too"),
        ("0 0 * * SAT-MON", "runs backwards; write 6-6,0-1"),
        ("0 0 * NOV-FEB *", "runs backwards; write 11-12,1-2"),
        ("JAN 0 * * *", "in the minute field `JAN`: the name `JAN` belongs in the month field"),
        ("0 0 * MON *", "the name `MON` belongs in the day-of-week field"),
        ("0 0 * * FEB", "the name `FEB` belongs in the month field"),
        ("0 0 * * JUL", "the name `JUL` belongs in the month field"),
        ("+5 * * * *", "`+5` has a sign; write the number alone"),
        ("-5 * * * *", "`-5` has a sign"),
        ("1--5 * * * *", "`-5` has a sign"),
        ("*/-5 * * * *", "`-5` has a sign"),
        ("0 0 * * +MON", "`+MON` has a sign"),
        ("*/0 * * * *", "the step `0` must be a number from 1"),
        ("*/+5 * * * *", "`+5` has a sign"),
        ("*/0000005 * * * *", "the step `0000005` must be a number from 1"),
        ("*/ * * * *", "the step `` must be a number from 1"),
        ("*/5/5 * * * *", "the step `5/5` must be a number from 1"),
        ("*/x * * * *", "the step `x` must be a number from 1"),
        ("60 * * * *", "in the minute field `60`: `60` must be from 0 to 59"),
        ("0 24 * * *", "`24` must be from 0 to 23"),
        ("0 0 0 * *", "`0` must be from 1 to 31"),
        ("0 0 32 * *", "`32` must be from 1 to 31"),
        ("0 0 * 0 *", "`0` must be from 1 to 12"),
        ("0 0 * 13 *", "`13` must be from 1 to 12"),
        ("0 0 * * 8", "`8` must be from 0 to 7"),
        ("99999999999999999999 * * * *", "must be from 0 to 59"),
        ("0000005 * * * *", "`0000005` must be from 0 to 59"),
        ("0 0 1JAN * *", "`1JAN` is not a number from 1 to 31"),
        ("*5 * * * *", "`*5` is not a number from 0 to 59"),
        ("*-5 * * * *", "`*` is not a number from 0 to 59"),
        ("5- * * * *", "`` is not a number from 0 to 59"),
        ("1-2-3 * * * *", "`2-3` is not a number from 0 to 59"),
        ("1.5 * * * *", "`1.5` is not a number"),
        ("H * * * *", "`H` is not a number"),
        ("٣ * * * *", "`٣` is not a number"),
        ("0 0 31 2 *", "`0 0 31 2 *` never fires"),
        ("0 0 30,31 2 *", "never fires"),
        ("0 0 31 2,4,6,9,11 */2", "never fires"),
        ("0 0 */31 * FRI#2", "never fires"),
    ] {
        let error = Schedule::cron(expression, Zone::utc()).expect_err(expression);
        assert_eq!(error.field(), "schedule.cron", "{expression}");
        assert!(error.to_string().contains(message), "{expression:?}: {error}");
    }
    let longest = "0,".repeat(495) + "00 * * * *";
    assert_eq!(longest.len(), 1000);
    assert!(Schedule::cron(&longest, Zone::utc()).is_ok());
    assert_eq!(
        Schedule::cron(&(longest + " "), Zone::utc()).unwrap_err().to_string(),
        "the cron expression has 1001 bytes; at most 1000 are read"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_never_panics(text in any::<String>(), from in any::<i64>()) {
        read_all(&text, from);
    }

    #[test]
    fn reading_what_looks_like_cron_never_panics(text in "[-@*/,#?LW0-9 +A-Za-z]{0,24}|([-*/,#LW0-9MONJAFRI]{1,5} ){4}[-*/,#L0-9MON]{1,5}", from in any::<i64>()) {
        read_all(&text, from);
    }
}

fn read_all(text: &str, from: i64) {
    if let Ok(schedule) = Schedule::cron(text, Zone::utc()) {
        let from = Timestamp::from_millis(from);
        assert!(schedule.next_after(from) > from || from == Timestamp::MAX);
        let written = serde_json::to_string(&schedule).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Schedule>(&written).ok(), Some(schedule), "{written}");
    }
    let _ = text.parse::<heartbeat_engine::LocalTime>();
    let _ = text.parse::<heartbeat_engine::Weekdays>();
    let _ = text.parse::<heartbeat_engine::Grace>();
    let _ = Zone::named(text);
}
