//! Changing a JSON value that stands in an input.

use serde_json::{Map, Value, json};

use crate::Random;

/// Replaces the first JSON object or list of the input that can be read by one that differs in one place.
pub(super) fn change(input: &mut Vec<u8>, words: &[Vec<u8>], random: &mut Random) {
    let starts = (0..input.len()).filter(|at| matches!(input[*at], b'{' | b'['));
    let found = starts.take(4).find_map(|at| {
        let mut values = serde_json::Deserializer::from_slice(&input[at..]).into_iter::<Value>();
        let value = values.next()?.ok()?;
        Some((at..at + values.byte_offset(), value))
    });
    if let Some((place, mut value)) = found {
        let steps = random.below(6);
        change_inside(&mut value, steps, words, random);
        input.splice(place, value.to_string().into_bytes());
    }
}

/// Goes down at most so many steps, and changes what is there.
fn change_inside(value: &mut Value, steps: usize, words: &[Vec<u8>], random: &mut Random) {
    match value {
        Value::Object(map) if steps > 0 && !map.is_empty() => {
            let at = random.below(map.len());
            if let Some(inner) = map.values_mut().nth(at) {
                change_inside(inner, steps - 1, words, random);
            }
        }
        Value::Array(items) if steps > 0 && !items.is_empty() => {
            let at = random.below(items.len());
            change_inside(&mut items[at], steps - 1, words, random);
        }
        Value::Object(map) => change_object(map, words, random),
        Value::Array(items) => match random.below(3) {
            0 if !items.is_empty() => drop(items.remove(random.below(items.len()))),
            1 if !items.is_empty() => items.push(items[random.below(items.len())].clone()),
            _ => items.push(any(words, random)),
        },
        _ if random.once_in(8) => *value = json!([value]),
        _ => *value = any(words, random),
    }
}

fn change_object(map: &mut Map<String, Value>, words: &[Vec<u8>], random: &mut Random) {
    let key = map.keys().nth(random.below(map.len())).cloned();
    match (random.below(4), key) {
        (0, Some(key)) => drop(map.remove(&key)),
        (1, Some(key)) => drop(map.insert(key, any(words, random))),
        _ => drop(map.insert(word(words, random), any(words, random))),
    }
}

fn any(words: &[Vec<u8>], random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.once_in(2)),
        2 => json!(random.next().cast_signed() >> random.below(64)),
        3 => json!(random.next() >> random.below(64)),
        4 => json!(f64::from_bits(random.next())),
        5 => json!([word(words, random)]),
        6 => json!({ word(words, random): word(words, random) }),
        _ => json!(word(words, random)),
    }
}

fn word(words: &[Vec<u8>], random: &mut Random) -> String {
    if words.is_empty() {
        return "x".to_owned();
    }
    String::from_utf8_lossy(random.pick(words).as_slice()).into_owned()
}
