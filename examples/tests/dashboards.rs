//! What the dashboard and the alert rules in `deploy` ask for is what the server tells: every metric, every label, every
//! value that is looked for.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod promql;
mod support;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

use promql::{Matcher, Query, Selector, is_range};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use support::{KEY, Server, folder, settings, within};

const DASHBOARD: &str = "deploy/grafana/heartbeat.json";
const RULES: &str = "deploy/prometheus/heartbeat.rules.yml";
/// What Prometheus itself adds to every series, and the series that it makes for every target.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];
const UP: &str = "up";
/// What Prometheus asks for.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The values of a label of a metric.
type Values = BTreeSet<String>;

/// What a server told: the labels of every metric, and the kind of every family.
#[derive(Default)]
struct Scrape {
    metrics: BTreeMap<String, BTreeMap<String, Values>>,
    kinds: BTreeMap<String, String>,
}

impl Scrape {
    fn read(text: &str) -> Self {
        let mut scrape = Self::default();
        scrape.metrics.insert(UP.to_owned(), BTreeMap::new());
        for line in text.lines() {
            if let Some((family, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                scrape.kinds.insert(family.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                // But for its value a line is a selector.
                let series = line.rsplit_once(' ').expect("a value").0;
                let selector = Query::read(series).unwrap().selectors.remove(0);
                let labels = scrape.metrics.entry(selector.metric).or_default();
                for Matcher { label, value, .. } in selector.matchers {
                    labels.entry(label).or_default().insert(value);
                }
            }
        }
        scrape
    }

    fn kind(&self, metric: &str) -> &str {
        let endings = ["_total", "_bucket", "_sum", "_count", ""];
        let families = endings.iter().filter_map(|ending| metric.strip_suffix(ending));
        families.filter_map(|family| self.kinds.get(family)).next().map_or("gauge", String::as_str)
    }

    /// What is wrong with the questions of an expression.
    fn faults(&self, query: &Query) -> Vec<String> {
        query.selectors.iter().flat_map(|selector| self.faults_of(selector)).collect()
    }

    fn faults_of(&self, selector: &Selector) -> Vec<String> {
        let Selector { metric, matchers, demanded, read_by } = selector;
        let Some(labels) = self.metrics.get(metric) else { return vec![format!("there is no metric {metric}")] };
        let mut faults = Vec::new();
        let needed = demanded.iter().chain(matchers.iter().map(|matcher| &matcher.label));
        for label in needed.filter(|label| !TARGET_LABELS.contains(&label.as_str())) {
            if !labels.contains_key(label) {
                faults.push(format!("{metric} has no label `{label}`"));
            }
        }
        for Matcher { label, operator, value } in matchers {
            let Some(seen) = labels.get(label) else { continue };
            // A mistake in one of several alternatives would else be hidden by the others.
            let alternatives = if operator.ends_with('~') { value.split('|').collect() } else { vec![value.as_str()] };
            for alternative in alternatives {
                let pattern = if operator.ends_with('~') { alternative.to_owned() } else { regex::escape(alternative) };
                let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
                if !seen.iter().any(|value| pattern.is_match(value)) {
                    faults.push(format!("no `{label}` of {metric} is {alternative}"));
                }
            }
        }
        if let Some(function) = read_by {
            let grows = self.kind(metric) != "gauge";
            if grows != (function != "deriv") {
                faults.push(format!("`{function}` is not for {metric}, a {}", self.kind(metric)));
            }
        }
        faults
    }
}

/// An expression, and the labels of its result that something shows.
#[derive(Debug)]
struct Expression {
    place: String,
    text: String,
    shown: Vec<String>,
}

impl Expression {
    fn faults(&self, scrape: &Scrape) -> Vec<String> {
        let query = Query::read(&self.text).and_then(|mut query| {
            self.shown.iter().try_for_each(|label| query.demand(label))?;
            Ok(query)
        });
        let faults = query.map_or_else(|error| vec![error], |query| scrape.faults(&query));
        faults.into_iter().map(|fault| format!("{}: {fault}", self.place)).collect()
    }
}

/// What stands between each `before` and the first character behind it that is not of a name.
fn names_after(text: &str, before: &str) -> Vec<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    text.split(before).skip(1).map(name).collect()
}

struct Dashboard(Value);

impl Dashboard {
    fn read() -> Self {
        Self(serde_json::from_str(&read(DASHBOARD)).unwrap())
    }

