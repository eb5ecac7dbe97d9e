//! Making a crashing input small.

use crate::{Crash, Target, watched};

/// How often the target is run at most.
const RUNS_MAX: usize = 5_000;

/// The smallest input that was found which panics at the same place: lines and spans are left out as long as it does.
#[must_use]
pub fn minimise(target: &Target, input: &[u8], crash: &Crash) -> Vec<u8> {
    let mut runs = 0;
    let mut crashes = |input: &[u8]| {
        runs += 1;
        runs <= RUNS_MAX && watched(target, input).is_err_and(|found| found.place == crash.place)
    };
    let mut best = input.to_vec();
    loop {
        let before = best.len();
        best = without_lines(best, &mut crashes);
        let mut span = best.len() / 2;
        while span > 0 {
            best = without_spans(best, span, &mut crashes);
            span /= 2;
        }
        if best.len() == before {
            return best;
        }
    }
}

fn without_lines(mut best: Vec<u8>, crashes: &mut impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut at = 0;
    loop {
        let lines: Vec<&[u8]> = best.split_inclusive(|byte| *byte == b'\n').collect();
        if at >= lines.len() {
            return best;
        }
        let fewer = [&lines[..at], &lines[at + 1..]].concat().concat();
        if crashes(&fewer) { best = fewer } else { at += 1 }
    }
}

fn without_spans(mut best: Vec<u8>, span: usize, crashes: &mut impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut at = 0;
    while at < best.len() {
        let end = (at + span).min(best.len());
        let fewer = [&best[..at], &best[end..]].concat();
        if crashes(&fewer) { best = fewer } else { at += span }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let run = |input: &[u8]| assert!(!(input.contains(&b'!') && input.starts_with(b"a")), "found");
        let target = Target { name: "test", about: "", run, dictionary: "" };
        let input = b"a first line\nanother one\nand what! matters\nmore\n";
        let crash = watched(&target, input).unwrap_err();
        assert_eq!((crash.message.as_str(), minimise(&target, input, &crash)), ("found", b"a!".to_vec()));
    }
}
