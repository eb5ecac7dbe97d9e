//! A page of the documentation, whose code is that of a file.

/// A page of docs/.
pub struct Page {
    name: &'static str,
    text: String,
    /// Each block of Rust code, without its fences.
    blocks: Vec<String>,
}

impl Page {
    pub fn read(name: &'static str) -> Self {
        let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let blocks = text.split("\n```rust\n").skip(1).map(|rest| match rest.split_once("\n```\n") {
            Some((block, _)) => block.to_owned(),
            None => panic!("{path}: a block has no end"),
        });
        let blocks = blocks.collect();
        Self { name, text, blocks }
    }

    /// The first blocks are this file, in its order, from its first line to its last.
    pub fn shows_whole(&self, file: &str) {
        let mut rest = file.trim();
        for block in &self.blocks {
            if rest.is_empty() {
                return;
            }
            let behind = rest.strip_prefix(block.trim_end());
            rest = behind.unwrap_or_else(|| panic!("{} goes on with\n\n{block}\n\nbut the file:\n\n{rest}", self.name));
            rest = rest.trim_start_matches('\n');
        }
        assert!(rest.is_empty(), "{} leaves out the end of the file:\n\n{rest}", self.name);
    }

    /// The last block is a part of this file.
    pub fn shows(&self, file: &str) {
        let last = self.blocks.last().expect("a block");
        assert!(file.contains(last.trim_end()), "{} shows at last what the file does not hold:\n\n{last}", self.name);
    }

    /// Every check that it names is one of these; `a_name_…` stands for those that begin so.
    pub fn names_only(&self, promises: &[&str]) {
        let quoted = self.text.split('`').skip(1).step_by(2);
        let named: Vec<&str> = quoted.filter(|word| word.matches('_').count() > 2 && !word.contains(' ')).collect();
        assert!(!named.is_empty());
        for name in named {
            let known = match name.strip_suffix('…') {
                Some(start) => promises.iter().any(|promise| promise.starts_with(start)),
                None => promises.contains(&name),
            };
            assert!(known, "{} names `{name}`, which the suite does not check", self.name);
        }
    }
}
