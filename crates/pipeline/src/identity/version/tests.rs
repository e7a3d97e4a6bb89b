//! Versions that other readers take, in the order they have there.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_read(scheme: Scheme, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(Version::of_scheme(text, scheme).is_ok(), "{text}");
    }
    for text in bad {
        assert!(Version::of_scheme(text, scheme).is_err(), "{text}");
    }
}

/// Checks that each version is higher than the one before it.
#[track_caller]
fn check_order(scheme: Scheme, ascending: &[&str]) {
    let version = |text: &&str| Version::of_scheme(text, scheme).unwrap();
    for pair in ascending.windows(2) {
        let (lower, higher) = (version(&pair[0]), version(&pair[1]));
        assert_eq!(lower.compare(&higher), Some(Ordering::Less), "{pair:?}");
        assert_eq!(higher.compare(&lower), Some(Ordering::Greater), "{pair:?}");
    }
}

#[track_caller]
fn check_prereleases(scheme: Scheme, before: &[&str], after: &[&str]) {
    for (text, expected) in before.iter().map(|t| (t, true)).chain(after.iter().map(|t| (t, false))) {
        assert_eq!(Version::of_scheme(text, scheme).unwrap().is_prerelease(), expected, "{text}");
    }
}

#[test]
fn semantic_versions() {
    check_read(
        Scheme::Semver,
        &["v1.2.3", "1.2.3", "v1.2.3-rc.1", "1.2.3+build.5", "0.0.0"],
        &["", "v", "1.2", "vv1.2.3", "V1.2.3", "01.2.3", "1.2.3.4", " 1.2.3", "v9007199254740992.0.0"],
    );
    check_order(
        Scheme::Semver,
        &["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.10"],
    );
    check_prereleases(Scheme::Semver, &["1.0.0-0"], &["1.0.0+rc.1"]);
    let build = Version::of_scheme("v1.2.3+b.5", Scheme::Semver).unwrap();
    assert_eq!((build.text(), build.in_tag().as_str()), ("1.2.3+b.5", "1.2.3_b.5"));
    let other = Version::of_scheme("v1.2.3+c", Scheme::Semver).unwrap();
    assert_eq!(build.compare(&other), Some(Ordering::Equal));
}

#[test]
fn python_versions() {
    check_read(
        Scheme::Pep440,
        &["1.2", "v1.2.3", "1!2.0", "1.0rc1", "1.0.POST1", "1.0+ubuntu-1", "2013.10"],
        &["", "1.2.x", " 1.0", "1.0\n", "latest", "1.0-bogus"],
    );
    check_order(
        Scheme::Pep440,
        &["1.0.dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0+l.1", "1.0.post1", "1.1", "1!0.1"],
    );
    check_prereleases(
        Scheme::Pep440,
        &["1.0a1", "1.0rc1", "1.0.dev4", "1.0.post1.dev2"],
        &["1.0.post1", "1.0+l"],
    );
    let version = Version::of_scheme("v1!2.0-RC.1+Local.5", Scheme::Pep440).unwrap();
    assert_eq!((version.text(), version.in_tag().as_str()), ("1!2.0rc1+local.5", "1-2.0rc1_local.5"));
    assert_eq!((version.number(0), version.number(1), version.number(2)), ("2", "0", "0"));
}

#[test]
fn calendar_versions() {
    check_read(
        Scheme::Calver,
        &["2026.11", "24.04.1", "v2026.1.15", "2026.01.15-rc1", "22.10.0.1", "2026.11.dev2", "26.1b3"],
        &["", "2026", "1.2.3", "20261106", "2026.", "2026.11-", "2026.11.1.2.3", "2026.11-rc1-x", "2026.11 "],
    );
    check_order(
        Scheme::Calver,
        &[
            "24.04",
            "24.04.1",
            "24.10-dev",
            "24.10b1",
            "24.10-rc1",
            "24.10-rc2",
            "24.10",
            "24.10-2",
            "24.10-lts",
            "2026.1",
        ],
    );
    check_prereleases(
        Scheme::Calver,
        &["26.1-rc1", "26.1.dev0", "26.1-Beta.2"],
        &["26.1-2", "26.1-lts", "26.1"],
    );
    let version = Version::of_scheme("v2026.01.5-rc1", Scheme::Calver).unwrap();
    assert_eq!((version.text(), version.number(1), version.number(2)), ("2026.01.5-rc1", "01", "5"));
}

