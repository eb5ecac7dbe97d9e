//! Changing inputs, by bytes, by lines, by words of a dictionary and by the structure of JSON in them.

mod json;

use crate::Random;

/// Numbers at the edges of what is kept in 8, 16, 32 and 64 bits, and of what means something here.
const NUMBERS: [&str; 20] = [
    "0",
    "-1",
    "1",
    "7",
    "8",
    "23",
    "24",
    "31",
    "59",
    "60",
    "255",
    "256",
    "65536",
    "86400",
    "1000000",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e308",
];

/// How many changes one mutation makes at most.
const CHANGES_MAX: usize = 4;

/// Changes inputs with the words of a dictionary and pieces of a corpus.
#[derive(Debug)]
pub struct Mutator<'c> {
    words: Vec<Vec<u8>>,
    corpus: &'c [Vec<u8>],
}

impl<'c> Mutator<'c> {
    /// Takes a dictionary in the form of libFuzzer (a quoted word in each line, `\xff` for a byte) and the inputs whose
    /// pieces may be put into others.
    #[must_use]
    pub fn new(dictionary: &str, corpus: &'c [Vec<u8>]) -> Self {
        Self { words: words(dictionary), corpus }
    }

    /// The input with up to four changes, cut to `bytes_max`.
    #[must_use]
    pub fn mutate(&self, input: &[u8], bytes_max: usize, random: &mut Random) -> Vec<u8> {
        let mut changed = input.to_vec();
        for _ in 0..=random.below(CHANGES_MAX) {
            self.change(&mut changed, random);
        }
        changed.truncate(bytes_max);
        changed
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(16)).min(input.len());
        match random.below(14) {
            0 => flip(input, random),
            1 => input.insert(at, random.next().to_le_bytes()[0]),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 | 5 => self.insert_word(input, at..at, random),
            6 => self.insert_word(input, at..end, random),
            7 | 8 => other_number(input, random),
            9 => self.splice(input, at, random),
            10 => lines(input, random),
            11 => other_word(input, &self.words, random),
            _ => json::change(input, &self.words, random),
        }
    }

    fn insert_word(&self, input: &mut Vec<u8>, place: std::ops::Range<usize>, random: &mut Random) {
        if !self.words.is_empty() {
            input.splice(place, random.pick(&self.words).iter().copied());
        }
    }

    /// Goes on with the rest of another input, or takes in a line of it.
    fn splice(&self, input: &mut Vec<u8>, at: usize, random: &mut Random) {
        if self.corpus.is_empty() {
            return;
        }
        let other = random.pick(self.corpus);
        let from = random.below(other.len() + 1);
        if random.once_in(2) {
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        } else {
            let to = other[from..].iter().position(|byte| *byte == b'\n').map_or(other.len(), |end| from + end + 1);
            input.splice(at..at, other[from..to].iter().copied());
        }
    }
}

fn flip(input: &mut [u8], random: &mut Random) {
    if !input.is_empty() {
        let at = random.below(input.len());
        input[at] ^= 1 << random.below(8);
    }
}

/// Puts another number in the place of one.
fn other_number(input: &mut Vec<u8>, random: &mut Random) {
    replace_run(input, random, u8::is_ascii_digit, |random| match random.below(3) {
        0 => random.below(100).to_string().into_bytes(),
        _ => random.pick(&NUMBERS).as_bytes().to_vec(),
    });
}

/// Puts a word of the dictionary in the place of one.
fn other_word(input: &mut Vec<u8>, words: &[Vec<u8>], random: &mut Random) {
    if !words.is_empty() {
        replace_run(input, random, u8::is_ascii_alphanumeric, |random| random.pick(words).clone());
    }
}

/// Replaces one run of bytes that are alike.
fn replace_run(
    input: &mut Vec<u8>,
    random: &mut Random,
    belongs: impl Fn(&u8) -> bool,
    with: impl Fn(&mut Random) -> Vec<u8>,
) {
    let starts: Vec<usize> =
        (0..input.len()).filter(|at| belongs(&input[*at]) && (*at == 0 || !belongs(&input[at - 1]))).collect();
    if starts.is_empty() {
        return;
    }
    let start = *random.pick(&starts);
    let end = input[start..].iter().position(|byte| !belongs(byte)).map_or(input.len(), |length| start + length);
    let piece = with(random);
    input.splice(start..end, piece);
}

/// Leaves a line out, repeats one, or exchanges two.
fn lines(input: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(other, lines[one]),
        _ => lines.swap(one, other),
    }
    *input = lines.concat();
}

/// The words of a dictionary.
fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let quoted = |line: &str| {
        let line = line.trim();
        let inside = line.strip_suffix('"')?.split_once('"')?.1;
        (!line.starts_with('#')).then(|| unescaped(inside))
    };
    dictionary.lines().filter_map(quoted).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let hex =
            escape.strip_prefix('x').and_then(|hex| hex.get(..2)).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let taken = if hex.is_some() { 3 } else { escape.chars().next().map_or(0, char::len_utf8) };
        match hex {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(&escape.as_bytes()[..taken]),
        }
        rest = &escape[taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_those_of_libfuzzer() {
        let text = "# a comment \"no\"\nkey=\"a\\\"b\\\\\"\n\"\\x00\\xffz\"\n\nnot a word\n";
        assert_eq!(words(text), [b"a\"b\\".to_vec(), b"\x00\xffz".to_vec()]);
    }

    #[test]
    fn mutations_follow_from_the_seed_and_keep_the_limit() {
        let corpus = [b"POST /x?n=12\n\n{\"a\": [1, 2], \"b\": {\"c\": null}}".to_vec(), b"x".to_vec(), Vec::new()];
        let mutator = Mutator::new("\"word\"", &corpus);
        let made = |seed| {
            let mut random = Random::new(seed);
            let inputs = corpus.iter().cycle().take(600);
            inputs.map(|input| mutator.mutate(input, 64, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert!(made(1).iter().all(|input| input.len() <= 64));
        let different = made(1).iter().zip(corpus.iter().cycle()).filter(|(made, from)| made != from).count();
        assert!(different > 400, "{different} of 600 were changed");
    }
}
