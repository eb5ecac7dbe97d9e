//! What the operating system knows of this process, under the names that all programs use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// Reads `/proc`; on other systems than Linux it tells nothing.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    #[cfg(not(target_os = "linux"))]
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeMetric;
        use prometheus_client::metrics::MetricType;
        use prometheus_client::metrics::counter::ConstCounter;

        use super::engine::gauge;

        let out = &mut encoder;
        // What cannot be read, as in some containers, is left out.
        let Some(seen) = linux::look() else { return Ok(()) };
        let cpu = out.encode_descriptor(
            "process_cpu_seconds",
            "User and system CPU time spent in seconds",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(seen.cpu_s).encode(cpu)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory size in bytes", seen.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory size in bytes", seen.virtual_bytes),
            ("process_threads", "Number of threads", seen.threads),
        ] {
            gauge(out, name, help, value)?;
        }
        for (name, help, value) in [
            ("process_start_time_seconds", "Start time since the Unix epoch in seconds", seen.started_s),
            ("process_open_fds", "Number of open file descriptors", seen.open_files),
            ("process_max_fds", "Maximum number of open file descriptors", seen.open_files_max),
        ] {
            if let Some(value) = value {
                gauge(out, name, help, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::{LimitValue, Process};
    use procfs::{boot_time_secs, page_size, ticks_per_second};

    /// This process as it is now.
    pub(super) struct Seen {
        pub(super) cpu_s: f64,
        pub(super) resident_bytes: f64,
        pub(super) virtual_bytes: f64,
        pub(super) threads: f64,
        pub(super) started_s: Option<f64>,
        pub(super) open_files: Option<f64>,
        pub(super) open_files_max: Option<f64>,
    }

    pub(super) fn look() -> Option<Seen> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let second = ticks_per_second() as f64;
        let booted = boot_time_secs().ok().map(|booted| booted as f64);
        let limit = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        Some(Seen {
            cpu_s: (stat.utime + stat.stime) as f64 / second,
            resident_bytes: (stat.rss * page_size()) as f64,
            virtual_bytes: stat.vsize as f64,
            threads: stat.num_threads as f64,
            started_s: booted.map(|booted| booted + stat.starttime as f64 / second),
            open_files: process.fd_count().ok().map(|count| count as f64),
            open_files_max: limit.map(|limit| match limit {
                LimitValue::Value(value) => value as f64,
                LimitValue::Unlimited => f64::INFINITY,
            }),
        })
    }
}