fn parse(regex: &str, scheme: Option<Scheme>) -> Parse {
    Parse { regex: Some(regex.parse().unwrap()), scheme }
}

#[test]
fn expressions_give_groups_and_perhaps_an_order() {
    let release = parse("^release-(?<version>.+?)(@(?<flavour>\\w+))?$", Some(Scheme::Pep440));
    let version = Version::of_tag("release-1.2rc1@slim", &release).unwrap();
    assert_eq!((version.text(), version.group("flavour"), version.number(1)), ("1.2rc1", "slim", "2"));
    assert!(version.is_prerelease());
    assert_eq!(Version::of_tag("release-1.2", &release).unwrap().group("flavour"), "");
    assert!(Version::of_tag("v1.2", &release).unwrap_err().contains("does not match"));
    assert!(Version::of_tag("release-x", &release).unwrap_err().contains("PEP 440"));
    let own = parse("^b(?<major>\\d+)_(?<minor>\\d+)$", None);
    let version = Version::of_tag("b12_7", &own).unwrap();
    assert_eq!((version.text(), version.number(0), version.number(1)), ("b12_7", "12", "7"));
    assert!(!version.has_order() && version.compare(&version).is_none());
    let plain = Version::of_tag("r1.2.3", &parse("^r(?<version>.*)$", None)).unwrap();
    assert!(plain.has_order());
}

#[test]
fn registry_tags_are_read_back() {
    for (text, scheme) in [
        ("1.2.3+b.5", Scheme::Semver),
        ("1.2.3-rc.1", Scheme::Semver),
        ("1!2.0+l.1", Scheme::Pep440),
        ("1.0.post1", Scheme::Pep440),
        ("2026.01.5-rc1", Scheme::Calver),
    ] {
        let version = Version::of_scheme(text, scheme).unwrap();
        assert_eq!(Version::of_registry_tag(&version.in_tag(), scheme), Some(version), "{text}");
    }
    for tag in ["20261106", "20261106-150405", "1", "latest", "main-1234567"] {
        for scheme in [Scheme::Semver, Scheme::Pep440, Scheme::Calver] {
            assert_eq!(Version::of_registry_tag(tag, scheme), None, "{tag}");
        }
    }
}

#[test]
fn an_expression_that_would_run_for_ever_elsewhere_does_not_here() {
    let slow = parse("^(a+)+(?<version>(a|aa)+)$", None);
    let started = std::time::Instant::now();
    assert!(Version::of_tag(&format!("{}!", "a".repeat(10_000)), &slow).is_err());
    assert!(started.elapsed().as_secs() < 5, "linear time, also unoptimised");
    assert!("((a{1000}){1000}){1000}".parse::<crate::configuration::Pattern>().is_err());
}

proptest! {
    #[test]
    fn readers_never_panic(text in "(\\PC|[0-9.v!+_-]){0,60}") {
        for scheme in [Scheme::Semver, Scheme::Pep440, Scheme::Calver] {
            if let Ok(version) = Version::of_scheme(&text, scheme) {
                prop_assert_eq!(version.compare(&version), Some(Ordering::Equal));
                let again = Version::of_scheme(version.text(), scheme);
                prop_assert_eq!(again.as_ref().map(Version::text), Ok(version.text()));
            }
            Version::of_registry_tag(&text, scheme);
        }
    }
}
