//! What is set for single registries instead of for all: patience, concurrency, connections of a blob.

use oci::Registry;

use super::{ClientOptions, Ranges, RetryPolicy};

/// What is different for one registry; `None` is as for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostOptions {
    /// How often and how patiently its requests are made again.
    pub retry: Option<RetryPolicy>,
    /// How many uploads it gets at once, and twice as many other requests.
    pub requests: Option<usize>,
    /// How a large blob comes from it.
    pub ranges: Option<Ranges>,
}

impl ClientOptions {
    pub(super) fn retry_of(&self, registry: &Registry) -> &RetryPolicy {
        self.hosts.get(registry).and_then(|own| own.retry.as_ref()).unwrap_or(&self.retry)
    }

    pub(super) fn ranges_of(&self, registry: &Registry) -> &Ranges {
        self.hosts.get(registry).and_then(|own| own.ranges.as_ref()).unwrap_or(&self.ranges)
    }

    pub(super) fn requests_of(&self, registry: &Registry) -> usize {
        self.hosts.get(registry).and_then(|own| own.requests).unwrap_or(self.requests_per_host).max(1)
    }

    /// Returns the largest of what any registry gets at once.
    pub(super) fn most_requests(&self) -> usize {
        let own = self.hosts.values().filter_map(|own| own.requests);
        own.chain([self.requests_per_host, 1]).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Clock;

    #[test]
    fn what_is_not_set_for_a_registry_is_as_for_all() {
        let mut options = ClientOptions::new(Clock::new(jiff::Timestamp::default), "/nowhere");
        let own = |host: &str, own: HostOptions| (host.parse().unwrap(), own);
        let ranges = Ranges { parts: 0, ..Ranges::default() };
        let retry = RetryPolicy { attempts: 9, ..RetryPolicy::default() };
        options.hosts.extend([
            own("a.b", HostOptions { requests: Some(20), ranges: Some(ranges), ..HostOptions::default() }),
            own("c.d:5000", HostOptions { retry: Some(retry), ..HostOptions::default() }),
        ]);
        let of = |host: &str| {
            let host = host.parse().unwrap();
            (options.retry_of(&host).attempts, options.requests_of(&host), options.ranges_of(&host).parts)
        };
        assert_eq!(of("a.b"), (3, 20, 0));
        assert_eq!(of("c.d:5000"), (9, 6, 3));
        assert_eq!(of("c.d"), (3, 6, 3));
        assert_eq!(options.most_requests(), 20);
    }
}
