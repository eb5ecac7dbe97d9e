//! The settings file. The input is the file.

use super::assert_line;

const FILE: &str = "heartbeat.toml";

pub(super) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let checked = heartbeat_examples::check_text(FILE, text);
    assert_eq!(heartbeat_examples::check_text(FILE, text), checked, "the same file is judged in another way");
    match checked {
        Ok(summary) => assert_line(&summary),
        Err(fault) => {
            assert_line(&fault);
            let rest = fault.strip_prefix(FILE).expect("the fault names its file");
            if let Some(rest) = rest.strip_prefix(", line ") {
                let digits = rest.split_once([':', ',']).expect("something follows the line").0;
                let line: usize = digits.parse().expect("the line is a number");
                assert!((1..=text.matches('\n').count() + 1).contains(&line), "there is no line {line}: {fault}");
            }
        }
    }
}
