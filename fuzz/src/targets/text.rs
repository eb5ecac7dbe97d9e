//! Small texts. The whole input is read as each of them; what is accepted must be read back as it is written.

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;

use heartbeat_engine::schedule::{LocalTime, Weekdays, Zone};
use heartbeat_engine::{
    IncidentId, MonitorId, NotificationId, RunId, Timestamp, Token, describe_duration, format_duration,
    is_public_address, parse_duration, slug_from_name,
};

use super::assert_message;

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let text = &*text;
    match parse_duration(text) {
        Ok(duration) => {
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration, "{text:?}");
            assert_message(&describe_duration(duration));
        }
        Err(error) => assert_short(&error),
    }
    there_and_back::<Timestamp>(text);
    there_and_back::<LocalTime>(text);
    there_and_back::<MonitorId>(text);
    there_and_back::<IncidentId>(text);
    there_and_back::<NotificationId>(text);
    there_and_back::<RunId>(text);
    match text.parse::<Weekdays>() {
        Ok(days) => assert_eq!(Weekdays::from_names(days.names()).unwrap(), days, "{text:?}"),
        Err(error) => assert_short(&error),
    }
    match Zone::named(text) {
        Ok(zone) => assert_eq!(zone.name(), text),
        Err(error) => assert_short(&error),
    }
    match Token::new(text) {
        Ok(token) => assert_eq!(token.reveal(), text),
        Err(error) => assert_short(&error),
    }
    let slug = slug_from_name(text);
    assert!(slug.len() <= text.len().max(64), "a slug that is longer than its name: {slug:?} from {text:?}");
    assert_eq!(slug_from_name(&slug), slug, "the slug of {text:?}");
    if let Ok(address) = text.parse::<IpAddr>() {
        let mapped = match address {
            IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
            IpAddr::V6(_) => address,
        };
        assert_eq!(is_public_address(address), is_public_address(mapped), "{text}");
    }
}

fn there_and_back<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let again = value.to_string().parse::<T>();
            assert!(again.is_ok_and(|again| again == value), "{text:?} is written as {value}, which is not read as it");
        }
        Err(error) => assert_short(&error),
    }
}

fn assert_short(error: &impl Display) {
    assert_message(&error.to_string());
}
