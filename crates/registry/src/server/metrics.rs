//! What the server counts, in the text form that Prometheus reads. Labels come from closed sets, so
//! no client can make the list grow. Source: Prometheus, "Exposition formats", text format 0.0.4.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use store::Collected;

use super::proxy::Counts;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
/// Upper bounds in milliseconds.
const BOUNDS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1000, 5000, 30000];

/// The counters.
#[derive(Default)]
pub(super) struct Metrics {
    requests: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    durations: [AtomicU64; BOUNDS.len() + 1],
    duration_micros: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    pub connections: AtomicU64,
    defects: AtomicU64,
    collections: AtomicU64,
    collected_blobs: AtomicU64,
    collected_bytes: AtomicU64,
}

impl Metrics {
    /// Counts an answer; `bytes` is the size of its content.
    pub fn answered(&self, method: &str, status: u16, bytes: u64, elapsed: Duration) {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status / 100).saturating_sub(2).min(CLASSES.len() - 1);
        self.requests[method][class].fetch_add(1, Relaxed);
        self.sent_bytes.fetch_add(bytes, Relaxed);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.duration_micros.fetch_add(micros, Relaxed);
        let bucket = BOUNDS.iter().position(|bound| micros <= bound * 1000).unwrap_or(BOUNDS.len());
        self.durations[bucket].fetch_add(1, Relaxed);
    }

    /// Counts a panic.
    pub fn ran_into_defect(&self) {
        self.defects.fetch_add(1, Relaxed);
    }

    /// Counts content of an upload.
    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a collection.
    pub fn collected(&self, collected: &Collected) {
        self.collections.fetch_add(1, Relaxed);
        self.collected_blobs.fetch_add(collected.blobs, Relaxed);
        self.collected_bytes.fetch_add(collected.bytes, Relaxed);
    }

    /// Returns everything as text; `uploads` are under way.
    pub fn text(&self, uploads: usize) -> String {
        let mut text = String::with_capacity(4096);
        let begin = |text: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(
                text,
                "# HELP plimsoll_registry_{name} {help}\n# TYPE plimsoll_registry_{name} {kind}"
            );
        };
        begin(&mut text, "requests_total", "counter", "Answers by method and class of status.");
        for (method, classes) in METHODS.iter().zip(&self.requests) {
            for (class, count) in CLASSES.iter().zip(classes) {
                let count = count.load(Relaxed);
                let _ = writeln!(
                    text,
                    "plimsoll_registry_requests_total{{method=\"{method}\",status=\"{class}\"}} {count}"
                );
            }
        }
        let name = "request_duration_seconds";
        begin(&mut text, name, "histogram", "From the head of a request to the head of its answer.");
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().map(Some).chain([None]).zip(&self.durations) {
            below += count.load(Relaxed);
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| decimal(*bound, 1000));
            let _ = writeln!(text, "plimsoll_registry_{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let sum = decimal(self.duration_micros.load(Relaxed), 1_000_000);
        let _ = writeln!(text, "plimsoll_registry_{name}_sum {sum}\nplimsoll_registry_{name}_count {below}");
        let single = [
            ("received_bytes_total", "counter", "Content of uploads.", self.received_bytes.load(Relaxed)),
            ("sent_bytes_total", "counter", "Content of answers.", self.sent_bytes.load(Relaxed)),
            ("connections", "gauge", "Open connections.", self.connections.load(Relaxed)),
            ("uploads", "gauge", "Uploads under way.", uploads as u64),
            ("defects_total", "counter", "Requests and rounds that panicked.", self.defects.load(Relaxed)),
            ("collections_total", "counter", "Garbage collections.", self.collections.load(Relaxed)),
            ("collected_blobs_total", "counter", "Blobs they removed.", self.collected_blobs.load(Relaxed)),
            ("collected_bytes_total", "counter", "Bytes they removed.", self.collected_bytes.load(Relaxed)),
        ];
        for (name, kind, help, value) in single {
            begin(&mut text, name, kind, help);
            let _ = writeln!(text, "plimsoll_registry_{name} {value}");
        }
        text
    }
}

impl Counts {
    /// Adds what is counted of the cache of other registries.
    pub fn write(&self, text: &mut String) {
        let counters = [
            ("hits_total", "Manifests and blobs of cached registries that were here.", &self.hits),
            ("misses_total", "Those that had to be fetched.", &self.misses),
            ("stale_total", "Those served although their registry did not answer.", &self.stale),
            ("failures_total", "Questions that cached registries did not answer.", &self.failures),
            ("fetched_bytes_total", "Content of blobs from cached registries.", &self.fetched_bytes),
            ("evicted_total", "Manifests of cached registries that were let go of.", &self.evicted),
        ];
        for (name, help, count) in counters {
            let name = format!("plimsoll_registry_proxy_{name}");
            let count = count.load(Relaxed);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}");
        }
    }
}

/// Writes `value / unit` without going through floating point, whose sums drift.
fn decimal(value: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.answered("GET", 200, 10, Duration::from_micros(900));
        metrics.answered("GET", 404, 5, Duration::from_millis(70));
        metrics.answered("BREW", 405, 0, Duration::from_secs(60));
        metrics.received(7);
        metrics.ran_into_defect();
        let text = metrics.text(3);
        for line in [
            "plimsoll_registry_requests_total{method=\"GET\",status=\"2xx\"} 1",
            "plimsoll_registry_requests_total{method=\"other\",status=\"4xx\"} 1",
            "plimsoll_registry_request_duration_seconds_bucket{le=\"0.001\"} 1",
            "plimsoll_registry_request_duration_seconds_bucket{le=\"0.1\"} 2",
            "plimsoll_registry_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "plimsoll_registry_request_duration_seconds_sum 60.0709",
            "plimsoll_registry_request_duration_seconds_count 3",
            "plimsoll_registry_received_bytes_total 7",
            "plimsoll_registry_sent_bytes_total 15",
            "plimsoll_registry_uploads 3",
            "plimsoll_registry_defects_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let is_comment_or_pair = |line: &str| line.starts_with("# ") || line.split(' ').count() == 2;
        assert!(text.lines().all(is_comment_or_pair));
    }
}
