//! What is fuzzed. Each target's module says how its inputs look.

mod http;
mod record;
mod schedule;
mod settings;
mod text;
mod world;

/// Something that takes inputs from strangers.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name; its corpus is in `corpus/NAME`.
    pub name: &'static str,
    /// What is fuzzed.
    pub about: &'static str,
    /// Takes an input; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Words that its inputs are made of, in the form of libFuzzer.
    pub dictionary: &'static str,
}

/// Every target.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "schedule",
        about: "cron expressions and schedules as JSON, and all calculations with those that are accepted",
        run: schedule::run,
        dictionary: include_str!("../dictionaries/schedule.dict"),
    },
    Target {
        name: "text",
        about: "durations, times, time zones, weekdays, ids, tokens, addresses",
        run: text::run,
        dictionary: include_str!("../dictionaries/schedule.dict"),
    },
    Target {
        name: "http_ping",
        about: "heartbeats by our own URLs and those of Healthchecks",
        run: http::ping,
        dictionary: include_str!("../dictionaries/http.dict"),
    },
    Target {
        name: "http_dialects",
        about: "heartbeats in the protocols of heartbeats, Kener, Tianji and Uptime Kuma",
        run: http::dialects,
        dictionary: include_str!("../dictionaries/http.dict"),
    },
    Target {
        name: "http_api",
        about: "the management API",
        run: http::api,
        dictionary: include_str!("../dictionaries/api.dict"),
    },
    Target {
        name: "toml",
        about: "the server's settings file, with the channels and monitors that it declares",
        run: settings::run,
        dictionary: include_str!("../dictionaries/toml.dict"),
    },
    Target {
        name: "record",
        about: "what SQLite stores, read back when it is damaged",
        run: record::run,
        dictionary: include_str!("../dictionaries/record.dict"),
    },
];

/// The lines of an input that is text; what is no UTF-8 is replaced.
fn lines(input: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(input).lines().map(str::to_owned).collect()
}

/// A message for people: not empty, and not as long as the input that it speaks of.
fn assert_message(message: &str) {
    assert!(!message.is_empty(), "an error without a message");
    assert!(message.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes: {message:?}", message.len());
}

/// A message that is written to a log or a terminal as it is.
fn assert_line(message: &str) {
    assert_message(message);
    assert!(!message.contains(char::is_control), "a message with control characters: {message:?}");
}

/// Texts are cut to 64 characters where they are repeated, and a message repeats few.
const MESSAGE_BYTES_MAX: usize = 1_500;
