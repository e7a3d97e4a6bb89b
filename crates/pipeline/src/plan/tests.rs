//! Plans of the contract's project: what is built, promoted, skipped, pushed, and in which order.

use std::path::PathBuf;

use oci::Digest;

use super::*;
use crate::event::tests::{COMMIT, assumed};

const SHOP: &str = r#"
project = "Acme/Shop"
[service.api]
context = "services/api"
paths = ["services/api/**", "libs/**"]
[service.web]
context = "services/web"
needs = { base = "api" }
paths = ["services/web/**"]
[service.worker]
context = "services/worker"
platforms = ["linux/amd64", "linux/arm64", "linux/x86_64"]
[skip]
commits = ["^chore(\\(.*\\))?:"]
always = ["feature/beta-*"]
[suite.smoke]
image = "api"
run = ["/app/check"]
[suite.all]
services = ["web", "worker"]
host = "./all.sh"
needs = ["smoke"]
"#;

fn configuration(text: &str) -> Configuration {
    Configuration::parse(text, "plimsoll.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn facts() -> PlanFacts {
    PlanFacts {
        now: "2026-12-24T18:00:00Z".parse().unwrap(),
        subject: Some("feat: carts".to_owned()),
        source_date_epoch: None,
        existing_tags: Vec::new(),
        registry_tags: BTreeMap::new(),
        descriptions: BTreeMap::new(),
        last: BTreeMap::new(),
        configuration_path: Some("plimsoll.toml".to_owned()),
        registry: "127.0.0.1:5000".parse().unwrap(),
    }
}

/// Facts in which every service of the shop has a last image, and these paths changed since.
fn changed(paths: &[&str]) -> PlanFacts {
    let last = LastImage {
        digest: Digest::of(b"last"),
        revision: "f".repeat(40).parse().unwrap(),
        changed_paths: Some(paths.iter().map(|path| (*path).to_owned()).collect()),
    };
    let names = ["api", "web", "worker"];
    PlanFacts { last: names.iter().map(|name| (name.parse().unwrap(), last.clone())).collect(), ..facts() }
}

fn shop(event: &str, facts: &PlanFacts) -> Plan {
    plan(&configuration(SHOP), &assumed(event), facts, &[]).unwrap()
}

fn actions(plan: &Plan) -> String {
    let action = |service: &PlannedService| match service.action {
        Action::Build => "build",
        Action::Promote { .. } => "promote",
        Action::Skip => "skip",
    };
    let shown = plan.services.iter().map(|(name, service)| format!("{name}:{}", action(service)));
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn everything_is_built_in_the_order_of_needs() {
    let plan = shop("branch:main", &facts());
    assert_eq!(actions(&plan), "api:build web:build worker:build");
    let order: Vec<Vec<&str>> =
        plan.order.iter().map(|wave| wave.iter().map(Name::as_str).collect()).collect();
    assert_eq!(order, [vec!["api", "worker"], vec!["web"]]);
    assert_eq!(plan.push, PushPlan::Registry);
    assert_eq!(plan.version, "main");
    assert_eq!(plan.services["api"].dockerfile, PathBuf::from("services/api/Dockerfile"));
}

#[test]
fn images_go_to_the_registry_under_project_and_service() {
    let image = |text: &str, service: &str| {
        let plan = plan(&configuration(text), &assumed("branch:main"), &facts(), &[]).unwrap();
        plan.services[service].image.to_string()
    };
    assert_eq!(image(SHOP, "api"), "127.0.0.1:5000/acme/shop/api");
    assert_eq!(image(&format!("registry = \"ghcr.io/Acme\"\n{SHOP}"), "api"), "ghcr.io/acme/api");
    let own = format!("registry = \"ghcr.io/Acme\"\n{SHOP}[service.x]\nimage = \"quay.io/Acme/X\"\n");
    assert_eq!(image(&own, "x"), "quay.io/acme/x");
}

#[test]
fn what_did_not_change_is_promoted() {
    let plan = shop("branch:main", &changed(&["services/web/index.html", "README.md"]));
    assert_eq!(actions(&plan), "api:promote web:build worker:build");
    assert_eq!(plan.services["api"].action, Action::Promote { digest: Digest::of(b"last") });
    assert_eq!(plan.services["api"].reason, "none of its `paths` changed since fffffff");
    assert_eq!(plan.services["web"].reason, "services/web/index.html changed since fffffff");
    assert_eq!(plan.services["worker"].reason, "it has no `paths`");
}

#[test]
fn what_needs_a_rebuilt_image_is_rebuilt() {
    let plan = shop("branch:main", &changed(&["libs/tax.py"]));
    assert_eq!(actions(&plan), "api:build web:build worker:build");
    assert_eq!(plan.services["web"].reason, "api is built, and it needs that");
}

#[test]
fn a_change_of_dockerfile_or_configuration_rebuilds() {
    assert_eq!(
        actions(&shop("pr:1", &changed(&["services/api/Dockerfile"]))),
        "api:build web:build worker:build"
    );
    assert_eq!(actions(&shop("pr:1", &changed(&["plimsoll.toml"]))), "api:build web:build worker:build");
    assert_eq!(actions(&shop("pr:1", &changed(&[]))), "api:promote web:promote worker:build");
}

#[test]
fn what_git_cannot_tell_is_built() {
    let mut facts = changed(&[]);
    facts.last.values_mut().for_each(|last| last.changed_paths = None);
    let plan = shop("branch:main", &facts);
    assert_eq!(plan.services["api"].reason, "what changed since fffffff is not known");
    for event in ["tag:v1.0.0", "schedule", "dispatch"] {
        assert_eq!(actions(&shop(event, &changed(&[]))), "api:build web:build worker:build", "{event}");
    }
}

#[test]
fn commits_are_skipped_by_their_subject() {
    let chore = PlanFacts { subject: Some("chore(deps): bump".to_owned()), ..facts() };
    let plan = shop("branch:main", &chore);
    assert_eq!(actions(&plan), "api:skip web:skip worker:skip");
    assert!(plan.services["api"].reason.contains("chore(deps): bump"));
    assert!(plan.suites.is_empty() && plan.matrix.is_empty());
    assert_eq!(actions(&shop("branch:feature/beta-release", &chore)), "api:build web:build worker:build");
    assert_eq!(actions(&shop("tag:v1.0.0", &chore)), "api:build web:build worker:build");
    let unknown = PlanFacts { subject: None, ..facts() };
    assert_eq!(actions(&shop("branch:main", &unknown)), "api:build web:build worker:build");
}

#[test]
fn a_selection_takes_what_it_needs() {
    let select = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        plan(&configuration(SHOP), &assumed("branch:main"), &facts(), &names)
    };
    let web = select(&["web"]).unwrap();
    assert_eq!(actions(&web), "api:build web:build");
    assert_eq!(web.suites.keys().map(Name::as_str).collect::<Vec<_>>(), ["smoke"]);
    assert_eq!(
        select(&["wep"]).unwrap_err().to_string(),
        "there is no service \"wep\": did you mean \"web\"?"
    );
    assert!(select(&["database"]).unwrap_err().to_string().ends_with("there are api, web, worker"));
}

#[test]
fn the_matrix_has_a_leg_per_image_and_platform() {
    let plan = shop("branch:main", &changed(&[]));
    let legs: Vec<String> =
        plan.matrix.iter().map(|leg| format!("{} {}", leg.service, leg.platform)).collect();
    assert_eq!(legs, ["worker linux/amd64", "worker linux/arm64"]);
}

#[test]
fn forks_hand_over_archives() {
    let mut event = assumed("pr:9");
    if let Kind::PullRequest(pull_request) = &mut event.kind {
        pull_request.fork = true;
    }
    let push = |text: &str| plan(&configuration(text), &event, &facts(), &[]).unwrap().push;
    assert!(matches!(push(SHOP), PushPlan::Archive { .. }));
    assert_eq!(push(&format!("{SHOP}[defaults.push]\nforks = \"push\"\n")), PushPlan::Registry);
    let never = push(&format!("{SHOP}[defaults.push]\nevents = [\"tag\"]\n"));
    assert_eq!(never, PushPlan::Nowhere { reason: "[defaults.push] does not list pull_request".to_owned() });
}

#[track_caller]
fn check_refused(text: &str, message: &str) {
    let error = plan(&configuration(text), &assumed("branch:main"), &facts(), &[]).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn circles_and_shared_repositories_are_named() {
    check_refused("[service.a]\nneeds = [\"b\"]\n[service.b]\nneeds = [\"a\"]\n", "a -> b -> a");
    check_refused(
        "registry = \"ghcr.io/x\"\n[service.api]\n[service.API]\n",
        "API and api both go to ghcr.io/x/api",
    );
    check_refused("[service.a-_b]\n", "service a-_b has no place to go");
}

#[test]
fn tags_and_labels_are_those_of_the_identity() {
    let plan = shop("pr:42", &facts());
    let api = &plan.services["api"];
    let texts = |tags: &[Tag]| tags.iter().map(Tag::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&api.tags), ["pr-42", "pr-42-abc1234"]);
    assert_eq!(
        (texts(&api.immutable), texts(&api.moving)),
        (vec!["pr-42-abc1234".to_owned()], vec!["pr-42".to_owned()])
    );
    assert_eq!(api.labels[oci::annotations::REVISION], COMMIT);
    assert_eq!(plan.explained["api"].len(), 2);
}

#[test]
fn both_commits_of_a_pull_request_are_recorded() {
    let (head, merge) = (COMMIT, "f".repeat(40));
    let mut event = assumed("pr:9");
    if let Kind::PullRequest(pull_request) = &mut event.kind {
        pull_request.merge_sha = merge.parse().ok();
    }
    let plan = plan(&configuration(SHOP), &event, &facts(), &[]).unwrap();
    let labels = &plan.services["api"].labels;
    assert_eq!(labels[oci::annotations::REVISION], head);
    assert_eq!(labels["acme.shop.merge.revision"], merge);
    let ledger = crate::ledger::Ledger::new(plan.event, plan.revision, plan.version);
    let json = serde_json::to_value(ledger).unwrap();
    assert_eq!((&json["event"]["head_sha"], &json["event"]["merge_sha"]), (&head.into(), &merge.into()));
}

#[test]
fn a_tag_of_one_service_builds_it_and_what_it_needs() {
    let plan = shop("tag:web/v1.2.3", &facts());
    assert_eq!(actions(&plan), "api:build web:build worker:skip");
    assert_eq!(plan.version, "1.2.3");
    assert_eq!(plan.services["worker"].reason, "git tag \"web/v1.2.3\" releases web alone");
    assert!(plan.services["api"].tags.is_empty());
    assert!(plan.matrix.iter().all(|leg| leg.service.as_str() != "worker"));
    assert_eq!(actions(&shop("tag:v1.2.3", &facts())), "api:build web:build worker:build");
}

#[test]
fn a_service_may_have_rules_of_its_own() {
    let own = "[[service.api.identity.tag]]\non = \"branch:**\"\ntags = [\"own-{service}\"]\n[service.api.identity.labels]\nteam = \"core\"\n";
    let plan = plan(&configuration(&format!("{SHOP}{own}")), &assumed("branch:main"), &facts(), &[]).unwrap();
    assert_eq!(plan.services["api"].tags[0].as_str(), "own-api");
    assert_eq!(plan.services["api"].labels["team"], "core");
    assert_eq!(plan.services["web"].tags[0].as_str(), "main");
    assert!(!plan.services["web"].labels.contains_key("team"));
}

#[test]
fn is_a_document_with_the_contracts_fields() {
    let plan = shop("branch:main", &changed(&["services/web/x"]));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["schema"], "plimsoll.plan/1");
    assert_eq!(json["event"]["branch"], "main");
    assert_eq!(json["services"]["web"]["action"], "build");
    assert_eq!(json["services"]["api"]["action"], "promote");
    assert_eq!(json["services"]["api"]["digest"], Digest::of(b"last").to_string());
    assert_eq!(json["services"]["web"]["platforms"][0], Platform::host().to_string());
    assert_eq!(json["matrix"][0]["service"], "web");
    let explained_labels = BTreeMap::new();
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), Plan { explained_labels, ..plan });
    assert_eq!(schema().to_value()["$id"], SCHEMA);
}
