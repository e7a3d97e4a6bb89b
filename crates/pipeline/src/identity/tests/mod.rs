//! Rules applied to events: the contract's own examples first, then every ugliness.

mod kinds;
mod monorepo;
mod properties;
mod versions;

use super::*;
use crate::configuration::Configuration;
use crate::event::tests::{assumed, event};
use crate::event::{Assumed, PullRequest, Run};

const RULES: &str = r#"
[[identity.tag]]
on = "pull_request"
tags = ["pr-{pr}", "pr-{pr}-{sha}"]
immutable = ["pr-{pr}-{sha}"]
[[identity.tag]]
on = "branch:main"
tags = ["main", "main-{sha}", "sha-{sha:long}", "{date:%Y%m%d}", "{date:%Y%m%d-%H%M%S}"]
[[identity.tag]]
on = "branch:development"
tags = ["dev"]
[[identity.tag]]
on = "branch:feature/**"
tags = ["{branch|slug}-{sha}"]
[[identity.tag]]
on = "tag:v*"
parse = "semver"
tags = ["v{version}", "{version}", "{major}.{minor}", "{major}"]
[identity.labels]
"org.opencontainers.image.vendor" = "Acme"
"#;

fn rules(text: &str) -> IdentityRules {
    Configuration::parse(text, "plimsoll.toml").unwrap().identity
}

fn named(rules: &IdentityRules, event: &Event, existing: &[&str]) -> Identity {
    let existing_tags: Vec<String> = existing.iter().map(|tag| (*tag).to_owned()).collect();
    let now = "2026-12-24T18:00:00.123456789Z".parse().unwrap();
    identify(
        rules,
        &Subject { existing_tags: &existing_tags, project: "Acme/Shop", ..Subject::new(event, "api", now) },
    )
}

