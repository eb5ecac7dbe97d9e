//! Reads as much of PromQL as the dashboard and the alert rules use, and refuses the rest: which metrics an expression
//! asks for, and which labels it needs of each.

use std::collections::BTreeSet;

/// Those that are used here; each new one is added by hand, so that a misspelt one does not pass for a metric.
const AGGREGATORS: [&str; 3] = ["sum", "min", "max"];
const FUNCTIONS: [&str; 2] = ["absent", "histogram_quantile"];
const RANGE_FUNCTIONS: [&str; 4] = ["rate", "increase", "resets", "deriv"];
const OPERATORS: [&str; 11] = ["+", "-", "*", "/", "==", "!=", "<", "<=", ">", ">=", "or"];
/// Those whose result has the labels of the left side alone.
const SET_OPERATORS: [&str; 2] = ["and", "unless"];
/// What Grafana puts in for a length of time.
const GRAFANA_RANGES: [&str; 2] = ["$__rate_interval", "$__range"];
const MATCHES: [&str; 4] = ["=", "!=", "=~", "!~"];

/// What an expression asks of the metrics.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) selectors: Vec<Selector>,
    result: Vec<Reach>,
}

#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
    /// Labels that it must have besides those of the matchers.
    pub(crate) demanded: BTreeSet<String>,
    /// The function that reads a range of it, such as `rate`.
    pub(crate) read_by: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// A selector that reaches into a result.
#[derive(Debug, Clone)]
struct Reach {
    selector: usize,
    /// Which of its labels are left; `None` is all.
    kept: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Number,
    Text(String),
    Range(String),
    Sign(String),
}

impl Query {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { tokens: tokens(text)?, at: 0, selectors: Vec::new() };
        let result = reader.expression(None).and_then(|result| match reader.next() {
            None => Ok(result),
            Some(token) => Err(format!("{token:?} is too much")),
        });
        let result = result.map_err(|error| format!("{text}: {error}"))?;
        Ok(Self { selectors: reader.selectors, result })
    }

    /// Notes that somebody uses a label of the result, such as a legend.
    pub(crate) fn demand(&mut self, label: &str) -> Result<(), String> {
        demand(&mut self.selectors, &self.result, label)
    }
}

