//! Git tags that release one service of several.

use super::*;
use crate::configuration::{Name, Service};

const SERVICES: [&str; 3] = ["api", "api-admin", "web"];

fn of_service(service: &str, event: &Event, existing: &[&str], text: &str) -> Identity {
    let names: Vec<Name> = SERVICES.iter().map(|name| name.parse().unwrap()).collect();
    let plain = Service::default();
    let components = Components::of(names.iter().map(|name| (name, &plain)));
    let existing_tags: Vec<String> = existing.iter().map(|tag| (*tag).to_owned()).collect();
    let subject = Subject {
        components: &components,
        existing_tags: &existing_tags,
        ..Subject::new(event, service, event.committed)
    };
    identify(&rules(text), &subject)
}

#[track_caller]
fn check(service: &str, tag: &str, existing: &[&str], expected: &str) {
    let identity = of_service(service, &assumed(&format!("tag:{tag}")), existing, "");
    assert_eq!(tags(&identity), expected, "{service} {tag}");
}

#[test]
fn a_services_tag_releases_it_alone() {
    for tag in ["api/v1.2.3", "api-v1.2.3", "api@1.2.3", "releases/api/1.2.3"] {
        check("api", tag, &[], "v1.2.3 1.2.3 1.2 1 latest");
        check("web", tag, &[], "");
        check("api-admin", tag, &[], "");
    }
    check("api-admin", "api-admin-1.2.3", &[], "v1.2.3 1.2.3 1.2 1 latest");
    check("api", "api-admin-1.2.3", &[], "");
    check("api", "api/nightly", &[], "nightly");
    check("web", "v1.2.3", &[], "v1.2.3 1.2.3 1.2 1 latest");
    let other = of_service("web", &assumed("tag:api/v1.2.3"), &[], "");
    check_dropped(&other, "", "git tag \"api/v1.2.3\" releases api alone");
}

#[test]
fn latest_is_among_the_services_own_tags() {
    let existing = ["api/v1.3.0", "api-v1.2.8", "web/v9.0.0", "v5.0.0", "api-admin/v4.0.0"];
    check("api", "api/v1.2.9", &existing, "v1.2.9 1.2.9 1.2");
    check("api", "api-v1.3.1", &existing, "v1.3.1 1.3.1 1.3 1 latest");
    check("web", "web/v9.0.1", &existing, "v9.0.1 9.0.1 9.0 9 latest");
    check("web", "v4.0.0", &existing, "v4.0.0 4.0.0 4.0 4");
    check("web", "v5.0.1", &existing, "v5.0.1 5.0.1 5.0 5 latest");
}

#[test]
fn a_release_on_the_forge_is_the_same() {
    let event = event(Kind::Release { tag: "api/v1.2.3".to_owned(), prerelease: false });
    assert_eq!(tags(&of_service("api", &event, &[], "")), "v1.2.3 1.2.3 1.2 1 latest");
    assert_eq!(tags(&of_service("web", &event, &[], "")), "");
}

#[test]
fn rules_may_name_the_whole_tag() {
    let text = r#"
        [[identity.tag]]
        on = "tag:api-v*"
        parse = "semver"
        tags = ["{tag}", "{version}"]
        "#;
    let event = assumed("tag:api-v1.2.3");
    assert_eq!(tags(&of_service("api", &event, &["api-v2.0.0"], text)), "api-v1.2.3 1.2.3");
}