fn tags(identity: &Identity) -> String {
    identity.tags.iter().map(|planned| planned.tag.as_str()).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(as_event: &str, existing: &[&str], expected: &str) {
    assert_eq!(tags(&named(&rules(RULES), &assumed(as_event), existing)), expected);
}

#[track_caller]
fn check_dropped(identity: &Identity, template: &str, reason: &str) {
    let found = identity.explained.iter().find(|explained| explained.template == template).unwrap();
    let dropped = found.dropped.as_deref().unwrap_or_default();
    assert!(dropped.contains(reason), "{template}: {dropped}");
}

#[test]
fn the_contracts_examples() {
    check("pr:42", &[], "pr-42 pr-42-abc1234");
    let long = crate::event::tests::COMMIT;
    check("branch:main", &[], &format!("main main-abc1234 sha-{long} 20261106 20261106-150405"));
    check("branch:development", &[], "dev");
    check("branch:feature/Add_New-Feature", &[], "feature-add-new-feature-abc1234");
    check("branch:feature/dns/subdomain", &[], "feature-dns-subdomain-abc1234");
    check("branch:feature/fix-#123", &[], "feature-fix-123-abc1234");
    check("branch:hotfix", &[], "");
    check("tag:v1.2.3", &[], "v1.2.3 1.2.3 1.2 1 latest");
}

#[test]
fn the_cut_leaves_room_for_the_suffix() {
    let identity = named(&rules(RULES), &assumed(&format!("branch:feature/{}", "x".repeat(500))), &[]);
    let tag = identity.tags[0].tag.as_str();
    assert_eq!(tag.len(), 120 + 1 + 7);
    assert!(tag.ends_with("x-abc1234"));
}

#[test]
fn series_and_latest_stay_with_the_higher_release() {
    check("tag:v1.2.9", &["v1.2.8", "v1.3.0", "v1.2.9"], "v1.2.9 1.2.9 1.2");
    check("tag:v2.0.0-rc.1", &["v1.3.0"], "v2.0.0-rc.1 2.0.0-rc.1");
    check("tag:v1.3.1", &["v1.3.0", "v2.0.0-rc.1", "junk", "9.9.9"], "v1.3.1 1.3.1 1.3 1 latest");
    check("tag:v1.2.3+b.5", &[], "v1.2.3_b.5 1.2.3_b.5 1.2 1 latest");
    let identity = named(&rules(RULES), &assumed("tag:v1.2.9"), &["v1.3.0"]);
    check_dropped(&identity, "latest", "1.3.0 is there");
    check_dropped(&identity, "{major}", "higher than 1.2.9");
}

#[test]
fn latest_by_each_setting() {
    let with = |setting: &str, event: &str, existing: &[&str]| {
        let rules = rules(&format!("[identity]\nlatest = \"{setting}\"\n"));
        named(&rules, &assumed(event), existing).tags.iter().any(|planned| planned.tag == Tag::latest())
    };
    assert!(with("highest-semver", "tag:v1.0.0", &["v0.9.0"]));
    assert!(!with("highest-semver", "branch:main", &[]));
    assert!(with("auto", "tag:v1.0.0", &["v2.0.0"]));
    assert!(with("auto", "tag:nightly", &[]));
    assert!(!with("auto", "tag:v1.0.0-rc.1", &[]));
    assert!(with("default-branch", "branch:main", &[]));
    assert!(!with("default-branch", "branch:dev", &[]));
    assert!(!with("default-branch", "tag:v1.0.0", &[]));
    assert!(!with("never", "tag:v1.0.0", &[]));
}

#[test]
fn defaults_name_every_kind_of_event() {
    let check = |event: &Event, expected: &str| {
        assert_eq!(tags(&named(&IdentityRules::default(), event, &[])), expected);
    };
    check(&assumed("pr:7"), "pr-7 pr-7-abc1234");
    check(&assumed("branch:fix/y"), "fix-y-abc1234");
    check(&assumed("tag:v1.0.0"), "v1.0.0 1.0.0 1.0 1 latest");
    check(&assumed("tag:vnext"), "vnext");
    check(&assumed("tag:1.0.0"), "v1.0.0 1.0.0 1.0 1 latest");
    check(&assumed("schedule"), "nightly nightly-20261224");
    check(&event(Kind::Detached), "sha-abc1234");
    check(
        &event(Kind::MergeGroup { number: Some(3), base_ref: "main".to_owned() }),
        "merge-3-abc1234 merge-abc1234",
    );
    check(&assumed("branch:topic").assume(&Assumed::Dispatch), "topic-abc1234");
    assert!(
        tags(&named(&IdentityRules::default(), &assumed("branch:main"), &[]))
            .starts_with("main main-abc1234 sha-")
    );
}

#[test]
fn what_is_left_out_says_why() {
    let rules = rules(
        r#"
        [[identity.tag]]
        on = ["branch:**", "tag:**"]
        tags = ["{pr}", "{branch}", "{run}-{sha}", "x-{sha}", "x-{sha}", "{version}", "{tag}"]
        "#,
    );
    let identity = named(&rules, &assumed("branch:a/b"), &[]);
    assert_eq!(tags(&identity), "x-abc1234");
    check_dropped(&identity, "{pr}", "{pr} is empty: branch \"a/b\" has no number");
    check_dropped(&identity, "{branch}", "\"a/b\" is not a tag");
    check_dropped(&identity, "{run}-{sha}", "no CI run");
    check_dropped(&identity, "{version}", "parse = \"semver\"");
    assert_eq!(identity.explained[4].dropped.as_deref(), Some("x-abc1234 is there already, from x-{sha}"));
    let none = named(&self::rules(RULES), &assumed("schedule"), &[]);
    check_dropped(&none, "", "no [[identity.tag]] is for schedule");
    assert_eq!(none.version, "abc1234");
    check_dropped(&named(&self::rules(RULES), &assumed("tag:vnext"), &[]), "", "not a semantic version");
}

#[test]
fn a_tag_says_whether_it_moves() {
    let identity = named(&rules(RULES), &assumed("pr:42"), &[]);
    assert_eq!(identity.tags[0].movement, Movement::Moving);
    assert_eq!(identity.tags[1].movement, Movement::Immutable);
    let identity = named(&rules(RULES), &assumed("branch:main"), &[]);
    assert_eq!(identity.tags[1].movement, Movement::Commit);
}

#[test]
fn pull_requests_are_named_after_head_or_merge() {
    let mut event = assumed("pr:42");
    let merge = "f".repeat(40);
    if let Kind::PullRequest(PullRequest { merge_sha, .. }) = &mut event.kind {
        *merge_sha = Some(merge.parse().unwrap());
    }
    let head = named(&rules(RULES), &event, &[]);
    assert_eq!(head.tags[1].tag.as_str(), "pr-42-abc1234");
    let identity = named(&rules(&format!("[identity]\npr-sha = \"merge\"\n{RULES}")), &event, &[]);
    assert_eq!(identity.tags[1].tag.as_str(), "pr-42-fffffff");
    assert_eq!(identity.labels[oci::annotations::REVISION], merge);
    assert_eq!(head.labels["acme.shop.merge.revision"], merge);
    assert_eq!(identity.labels["acme.shop.head.revision"], crate::event::tests::COMMIT);
}

#[test]
fn labels_come_from_configuration_then_event() {
    let mut event = assumed("tag:v1.2.3+b");
    event.run = Some(Run { id: "99".to_owned(), attempt: 1, url: None });
    event.source.licenses = Some("MIT".to_owned());
    let text = format!(
        "{RULES}\"org.opencontainers.image.title\" = \"Shop {{service}}\"\n\"run\" = \"{{run}}: it's <{{tag}}>\"\n\"pr\" = \"{{pr}}\"\n"
    );
    let identity = named(&rules(&text), &event, &[]);
    let shown: Vec<String> = identity.labels.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    assert_eq!(
        shown.join("\n").replace("org.opencontainers.image.", ""),
        "created = 2026-11-06T15:04:05Z\nlicenses = MIT\nrevision = abc1234def0987654321abc1234def0987654321\n\
         source = https://github.com/acme/shop\ntitle = Shop api\nurl = https://github.com/acme/shop\nvendor = Acme\n\
         version = 1.2.3+b\nrun = 99: it's <v1.2.3+b>"
    );
    let source = |key: &str| {
        let found = identity.explained_labels.iter().find(|label| label.key.ends_with(key)).unwrap();
        format!("{} {}", found.source, found.dropped.as_deref().unwrap_or_default())
    };
    assert_eq!(source("title"), "[identity.labels] ");
    assert_eq!(source("licenses"), "event ");
    assert_eq!(source("version"), "git tag ");
    assert!(source("pr").contains("has no number"));
    assert!(!identity.annotations.contains_key("run"));
    assert_eq!(identity.annotations[oci::annotations::TITLE], "Shop api");
}

#[test]
fn an_empty_label_is_none_and_annotations_may_differ() {
    let rules = rules(
        r#"
        [identity.labels]
        "org.opencontainers.image.url" = ""
        "org.opencontainers.image.description" = "Sells"
        [identity.annotations]
        "org.opencontainers.image.description" = "Sells things"
        "org.opencontainers.image.source" = ""
        "x" = "{sha}"
        "#,
    );
    let identity = named(&rules, &assumed("branch:main"), &[]);
    assert!(!identity.labels.contains_key(oci::annotations::URL));
    assert!(!identity.annotations.contains_key(oci::annotations::URL));
    assert!(!identity.annotations.contains_key(oci::annotations::SOURCE));
    assert!(identity.labels.contains_key(oci::annotations::SOURCE));
    assert_eq!(identity.labels[oci::annotations::DESCRIPTION], "Sells");
    assert_eq!(identity.annotations[oci::annotations::DESCRIPTION], "Sells things");
    assert_eq!(identity.annotations["x"], "abc1234");
}

#[test]
fn files_of_the_checkout_come_after_the_event() {
    let described = |value: &str| Some(Described { value: value.to_owned(), file: "Cargo.toml".to_owned() });
    let description = Description {
        title: described("Shop"),
        description: described("Sells"),
        licenses: described("MIT"),
        ..Description::default()
    };
    let mut event = assumed("branch:main");
    event.source.licenses = Some("ISC".to_owned());
    let subject = Subject { description: &description, ..Subject::new(&event, "api", event.committed) };
    let identity = identify(&IdentityRules::default(), &subject);
    let label = |key: &str| identity.labels[&format!("org.opencontainers.image.{key}")].as_str();
    assert_eq!((label("title"), label("description"), label("licenses")), ("Shop", "Sells", "ISC"));
    let of = |key: &str| identity.explained_labels.iter().find(|label| label.key.ends_with(key)).unwrap();
    assert_eq!(of("description").source, "Cargo.toml");
    assert_eq!(of("source").source, "git remote");
}

#[test]
fn created_is_what_the_rules_say() {
    let created = |setting: &str| {
        let rules = rules(&format!("[identity]\ncreated = \"{setting}\"\n"));
        named(&rules, &assumed("branch:main"), &[]).labels[oci::annotations::CREATED].clone()
    };
    assert_eq!(created("commit"), "2026-11-06T15:04:05Z");
    assert_eq!(created("now"), "2026-12-24T18:00:00Z");
    assert_eq!(created("epoch"), "1970-01-01T00:00:00Z");
    let event = assumed("schedule");
    let epoch = "2020-02-02T00:00:00Z".parse().ok();
    let subject = Subject { source_date_epoch: epoch, ..Subject::new(&event, "api", event.committed) };
    for setting in ["commit", "now", "epoch"] {
        let identity = identify(&rules(&format!("[identity]\ncreated = \"{setting}\"\n")), &subject);
        assert_eq!(identity.labels[oci::annotations::CREATED], "2020-02-02T00:00:00Z");
        assert_eq!(tags(&identity), "nightly nightly-20200202");
    }
}

#[test]
fn names_of_every_ugliness_give_tags_or_reasons() {
    let names = [
        "日本語",
        "\n\n",
        "a\nb",
        "-",
        "..",
        "a..b",
        " ",
        "\u{0}",
        "\u{202e}",
        "$(rm -rf /)",
        "`id`",
        "a:b@c",
        "\u{fffd}\u{fffd}",
        "-lead",
        ".x",
        "{branch}",
        "x|slug",
        &"é".repeat(5000),
        &"a/".repeat(5000),
        "MAIN",
        "refs/heads/main",
    ];
    for name in names {
        for kind in [
            Kind::Branch { branch: name.to_owned() },
            Kind::Tag { tag: name.to_owned() },
            Kind::Schedule { branch: Some(name.to_owned()) },
            Kind::MergeGroup { number: None, base_ref: name.to_owned() },
            Kind::Release { tag: name.to_owned(), prerelease: false },
            Kind::Delete { on: crate::event::GitRef::Branch(name.to_owned()) },
        ] {
            let identity = named(&IdentityRules::default(), &event(kind), &[name]);
            assert!(!identity.explained.is_empty(), "{name:?}");
            assert!(identity.tags.iter().all(|planned| planned.tag.as_str().len() <= 128), "{name:?}");
            assert!(!identity.version.is_empty(), "{name:?}");
        }
    }
}
