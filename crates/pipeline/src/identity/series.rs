//! Series of versions: which tags a release may move, and which stay with a higher one.
//!
//! Source: semver.org 2.0.0, items 9 to 11 for the order.

use semver::Version;

use super::template::{Field, Template};

/// Returns the version a git tag names: `1.2.3`, with or without one `v`.
pub(super) fn parse(tag: &str) -> Option<Version> {
    let version = Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
    // Numbers that other readers of semantic versions cannot hold are not versions to them.
    let held = |number: u64| number < 1 << 53;
    (held(version.major) && held(version.minor) && held(version.patch)).then_some(version)
}

/// The versions that share a tag, such as all `1.2.x` for `{major}.{minor}`.
pub(super) struct Series {
    major: bool,
    minor: bool,
    patch: bool,
}

impl Series {
    /// All versions, for `latest`.
    pub(super) const ALL: Self = Self { major: false, minor: false, patch: false };

    /// Returns the series a template names; `None` where it names the very version, or none at all.
    pub(super) fn of(template: &Template) -> Option<Self> {
        let has = |wanted: Field| template.fields().any(|field| *field == wanted);
        let series = Self { major: has(Field::Major), minor: has(Field::Minor), patch: has(Field::Patch) };
        let names_series =
            (series.major || series.minor || series.patch) && !has(Field::Version) && !has(Field::Tag);
        names_series.then_some(series)
    }

    /// Returns why `version` must not move the series' tag, or `None` where it may.
    pub(super) fn stays(
        &self,
        version: &Version,
        released: impl IntoIterator<Item = Version>,
    ) -> Option<String> {
        if !version.pre.is_empty() {
            return Some(format!("{version} is a pre-release, and this stays with releases"));
        }
        let rivals = released.into_iter().filter(|other| other.pre.is_empty() && self.shares(version, other));
        let highest = rivals.max().filter(|highest| highest.cmp_precedence(version).is_gt())?;
        Some(format!("{highest} is there, and it is higher than {version}"))
    }

    fn shares(&self, one: &Version, other: &Version) -> bool {
        (!self.major || one.major == other.major)
            && (!self.minor || one.minor == other.minor)
            && (!self.patch || one.patch == other.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_others_do() {
        for good in ["v1.2.3", "1.2.3", "v1.2.3-rc.1", "1.2.3+build.5", "0.0.0"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in
            ["", "v", "1.2", "vv1.2.3", "V1.2.3", "01.2.3", "1.2.3.4", " 1.2.3", "v9007199254740992.0.0"]
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[track_caller]
    fn check(template: &str, version: &str, released: &[&str], stays: bool) {
        let series = Series::of(&template.parse().unwrap()).unwrap();
        let released = released.iter().filter_map(|tag| parse(tag));
        assert_eq!(series.stays(&parse(version).unwrap(), released).is_some(), stays, "{template} {version}");
    }

    #[test]
    fn a_back_port_moves_its_own_series_only() {
        check("{major}.{minor}", "1.2.9", &["v1.2.8", "v1.3.0"], false);
        check("{major}", "1.2.9", &["v1.2.8", "v1.3.0"], true);
        check("{major}", "1.2.9", &["v1.2.9", "v1.3.0-rc.1", "v2.0.0"], false);
        check("{major}", "2.0.0-rc.1", &[], true);
        check("{major}", "1.2.3+b", &["1.2.3+c"], false);
    }

    #[test]
    fn the_version_itself_is_no_series() {
        for template in ["v{version}", "{tag}", "main", "{major}-{version}"] {
            assert!(Series::of(&template.parse().unwrap()).is_none(), "{template}");
        }
    }
}
