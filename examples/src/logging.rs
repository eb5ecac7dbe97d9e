//! Log lines on stderr, one per event.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::arguments::LogFormat;

/// What to log, read from a text such as `warn,heartbeat_engine=debug`.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("`{text}` is not a log filter such as info or warn,heartbeat_engine=debug: {error}"))
}

/// Starts logging.
pub(crate) fn start(filter: EnvFilter, format: LogFormat) {
    // A line that cannot be written, to a file on a full disk for example, is lost: to tell of it on the same stderr would
    // be a panic.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// Starts logging warnings alone, for commands that tell by themselves what they do.
pub(crate) fn start_quietly(format: LogFormat) {
    start(EnvFilter::new("warn"), format);
}

#[cfg(test)]
mod tests {
    #[test]
    fn refuses_what_is_no_filter() {
        assert!(super::filter("warn,heartbeat_engine=debug").is_ok());
        assert!(super::filter("heartbeat_engine=loud").unwrap_err().contains("loud"));
    }
}
