//! `[defaults.push.host."HOST"]` and what it is about: how single registries are asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Push, Retry, Timespan};

/// Parts that are smaller cost more in requests than they carry; larger ones lie in memory.
const PART_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;
/// Connections of one blob.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=16;
/// Requests to one host at once.
const REQUESTS: std::ops::RangeInclusive<u32> = 1..=64;

/// How a large blob comes over several connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ranges {
    /// How many connections one blob gets; 1 is one for everything.
    #[schemars(range(min = 1, max = 16))]
    pub connections: u32,
    /// Size of the part that each of them brings at once; from blobs of three parts on.
    pub size: ByteSize,
    /// Hosts that answer sooner are near: their blobs come over one connection. `0s` is nowhere.
    pub near: Timespan,
}

impl Default for Ranges {
    fn default() -> Self {
        let near = Timespan(std::time::Duration::from_millis(20));
        Self { connections: 4, size: ByteSize(4 << 20), near }
    }
}

/// What is different for one registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostTransfer {
    /// How often a request is made again; what is absent is as in `[defaults.push.retry]`.
    pub retry: HostRetry,
    /// How many uploads it gets at once, and twice as many other requests.
    #[schemars(range(min = 1, max = 64))]
    pub requests: Option<u32>,
    /// How a large blob comes; what is absent is as in `[defaults.push.ranges]`.
    pub ranges: HostRanges,
}

/// What is different in `[defaults.push.retry]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each field is that of Retry")]
pub struct HostRetry {
    #[schemars(range(min = 1, max = 100))]
    pub attempts: Option<u32>,
    pub wait: Option<Timespan>,
    #[schemars(range(min = 1.0, max = 10.0))]
    pub backoff: Option<f64>,
    pub timeout: Option<Timespan>,
    pub total: Option<Timespan>,
    #[schemars(range(min = 0, max = 10_000))]
    pub budget: Option<u32>,
    pub silence: Option<Timespan>,
}

/// What is different in `[defaults.push.ranges]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each field is that of Ranges")]
pub struct HostRanges {
    #[schemars(range(min = 1, max = 16))]
    pub connections: Option<u32>,
    pub size: Option<ByteSize>,
    pub near: Option<Timespan>,
}

impl HostRetry {
    /// Returns the whole policy, where `usual` is that for all.
    pub fn over(&self, usual: &Retry) -> Retry {
        Retry {
            attempts: self.attempts.unwrap_or(usual.attempts),
            wait: self.wait.unwrap_or(usual.wait),
            backoff: self.backoff.unwrap_or(usual.backoff),
            timeout: self.timeout.unwrap_or(usual.timeout),
            total: self.total.unwrap_or(usual.total),
            budget: self.budget.unwrap_or(usual.budget),
            silence: self.silence.unwrap_or(usual.silence),
        }
    }
}

impl HostRanges {
    /// Returns the whole setting, where `usual` is that for all.
    pub fn over(&self, usual: &Ranges) -> Ranges {
        Ranges {
            connections: self.connections.unwrap_or(usual.connections),
            size: self.size.unwrap_or(usual.size),
            near: self.near.unwrap_or(usual.near),
        }
    }
}

impl Push {
    /// Tells `report` what is wrong with how registries are asked: the key, from `push` on, and why.
    pub(super) fn check_transfers(&self, mut report: impl FnMut(&[&str], &str)) {
        check_retry(&self.retry, |key, why| report(&["retry", key], why));
        check_ranges(&self.ranges, |key, why| report(&["ranges", key], why));
        check_requests(self.requests, |why| report(&["requests"], why));
        for (host, own) in &self.host {
            if let Err(error) = host.parse::<oci::Registry>() {
                report(&["host", host], &error.to_string());
            }
            check_retry(&own.retry.over(&Retry::default()), |key, why| {
                report(&["host", host, "retry", key], why)
            });
            let ranges = own.ranges.over(&Ranges::default());
            check_ranges(&ranges, |key, why| report(&["host", host, "ranges", key], why));
            let requests = own.requests.unwrap_or(*REQUESTS.start());
            check_requests(requests, |why| report(&["host", host, "requests"], why));
        }
    }
}

fn check_retry(retry: &Retry, mut report: impl FnMut(&str, &str)) {
    if !(1..=100).contains(&retry.attempts) {
        report("attempts", "attempts go from 1 to 100");
    }
    if !(1.0..=10.0).contains(&retry.backoff) {
        report("backoff", "backoff goes from 1.0 to 10.0");
    }
    if retry.budget > 10_000 {
        report("budget", "the budget goes from 0 to 10000");
    }
    if retry.silence.0.as_secs() < 1 {
        report("silence", "silence is at least 1s");
    }
}

fn check_ranges(ranges: &Ranges, mut report: impl FnMut(&str, &str)) {
    if !CONNECTIONS.contains(&ranges.connections) {
        report("connections", "connections go from 1 to 16");
    }
    if !PART_BYTES.contains(&ranges.size.0) {
        report("size", "the size of a part goes from 64KiB to 64MiB");
    }
}

fn check_requests(requests: u32, report: impl FnOnce(&str)) {
    if !REQUESTS.contains(&requests) {
        report("requests go from 1 to 64");
    }
}
