//! What can be checked about the shape of the code: lengths, arrows between the engine's modules, no clock in its core,
//! adapters that know the engine alone, citations that lead somewhere.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// A table of cases is one function.
const TEST_LINES_MAX: usize = 100;

/// The engine's core from the bottom up: a module uses those before it.
const CORE: [&str; 30] = [
    "duration",
    "time",
    "id",
    "label",
    "signal",
    "counts",
    "schedule",
    "incident",
    "monitor",
    "compact",
    "maintenance",
    "route",
    "notification",
    "routing",
    "absence",
    "backoff",
    "batch",
    "news",
    "storage",
    "import",
    "life",
    "lease",
    "shares",
    "notifier",
    "outbox",
    "step",
    "deadline",
    "table",
    "slab",
    "evaluator",
];
/// Modules that stand side by side, the upper one first: it does not use the other.
const APART: [(&str, &str); 1] = [("evaluator", "outbox")];
/// Around the core: they use it, and it must not know them.
const SHELL: [&str; 6] = ["address", "clock", "memory", "runtime", "testing", "bin"];
/// What the core must not do.
const IMPURE: [&str; 12] = [
    "SystemTime",
    "Instant::",
    "Utc::now",
    "Local::now",
    "tokio",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "getrandom",
    ".await",
    "static mut",
];
/// The trait of the storage is async, and nothing of the core calls it; the version of the zone rules is read from the
/// system once, for people.
const IMPURE_ALLOWED: [(&str, &str); 3] = [
    ("heartbeat-engine/src/storage.rs", ".await"),
    ("heartbeat-engine/src/schedule/zone/", "std::fs"),
    ("heartbeat-engine/src/schedule/zone/", "std::env"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every file of the workspace that people write, with its path from the root.
fn files(keep: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".git" || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let shown = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
                if keep(&shown)
                    && let Ok(text) = std::fs::read_to_string(&path)
                {
                    found.push((shown, text));
                }
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

fn rust_files() -> Vec<(String, String)> {
    files(|path| path.ends_with(".rs"))
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The text without comments and without its unit tests.
fn code(text: &str) -> String {
    let marks = ["#[cfg(test)]\nmod", "#[cfg(all(test, "];
    let before_tests = marks.iter().fold(text, |text, mark| text.split(mark).next().unwrap_or_default());
    let lines = before_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn files_are_short() {
    let too_long = rust_files().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{path} has {lines} lines; at most {FILE_LINES_MAX}"))
    });
    none(&too_long.collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for (path, text) in rust_files() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let closing = format!("{}}}", " ".repeat(indent));
            let body = lines[start..].iter().position(|line| *line == closing || line.trim_end().ends_with(';'));
            let ends_at_semicolon = body.is_some_and(|at| at == 0);
            let end = lines[start..].iter().position(|line| *line == closing);
            let most = if path.contains("/tests/") { TEST_LINES_MAX } else { FUNCTION_LINES_MAX };
            if let Some(length) = end.filter(|_| !ends_at_semicolon).map(|end| end + 1)
                && length > most
            {
                faults.push(format!("{path}:{} {name} has {length} lines; at most {most}", start + 1));
            }
        }
    }
    none(&faults);
}

/// The name of the function that begins on this line, as rustfmt writes it.
fn function_name(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let qualifiers = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "];
    let mut rest = words;
    while let Some(shorter) = qualifiers.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[test]
fn the_core_uses_what_is_below_it() {
    let sources = rust_files();
    let engine: Vec<_> = sources.iter().filter(|(path, _)| path.starts_with("heartbeat-engine/src/")).collect();
    let library = &engine.iter().find(|(path, _)| path.ends_with("src/lib.rs")).expect("lib.rs").1;
    let exports = exports(library);
    let mut faults = Vec::new();
    for (path, text) in &engine {
        let module = module(path);
        let Some(rank) = CORE.iter().position(|name| *name == module) else {
            let known = module == "lib" || SHELL.contains(&module);
            if !known {
                faults.push(format!("{path}: where does `{module}` belong? Give it a place in CORE or SHELL"));
            }
            continue;
        };
        let code = code(text);
        for name in used_names(&code) {
            let used = exports.get(name.as_str()).copied().unwrap_or(&name);
            let below =
                used == module || CORE[..rank].contains(&used) || !(CORE.contains(&used) || SHELL.contains(&used));
            let allowed = below && !APART.contains(&(module, used));
            if !allowed {
                faults.push(format!("{path}: `{module}` uses `{name}` of `{used}`, which is not below it"));
            }
        }
        let impure = IMPURE.iter().filter(|word| has_word(&code, word));
        let impure = impure
            .filter(|word| !IMPURE_ALLOWED.iter().any(|(place, allowed)| path.starts_with(place) && allowed == *word));
        faults.extend(impure.map(|word| format!("{path}: the core must not use `{word}`")));
    }
    none(&faults);
}

fn has_word(code: &str, word: &str) -> bool {
    let ends = |at: usize| !code[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| word.ends_with(':') || ends(at))
}

fn module(path: &str) -> &str {
    let inside = path.strip_prefix("heartbeat-engine/src/").expect("in the engine");
    inside.split('/').next().expect("a name").trim_end_matches(".rs")
}

/// Which module each name comes from that lib.rs gives out.
fn exports(library: &str) -> BTreeMap<&str, &str> {
    let mut exports = BTreeMap::new();
    for statement in library.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        if let Some((module, names)) = statement.split_once("::") {
            let names = names.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty());
            exports.extend(names.map(|name| (name, module)));
        }
    }
    exports
}

/// The first names behind `crate::`, alone or in braces.
fn used_names(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(group) = after.strip_prefix('{') else {
            names.insert(word(after));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            if c == '{' {
                depth += 1;
            } else if (c == ',' || c == '}') && depth == 0 {
                names.insert(word(group[start..at].trim_start()));
                start = at + 1;
            }
            if c == '}' {
                if depth == 0 {
                    break;
                }
                depth -= 1;
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn adapters_know_the_engine_alone() {
    let adapters = ["storage-", "notify-", "http-axum/", "heartbeat-engine/"];
    let mut faults = Vec::new();
    for (path, text) in files(|path| path.ends_with("/Cargo.toml")) {
        if !adapters.iter().any(|adapter| path.starts_with(adapter)) {
            continue;
        }
        let manifest: toml::Table = text.parse().expect("a manifest");
        let dependencies = ["dependencies", "build-dependencies"].iter().filter_map(|table| manifest.get(*table));
        for name in dependencies.filter_map(toml::Value::as_table).flat_map(toml::Table::keys) {
            let ours = name.starts_with("heartbeat");
            if ours && (name != "heartbeat-engine" || path.starts_with("heartbeat-engine/")) {
                faults.push(format!("{path}: an adapter knows the engine alone, not {name}"));
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_tells_of_the_machine_that_it_was_written_on() {
    let homes = ["/ro", "/ho", "/wo", "/Use"].into_iter().zip(["ot/", "me/", "rk/", "rs/"]);
    let homes: Vec<String> = homes.map(|(start, end)| format!("{start}{end}")).collect();
    let mut faults = Vec::new();
    for (path, text) in files(|path| !path.ends_with("Cargo.lock")) {
        for (number, line) in text.lines().enumerate() {
            let begins =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '}' | '-'));
            if homes.iter().any(|home| line.match_indices(home.as_str()).any(|(at, _)| begins(at))) {
                faults.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = ["TO", "FIX", "XX"].into_iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let marks: Vec<String> = marks.collect();
    let mut faults = Vec::new();
    for (path, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| marks.iter().any(|mark| mark == word)) {
                faults.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_cited_rule_is_in_the_documentation() {
    let rules = std::fs::read_to_string(root().join("docs/semantics.md")).expect("docs/semantics.md");
    let mut faults = Vec::new();
    for (path, text) in files(|path| path.ends_with(".rs") || path.ends_with(".md")) {
        for rule in cited_rules(&text) {
            // A rule stands in bold where it is stated: **S2.4** or **S2.4 clock changes.**
            let stated = [" ", "*", "."].iter().any(|end| rules.contains(&format!("**{rule}{end}")));
            if !stated {
                faults.push(format!("{path} cites {rule}, which docs/semantics.md does not state"));
            }
        }
    }
    none(&faults);
}

/// `S2.4` wherever it stands as a word.
fn cited_rules(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '.');
    let is_rule = |word: &&str| {
        let Some((section, rule)) = word.strip_prefix('S').and_then(|rest| rest.split_once('.')) else { return false };
        let number = |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
        number(section) && number(rule)
    };
    words.map(|word| word.trim_end_matches('.')).filter(is_rule).collect()
}
