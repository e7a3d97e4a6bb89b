//! Series of versions: which tags a release may move, and which stay with a higher one.

use std::cmp::Ordering;

use super::template::{Field, Template};
use super::version::Version;

/// The versions that share a tag, such as all `1.2.x` for `{major}.{minor}`.
pub(super) struct Series {
    numbers: [bool; 3],
}

impl Series {
    /// All versions, for `latest`.
    pub(super) const ALL: Self = Self { numbers: [false; 3] };

    /// Returns the series a template names; `None` where it names the very version, or none at all.
    pub(super) fn of(template: &Template) -> Option<Self> {
        let has = |wanted: Field| template.fields().any(|field| *field == wanted);
        let numbers = [has(Field::Major), has(Field::Minor), has(Field::Patch)];
        let names_series = numbers.contains(&true) && !has(Field::Version) && !has(Field::Tag);
        names_series.then_some(Self { numbers })
    }

    /// Returns why `version` must not move the series' tag, or `None` where it may.
    pub(super) fn stays(&self, version: &Version, released: &[Version]) -> Option<String> {
        if let Some(reason) = self.stays_alone(version) {
            return Some(reason);
        }
        if !version.has_order() {
            let text = version.text();
            return Some(format!(
                "nothing says whether {text} is the highest: give the rule's `parse` an `as`"
            ));
        }
        let is_rival = |other: &&Version| !other.is_prerelease() && self.shares(version, other);
        let higher = |one, two| match Version::compare(one, two) {
            Some(Ordering::Less) => two,
            _ => one,
        };
        let highest = released.iter().filter(is_rival).reduce(higher)?;
        let is_higher = highest.compare(version) == Some(Ordering::Greater);
        is_higher.then(|| format!("{} is there, and it is higher than {}", highest.text(), version.text()))
    }

    /// Returns why `version` must not move it whatever other versions there are.
    pub(super) fn stays_alone(&self, version: &Version) -> Option<String> {
        let reason = || format!("{} is a pre-release, and this stays with releases", version.text());
        version.is_prerelease().then(reason)
    }

    fn shares(&self, one: &Version, other: &Version) -> bool {
        let same = |at: usize| {
            let (one, other) = (one.number(at), other.number(at));
            one.parse::<u64>().ok().zip(other.parse::<u64>().ok()).map_or(one == other, |(a, b)| a == b)
        };
        (0..3).all(|at| !self.numbers[at] || same(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Scheme;

    #[track_caller]
    fn check(template: &str, scheme: Scheme, version: &str, released: &[&str], stays: bool) {
        let series = Series::of(&template.parse().unwrap()).unwrap();
        let version = Version::of_scheme(version, scheme).unwrap();
        let released: Vec<Version> =
            released.iter().filter_map(|tag| Version::of_scheme(tag, scheme).ok()).collect();
        assert_eq!(series.stays(&version, &released).is_some(), stays, "{template} {}", version.text());
    }

    #[test]
    fn a_back_port_moves_its_own_series_only() {
        check("{major}.{minor}", Scheme::Semver, "1.2.9", &["v1.2.8", "v1.3.0"], false);
        check("{major}", Scheme::Semver, "1.2.9", &["v1.2.8", "v1.3.0"], true);
        check("{major}", Scheme::Semver, "1.2.9", &["v1.2.9", "v1.3.0-rc.1", "v2.0.0"], false);
        check("{major}", Scheme::Semver, "2.0.0-rc.1", &[], true);
        check("{major}", Scheme::Semver, "1.2.3+b", &["1.2.3+c"], false);
        check("{major}", Scheme::Pep440, "1.2", &["1.2.post1"], true);
        check("{major}", Scheme::Pep440, "1.2.post1", &["1.2", "1.3rc1"], false);
        check("{major}.{minor}", Scheme::Calver, "24.4.1", &["24.04.2"], true);
        check("{major}.{minor}", Scheme::Calver, "24.4.1", &["24.10"], false);
    }

    #[test]
    fn the_version_itself_is_no_series() {
        for template in ["v{version}", "{tag}", "main", "{major}-{version}"] {
            assert!(Series::of(&template.parse().unwrap()).is_none(), "{template}");
        }
    }
}