    /// All panels, rows and what is folded into them too.
    fn panels(&self) -> Vec<&Value> {
        let mut found = Vec::new();
        let mut left: Vec<&Value> = self.0["panels"].as_array().expect("panels").iter().collect();
        while let Some(panel) = left.pop() {
            left.extend(panel["panels"].as_array().into_iter().flatten());
            found.push(panel);
        }
        found
    }

    fn expressions(&self) -> Vec<Expression> {
        let targets = self.panels().into_iter().flat_map(|panel| {
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| (panel["title"].as_str().expect("a title"), target))
        });
        let of_targets = targets.map(|(title, target)| Expression {
            place: format!("{DASHBOARD}, {title}"),
            text: target["expr"].as_str().expect("an expression").to_owned(),
            shown: names_after(target["legendFormat"].as_str().expect("a legend"), "{{"),
        });
        let variables = self.0["templating"]["list"].as_array().expect("variables").iter();
        let of_variables = variables.filter(|variable| variable["type"] == "query").map(|variable| {
            let query = variable["query"]["query"].as_str().expect("a query");
            let asked = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (text, label) = asked.and_then(|asked| asked.rsplit_once(", ")).expect("a metric and a label");
            let place = format!("{DASHBOARD}, variable {}", variable["name"]);
            Expression { place, text: text.to_owned(), shown: vec![label.to_owned()] }
        });
        of_targets.chain(of_variables).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasting: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Rules {
    fn read() -> Self {
        yaml_serde::from_str(&read(RULES)).unwrap()
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }

    fn expressions(&self) -> Vec<Expression> {
        let expression = |rule: &Rule| Expression {
            place: format!("{RULES}, {}", rule.alert),
            text: rule.expr.clone(),
            shown: rule.annotations.values().flat_map(|text| names_after(text, "$labels.")).collect(),
        };
        self.rules().map(expression).collect()
    }
}

/// Makes of everything some that the files look for: every kind of route, 429, 503, a channel that fails.
async fn make_traffic(server: &Server) -> Vec<reqwest::Response> {
    for path in ["/ping/token-of-a", "/ping/token-of-a/fail", "/ping/token-of-a", "/api/push/token-of-a"] {
        server.get(path).await;
    }
    for path in
        ["/api/pings/?service=a", "/ext/heartbeat/a/secret", "/readyz", "/healthz", "/api/v3/status/", "/metrics"]
    {
        server.api("GET", path, None).await;
    }
    // As many as are served, and one more.
    let mut streams = Vec::new();
    loop {
        let request = server.request("GET", "/api/events").bearer_auth(KEY).send();
        let stream = within("a stream", request).await.expect("an answer");
        match stream.status().as_u16() {
            200 => streams.push(stream),
            status => break assert_eq!(status, 503),
        }
    }
    streams
}

/// What Prometheus would get, once a delivery has failed.
async fn scrape(server: &Server) -> Scrape {
    let deliveries = "heartbeat_notification_errors_total{channel=\"hook\"} ";
    loop {
        let answer = server.send(server.request("GET", "/metrics").header("Accept", ACCEPT)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let failed = answer.text.lines().find_map(|line| line.strip_prefix(deliveries));
        if failed.is_some_and(|count| count != "0") {
            return Scrape::read(&answer.text);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_is_told() {
    let folder = folder();
    let channel =
        "[[channel]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\nallow_private = true\n";
    let file = settings(folder.path(), &format!("pings_per_minute = 2\n{channel}"));
    let server = Server::start(folder.path(), &["--config", file.to_str().expect("a path")]).await;
    let wish = json!({"slug": "a", "schedule": {"every": "1h"}, "token": "token-of-a", "channels": ["hook"]});
    assert_eq!(server.api("POST", "/api/monitors", Some(wish)).await.status, 201);
    let streams = make_traffic(&server).await;
    let scrape = within("a failed delivery", scrape(&server)).await;

    let mut expressions = Dashboard::read().expressions();
    expressions.extend(Rules::read().expressions());
    none(&expressions.iter().flat_map(|expression| expression.faults(&scrape)).collect::<Vec<_>>());
    drop(streams);
    server.stop().await;
}

#[test]
fn the_dashboard_belongs_to_no_installation() {
    let dashboard = Dashboard::read();
    assert_eq!(dashboard.0["id"], Value::Null, "Grafana gives a number of its own");
    let mut titles = HashSet::new();
    let mut numbers = HashSet::new();
    for panel in dashboard.panels() {
        let title = panel["title"].as_str().expect("a title");
        assert!(!title.is_empty() && titles.insert(title), "two panels are called {title}");
        assert!(numbers.insert(panel["id"].as_u64().expect("a number")), "{title} has the number of another panel");
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().expect("targets");
        for asked in targets.iter().chain([panel]) {
            assert_eq!(asked["datasource"], json!({"type": "prometheus", "uid": "${datasource}"}), "{title}");
        }
    }
}

#[test]
fn every_rule_tells_what_to_do() {
    let rules = Rules::read();
    let names: HashSet<_> = rules.rules().map(|rule| &rule.alert).collect();
    assert_eq!(names.len(), rules.rules().count(), "two rules have one name");
    let groups: HashSet<_> = rules.groups.iter().map(|group| &group.name).collect();
    assert_eq!(groups.len(), rules.groups.len(), "two groups have one name");
    for Rule { alert, lasting, labels, annotations, .. } in rules.rules() {
        assert!(is_range(lasting), "{alert}: `{lasting}` is no duration");
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("warning" | "critical")), "{alert}: {severity:?}");
        for text in ["summary", "description"] {
            assert!(annotations.get(text).is_some_and(|text| !text.trim().is_empty()), "{alert} has no {text}");
        }
    }
}

#[test]
fn mistakes_are_found() {
    let scrape = Scrape::read(
        "# TYPE requests counter\nrequests_total{route=\"/a/{b}\",status=\"200\"} 1\n\
         # TYPE took_seconds histogram\ntook_seconds_bucket{le=\"+Inf\",route=\"/a/{b}\"} 1\n# TYPE waiting gauge\nwaiting 0\n# EOF\n",
    );
    let good = "sum by (job, route) (rate(requests_total{status=~\"2..\"}[5m])) / 2 > 0.5 and waiting{job=\"x\"} == 0";
    let cases = [
        (good, "route", None),
        ("histogram_quantile(0.9, sum by (le) (rate(took_seconds_bucket[5m])))", "", None),
        ("absent(up{job=\"x\"})", "job", None),
        ("requests", "", Some("there is no metric requests")),
        ("sum by (method) (rate(requests_total[5m]))", "", Some("has no label `method`")),
        ("requests_total{method=\"GET\"}", "", Some("has no label `method`")),
        ("requests_total{status=~\"200|404\"}", "", Some("no `status` of requests_total is 404")),
        ("requests_total{route=\"/a\"}", "", Some("no `route` of requests_total is /a")),
        ("sum by (job) (requests_total)", "route", Some("`route` of requests_total is summed up")),
        ("absent(up{job=\"x\"})", "instance", Some("`instance` of up is summed up")),
        ("histogram_quantile(0.9, sum by (route) (rate(took_seconds_bucket[5m])))", "", Some("`le` of took_seconds")),
        ("histogram_quantile(0.9, rate(requests_total[5m]))", "", Some("has no label `le`")),
        ("rate(waiting[5m])", "", Some("`rate` is not for waiting, a gauge")),
        ("deriv(requests_total[5m])", "", Some("`deriv` is not for requests_total, a counter")),
        ("rate(requests_total)", "", Some("each of them takes one")),
        ("sum(requests_total[5m])", "", Some("each of them takes one")),
        ("rate(requests_total[5 minutes])", "", Some("no duration")),
        ("summ(requests_total)", "", Some("is too much")),
        ("sum(requests_total", "", Some("`)` is missing")),
        ("requests_total >", "", Some("is no operand")),
        ("requests_total{status=200}", "", Some("is not compared with a text")),
    ];
    for (text, shown, fault) in cases {
        let shown = Some(shown.to_owned()).filter(|label| !label.is_empty()).into_iter().collect();
        let faults = Expression { place: "here".to_owned(), text: text.to_owned(), shown }.faults(&scrape);
        match fault {
            None => none(&faults),
            Some(fault) => assert!(faults.iter().any(|found| found.contains(fault)), "{text}: {faults:?}"),
        }
    }
}