fn demand(selectors: &mut [Selector], reaches: &[Reach], label: &str) -> Result<(), String> {
    for reach in reaches {
        let selector = &mut selectors[reach.selector];
        if reach.kept.as_ref().is_some_and(|kept| !kept.contains(label)) {
            return Err(format!("`{label}` of {} is summed up before it is used", selector.metric));
        }
        selector.demanded.insert(label.to_owned());
    }
    Ok(())
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let until = |end: fn(char) -> bool| rest.find(end).unwrap_or(rest.len());
        let (token, length) = if first.is_ascii_digit() {
            (Token::Number, until(|c| !c.is_ascii_digit() && c != '.'))
        } else if is_name(first) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            (Token::Word(rest[..length].to_owned()), length)
        } else if first == '"' {
            quoted(rest).ok_or_else(|| format!("{text}: a text does not end"))?
        } else if first == '[' {
            let length = rest.find(']').ok_or_else(|| format!("{text}: a range does not end"))?;
            (Token::Range(rest[1..length].to_owned()), length + 1)
        } else {
            let two = ["==", "!=", "<=", ">=", "=~", "!~"].iter().any(|sign| rest.starts_with(sign));
            let length = if two { 2 } else { first.len_utf8() };
            (Token::Sign(rest[..length].to_owned()), length)
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes at the beginning, and how many bytes it takes with them.
fn quoted(rest: &str) -> Option<(Token, usize)> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    loop {
        match chars.next()? {
            (at, '"') => return Some((Token::Text(value), at + 1)),
            (_, '\\') => value.push(chars.next()?.1),
            (_, c) => value.push(c),
        }
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    selectors: Vec<Selector>,
}

impl Reader {
    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    /// Whether this sign or word comes next, which is then taken.
    fn takes(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(text) | Token::Word(text)) if text == wanted);
        self.at += usize::from(found);
        found
    }

    fn take(&mut self, wanted: &str) -> Result<(), String> {
        match self.takes(wanted) {
            true => Ok(()),
            false => Err(format!("`{wanted}` is missing before {:?}", self.tokens.get(self.at))),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            token => Err(format!("a name is missing before {token:?}")),
        }
    }

    /// Operators are taken from left to right: which metrics and labels there are does not depend on what binds closer.
    fn expression(&mut self, range_function: Option<&str>) -> Result<Vec<Reach>, String> {
        let mut result = self.operand(range_function)?;
        loop {
            if OPERATORS.iter().any(|operator| self.takes(operator)) {
                let right = self.operand(range_function)?;
                result.extend(right);
            } else if SET_OPERATORS.iter().any(|operator| self.takes(operator)) {
                self.operand(range_function)?;
            } else {
                return Ok(result);
            }
        }
    }

    fn operand(&mut self, range_function: Option<&str>) -> Result<Vec<Reach>, String> {
        if self.takes("(") {
            let inner = self.expression(range_function)?;
            self.take(")")?;
            return Ok(inner);
        }
        let word = match self.next() {
            Some(Token::Number) => return Ok(Vec::new()),
            Some(Token::Word(word)) => word,
            token => return Err(format!("{token:?} is no operand")),
        };
        if AGGREGATORS.contains(&word.as_str()) {
            let by = if self.takes("by") { self.labels()? } else { BTreeSet::new() };
            let mut inner = self.arguments(None)?;
            for label in &by {
                demand(&mut self.selectors, &inner, label)?;
            }
            inner.iter_mut().for_each(|reach| reach.kept = Some(by.clone()));
            Ok(inner)
        } else if RANGE_FUNCTIONS.contains(&word.as_str()) {
            self.arguments(Some(&word))
        } else if FUNCTIONS.contains(&word.as_str()) {
            let mut inner = self.arguments(None)?;
            if word == "histogram_quantile" {
                demand(&mut self.selectors, &inner, "le")?;
            } else {
                inner.iter_mut().for_each(|reach| reach.kept = Some(self.selectors[reach.selector].fixed()));
            }
            Ok(inner)
        } else {
            self.selector(word, range_function)
        }
    }

    fn arguments(&mut self, range_function: Option<&str>) -> Result<Vec<Reach>, String> {
        self.take("(")?;
        let mut all = self.expression(range_function)?;
        while self.takes(",") {
            all.extend(self.expression(range_function)?);
        }
        self.take(")")?;
        Ok(all)
    }

    fn labels(&mut self) -> Result<BTreeSet<String>, String> {
        self.take("(")?;
        let mut labels = BTreeSet::from([self.word()?]);
        while self.takes(",") {
            labels.insert(self.word()?);
        }
        self.take(")")?;
        Ok(labels)
    }

    fn selector(&mut self, metric: String, range_function: Option<&str>) -> Result<Vec<Reach>, String> {
        let mut matchers = Vec::new();
        if self.takes("{") && !self.takes("}") {
            loop {
                let label = self.word()?;
                let operator = MATCHES.into_iter().find(|operator| self.takes(operator));
                let (Some(operator), Some(Token::Text(value))) = (operator, self.next()) else {
                    return Err(format!("{metric}: `{label}` is not compared with a text"));
                };
                matchers.push(Matcher { label, operator: operator.to_owned(), value });
                if self.takes("}") {
                    break;
                }
                self.take(",")?;
            }
        }
        let range = match self.tokens.get(self.at) {
            Some(Token::Range(range)) => Some(range.clone()),
            _ => None,
        };
        self.at += usize::from(range.is_some());
        if range.is_some() != range_function.is_some() {
            return Err(format!("{metric}: a range goes with {RANGE_FUNCTIONS:?} alone, and each of them takes one"));
        }
        if range.is_some_and(|range| !is_range(&range)) {
            return Err(format!("{metric}: the range is no duration"));
        }
        let read_by = range_function.map(str::to_owned);
        self.selectors.push(Selector { metric, matchers, demanded: BTreeSet::new(), read_by });
        Ok(vec![Reach { selector: self.selectors.len() - 1, kept: None }])
    }
}

impl Selector {
    /// The labels whose value it says: an absent series has no others.
    fn fixed(&self) -> BTreeSet<String> {
        self.matchers.iter().filter(|matcher| matcher.operator == "=").map(|matcher| matcher.label.clone()).collect()
    }
}

/// Whether it is a duration such as `5m`, or stands for one.
pub(crate) fn is_range(text: &str) -> bool {
    let number = text.trim_end_matches(['s', 'm', 'h', 'd', 'w']);
    let simple = text.len() == number.len() + 1 && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    simple || GRAFANA_RANGES.contains(&text)
}
