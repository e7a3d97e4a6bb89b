//! Versions of each scheme in tags, and what other versions leave to them.

use super::*;

#[track_caller]
fn check_rule(parse: &str, templates: &[&str], tag: &str, existing: &[&str], expected: &str) {
    let rules = rules(&format!("[[identity.tag]]\non = \"tag:**\"\nparse = {parse}\ntags = {templates:?}\n"));
    assert_eq!(tags(&named(&rules, &assumed(&format!("tag:{tag}")), existing)), expected, "{tag}");
}

#[test]
fn each_scheme_has_its_own_pre_releases() {
    let series = ["{version}", "{major}.{minor}", "{major}"];
    let check = |parse: &str, tag: &str, existing: &[&str], expected: &str| {
        check_rule(&format!("{parse:?}"), &series, tag, existing, expected);
    };
    check("pep440", "1.2.3", &[], "1.2.3 1.2 1 latest");
    check("pep440", "v1.2.3rc1", &[], "1.2.3rc1");
    check("pep440", "1.2.post1", &["1.2"], "1.2.post1 1.2 1 latest");
    check("pep440", "1.2+l.1", &[], "1.2_l.1 1.2 1 latest");
    check("pep440", "1.2.9", &["1.3rc1", "1.3"], "1.2.9 1.2");
    check("calver", "2026.11.1", &["2026.10.4"], "2026.11.1 2026.11 2026 latest");
    check("calver", "2026.10.5", &["2026.11.1"], "2026.10.5 2026.10");
    check("calver", "24.04-rc1", &[], "24.04-rc1");
    check("semver", "v1.2.3-rc.1", &[], "1.2.3-rc.1");
}

#[test]
fn an_expression_finds_the_version() {
    let parse = r#"{ regex = "^release-(?<version>[0-9.]+)(-(?<flavour>[a-z]+))?$", as = "semver" }"#;
    let templates = ["{version}", "{version}-{match:flavour}", "{major}"];
    check_rule(parse, &templates, "release-1.2.3-slim", &[], "1.2.3 1.2.3-slim 1 latest");
    check_rule(parse, &templates, "release-1.2.3", &["release-2.0.0", "v9.0.0"], "1.2.3 1");
    check_rule(parse, &templates, "v1.2.3", &[], "");
    let bare = r#""^b(?<major>\\d+)$""#;
    check_rule(bare, &["build-{major}", "{tag}"], "b12", &[], "b12");
    let rules =
        rules(&format!("[[identity.tag]]\non = \"tag:**\"\nparse = {bare}\ntags = [\"{{major}}\"]\n"));
    let identity = named(&rules, &assumed("tag:b12"), &[]);
    check_dropped(&identity, "{major}", "give the rule's `parse` an `as`");
    check_dropped(&identity, "latest", "nothing says whether b12 is the highest");
}

fn with_registry(event: &str, registry_tags: &RegistryTags) -> Identity {
    let event = assumed(event);
    let rules = rules(RULES);
    identify(&rules, &Subject { registry_tags, ..Subject::new(&event, "api", event.committed) })
}

#[test]
fn a_registry_knows_versions_that_a_shallow_clone_does_not() {
    let known =
        |texts: &[&str]| RegistryTags::Known(texts.iter().map(|text| text.parse().unwrap()).collect());
    let registry = known(&["v1.2.8", "1.3.0_b.1", "1.3", "main-abc1234", "latest", "v2.0.0-rc.1"]);
    assert_eq!(tags(&with_registry("tag:v1.2.9", &registry)), "v1.2.9 1.2.9 1.2");
    assert_eq!(tags(&with_registry("tag:v1.3.1", &registry)), "v1.3.1 1.3.1 1.3 1 latest");
    let identity = with_registry("tag:v1.2.9", &registry);
    check_dropped(&identity, "latest", "1.3.0+b.1 is there");
}

#[test]
fn other_tags_of_a_registry_are_no_versions() {
    let text =
        "[[identity.tag]]\non = \"tag:**\"\nparse = \"pep440\"\ntags = [\"r{version}\", \"{major}\"]\n";
    let event = assumed("tag:1.2");
    let of = |texts: &[&str]| {
        let registry_tags = RegistryTags::Known(texts.iter().map(|text| text.parse().unwrap()).collect());
        let subject =
            Subject { registry_tags: &registry_tags, ..Subject::new(&event, "api", event.committed) };
        tags(&identify(&rules(text), &subject))
    };
    assert_eq!(of(&["20261106", "20261106-150405", "main", "1", "r1.1"]), "r1.2 1 latest");
    assert_eq!(of(&["r1.3"]), "r1.2");
    assert_eq!(of(&["2.0"]), "r1.2 1");
}

#[test]
fn what_could_not_be_asked_is_said() {
    let unknown = RegistryTags::Unknown { reason: "the clone is shallow and --offline".to_owned() };
    let identity = with_registry("tag:v1.2.9", &unknown);
    assert_eq!(tags(&identity), "v1.2.9 1.2.9 1.2 1 latest");
    let note = |template: &str| {
        identity.explained.iter().find(|explained| explained.template == template).unwrap().note.clone()
    };
    let expected = "higher versions are not known: the clone is shallow and --offline";
    assert_eq!(note("latest").as_deref(), Some(expected));
    assert_eq!(note("{major}").as_deref(), Some(expected));
    assert_eq!(note("{version}"), None);
}

#[test]
fn kubernetes_takes_63_characters_that_begin_and_end_well() {
    let rules = rules(
        "[identity]\nmax-length = 63\n[[identity.tag]]\non = \"branch:**\"\ntags = [\"{branch|slug}-{sha}\", \"{branch|lower}\", \"_x\"]\n",
    );
    let identity = named(&rules, &assumed(&format!("branch:{}_", "x".repeat(60))), &[]);
    assert_eq!(tags(&identity), format!("{}-abc1234", "x".repeat(55)));
    assert_eq!(identity.tags[0].tag.as_str().len(), 63);
    check_dropped(&identity, "{branch|lower}", "start and end with a letter or a digit");
    check_dropped(&identity, "_x", "start and end with a letter or a digit");
}

#[test]
fn only_a_whole_commit_makes_a_tag_the_commits() {
    let rules = rules(
        "[[identity.tag]]\non = \"branch:**\"\ntags = [\"a-{sha|trunc:3}\", \"b-{sha|hash:8}\", \"c-{sha:long|trunc:12}\"]\n",
    );
    let identity = named(&rules, &assumed("branch:x"), &[]);
    let movements: Vec<Movement> = identity.tags.iter().map(|planned| planned.movement).collect();
    assert_eq!(movements, [Movement::Moving, Movement::Commit, Movement::Commit]);
}
