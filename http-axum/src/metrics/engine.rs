//! What the engine counted, read at each scrape.

use std::fmt;
use std::time::Duration;

use heartbeat_engine::{ChannelMetrics, Distribution, Engine, Metrics, Readiness, StatusWord};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Unit;

use super::cluster::cluster;

/// Reads the engine's own counts.
#[derive(Debug)]
pub(super) struct EngineCollector {
    pub(super) engine: Engine,
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (metrics, readiness) = (self.engine.metrics(), self.engine.readiness());
        let out = &mut encoder;
        parts(out, &readiness)?;
        by_word(out, &metrics)?;
        totals(out, &metrics)?;
        values(out, &metrics)?;
        channels(out, &metrics.channels)?;
        if let Some(shared) = self.engine.cluster() {
            cluster(out, &shared)?;
        }
        distributions(out, &metrics)
    }
}

/// Whether the engine and each of its parts are well.
fn parts(out: &mut DescriptorEncoder<'_>, readiness: &Readiness) -> fmt::Result {
    gauge(out, "ready", "Whether store, evaluator and delivery are well", u64::from(readiness.ready) as f64)?;
    let Readiness { store, evaluator, watch, delivery, .. } = readiness;
    let parts = [("store", store), ("evaluator", evaluator), ("watch", watch), ("delivery", delivery)];
    let well = parts.map(|(part, trouble)| (part, u64::from(trouble.is_none()) as f64));
    gauges(out, ("part_ready", "Whether this part is well"), "part", well)
}

fn by_word(out: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let monitors = metrics.monitors.iter().map(|(word, count)| (word.name(), *count as f64));
    gauges(out, ("monitors", "Monitors by status"), "status", monitors)?;
    let pings = metrics.pings.iter().map(|(signal, count)| (signal.name(), *count));
    counters(out, ("pings", "Heartbeats that were stored, by signal"), "signal", pings)?;
    let changes = metrics.changes.iter().map(|(state, count)| (StatusWord::from(*state).name(), *count));
    counters(out, ("state_changes", "Changes of state, by the new state"), "state", changes)
}

fn totals(out: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    for (name, help, count) in [
        ("batches", "Batches that were committed", metrics.batches),
        ("transitions", "Transitions that were committed", metrics.transitions),
        ("commit_errors", "Commits that failed", metrics.commit_errors),
        ("outages", "Outages of the watcher that were found", metrics.outages),
    ] {
        ConstCounter::new(count).encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}

fn values(out: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    for (name, help, value) in [
        ("notification_oldest_seconds", "Age of the oldest undelivered", seconds(metrics.oldest_undelivered)),
        ("monitors_in_maintenance", "Monitors that a maintenance window covers now", metrics.in_maintenance as f64),
        ("monitors_flapping", "Monitors that flap", metrics.flapping as f64),
        ("incidents_acknowledged", "Open incidents that somebody takes care of", metrics.acknowledged as f64),
        ("incidents_held", "Open incidents held back by what they depend on", metrics.held as f64),
        ("inbox", "Calls that wait to be decided", metrics.inbox as f64),
        ("overdue", "Monitors whose deadline has passed and is not judged yet", metrics.overdue as f64),
        ("last_commit_age_seconds", "How long ago the last batch became durable", seconds(metrics.last_commit_age)),
    ] {
        gauge(out, name, help, value)?;
    }
    Ok(())
}

/// A series of channels: its name, its help, and what it says of one.
type OfChannels<T> = (&'static str, &'static str, fn(&ChannelMetrics) -> T);

/// The deliveries of each channel.
fn channels(out: &mut DescriptorEncoder<'_>, channels: &[ChannelMetrics]) -> fmt::Result {
    let counts: [OfChannels<u64>; 3] = [
        ("notifications_delivered", "Notifications that were delivered", |channel| channel.delivered),
        ("notification_errors", "Attempts to deliver that failed", |channel| channel.errors),
        ("notifications_dead", "Notifications that were given up", |channel| channel.dead),
    ];
    for (name, help, of) in counts {
        counters(out, (name, help), "channel", channels.iter().map(|channel| (channel.name.as_str(), of(channel))))?;
    }
    let values: [OfChannels<f64>; 3] = [
        ("notifications_waiting", "Notifications that wait", |channel| channel.waiting as f64),
        ("channel_oldest_seconds", "Age of the channel's oldest undelivered", |channel| {
            seconds(channel.oldest_waiting)
        }),
        ("channel_failing", "Whether the channel keeps failing", |channel| u64::from(channel.failing) as f64),
    ];
    for (name, help, of) in values {
        gauges(out, (name, help), "channel", channels.iter().map(|channel| (channel.name.as_str(), of(channel))))?;
    }
    Ok(())
}

fn distributions(out: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let seconds = Some(&Unit::Seconds);
    histogram(out, ("commit", "How long commits took until they were durable", seconds), &metrics.commit_seconds)?;
    histogram(out, ("batch_transitions", "Transitions in each committed batch", None), &metrics.batch_transitions)?;
    let help = "From going down until a channel had taken the message of its own that says so";
    histogram(out, ("alert_lag", help, seconds), &metrics.alert_seconds)
}

pub(super) fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

pub(super) fn gauges<'a>(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    values: impl IntoIterator<Item = (&'a str, f64)>,
) -> fmt::Result {
    family(out, (name, help), label, values.into_iter().map(|(word, value)| (word, ConstGauge::new(value))))
}

fn counters<'a>(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    family(out, (name, help), label, values.into_iter().map(|(word, value)| (word, ConstCounter::new(value))))
}

/// One metric for each word that its label has.
fn family<'a, M: EncodeMetric + TypedMetric>(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    metrics: impl Iterator<Item = (&'a str, M)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, M::TYPE)?;
    for (word, metric) in metrics {
        metric.encode(family.encode_family(&[(label, word)])?)?;
    }
    Ok(())
}

fn histogram(
    out: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    distribution: &Distribution,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(distribution.sum, distribution.count(), &distribution.buckets, None)
}

fn seconds(age: Option<Duration>) -> f64 {
    age.map_or(0.0, |age| age.as_secs_f64())
}
