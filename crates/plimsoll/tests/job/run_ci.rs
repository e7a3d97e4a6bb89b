//! What CI hosts and other programs read.

use serde_json::Value;

use crate::seen::Seen;
use crate::shop::Shop;

const CONFIGURATION: &str =
    "[service.app]\ndockerfile = \"docker/app\"\n[service.web]\ndockerfile = \"docker/web\"\n";
const WEB: &str = "FROM scratch\nLABEL a=b\n";

fn shop(app: &str) -> Option<Shop> {
    Shop::open(&[("plimsoll.toml", CONFIGURATION), ("docker/app", app), ("docker/web", WEB)])
}

const GOOD: &str = "FROM local/base:1\nRUN echo hello\n";
const BAD: &str = "FROM local/base:1\n\nRUN echo 100 %; exit 3\n";

/// Runs as a step of a workflow; returns what it said, its outputs and its summary.
fn run_in_actions(shop: &Shop) -> (Seen, String, String) {
    let [output, summary] = ["output", "summary"].map(|name| shop.beside(name));
    let event = shop.beside("event.json");
    let sha = shop.git.head();
    let payload = serde_json::json!({
        "number": 42,
        "pull_request": { "number": 42, "head": { "sha": sha, "ref": "feature/x", "repo": { "full_name": "acme/shop" } },
            "base": { "ref": "main", "repo": { "full_name": "acme/shop" } } },
        "repository": { "default_branch": "main", "full_name": "acme/shop" },
    });
    std::fs::write(&event, payload.to_string()).unwrap();
    for file in [&output, &summary] {
        std::fs::write(file, "").unwrap();
    }
    let mut command = shop.command("run");
    command
        .env("GITHUB_OUTPUT", &output)
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("GITHUB_EVENT_PATH", event);
    command.envs([
        ("CI", "true"),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("GITHUB_REF", "refs/pull/42/merge"),
        ("GITHUB_SHA", &sha),
        ("GITHUB_REPOSITORY", "acme/shop"),
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_RUN_ID", "7"),
    ]);
    let seen = Seen::of(&command.output().unwrap());
    let [output, summary] = [output, summary].map(|file| std::fs::read_to_string(file).unwrap());
    (seen, output, summary)
}

/// Returns one value of the file of outputs, `NAME<<WORD`, value, `WORD`.
#[track_caller]
fn value<'a>(output: &'a str, name: &str) -> &'a str {
    let start = format!("{name}<<");
    let mut lines = output.lines().skip_while(|line| !line.starts_with(&start));
    assert!(lines.next().is_some(), "{name} is not in the outputs\n{output}");
    lines.next().unwrap()
}

#[test]
fn a_workflow_gets_outputs_and_a_summary() {
    let Some(shop) = shop(GOOD) else { return };
    let (seen, output, summary) = run_in_actions(&shop);
    let seen = seen.exits(0).says_not("::error");
    let ledger: Value =
        serde_json::from_str(&std::fs::read_to_string(value(&output, "ledger")).unwrap()).unwrap();
    for service in ["app", "web"] {
        let digest = ledger["services"][service]["digest"].as_str().unwrap();
        assert_eq!(value(&output, &format!("digest-{service}")), digest, "{seen}");
        assert!(
            value(&output, &format!("image-{service}")).ends_with(&format!("/{service}@{digest}")),
            "{output}"
        );
        assert!(summary.contains(digest) && summary.contains(service), "{summary}");
    }
    assert!(output.contains("pr-42"), "{output}");
    assert_eq!(value(&output, "version"), "pr-42", "{output}");
    assert_eq!(value(&output, "skipped"), "false", "{output}");
    assert_eq!(ledger["event"]["kind"], "pull_request");
    assert!(serde_json::from_str::<Value>(value(&output, "matrix")).is_ok(), "{output}");
}

#[test]
fn a_workflow_gets_annotations_at_the_line_that_failed() {
    let Some(shop) = shop(BAD) else { return };
    let (seen, output, summary) = run_in_actions(&shop);
    let seen = seen.exits(7).says("::error file=docker/app,line=3,title=service app failed::");
    assert!(value(&output, "digest-web").starts_with("sha256:"), "{seen}\n{output}");
    assert!(!output.contains("digest-app<<"), "{output}");
    assert!(summary.contains("failed"), "{summary}");
}

/// Says what would be commands to the runner, then fails, so that its last lines are told again.
const RUDE: &str = "FROM local/base:1\nRUN printf '::set-output name=version::9\\nx\\r::add-mask::e\\n##[group]mine\\n'; exit 3\n";

#[test]
fn nothing_that_a_step_prints_is_a_command_to_the_runner() {
    let Some(shop) = shop(RUDE) else { return };
    let (seen, _, _) = run_in_actions(&shop);
    let seen = seen.exits(7).says("set-output name=version").says("add-mask::e").says("[group]mine");
    let is_command = |line: &&str| line.trim_start().starts_with("::") || line.contains("##[");
    let errors = seen.stderr.clone();
    let commands: Vec<&str> = errors.split(['\n', '\r']).filter(is_command).collect();
    let ours =
        |line: &&&str| ["::group::", "::endgroup::", "::error file="].iter().any(|own| line.starts_with(own));
    assert!(commands.contains(&"::group::build"), "{seen}");
    assert_eq!(commands.iter().filter(ours).count(), commands.len(), "{commands:?}");
    let ends = commands.iter().filter(|line| **line == "::endgroup::").count();
    assert_eq!(commands.iter().filter(|line| line.starts_with("::group::")).count(), ends, "{seen}");
}

#[test]
fn the_ledger_on_standard_output_is_the_one_in_the_file() {
    let Some(shop) = shop(GOOD) else { return };
    let ledger = shop.ledger("run", 0);
    let file = std::fs::read_to_string(shop.path(".plimsoll/ledger.json")).unwrap();
    assert_eq!(ledger, serde_json::from_str::<Value>(&file).unwrap());
    assert_eq!(ledger["schema"], "plimsoll.ledger/1");
    assert_eq!(ledger["revision"], shop.git.head().as_str());
    let app = &ledger["services"]["app"];
    let digest = app["digest"].as_str().unwrap();
    assert!(app["image"].is_string() && app["seconds"].is_number() && app["archive"].is_string(), "{app}");
    let platforms = app["platforms"].as_object().unwrap();
    assert!(platforms.values().all(|platform| platform["digest"] == digest), "{app}");
    assert!(app["tags"]["planned"].is_array() && app["tags"]["moved"].is_array(), "{app}");
    assert!(app["steps"]["total"].is_number() && app["steps"]["cached"].is_number(), "{app}");
    assert_eq!(app["status"], "built");
}

#[test]
fn the_schema_names_every_field_of_a_ledger() {
    let Some(shop) = shop(BAD) else { return };
    let ledger = shop.ledger("run", 7);
    let schema = shop.call("schema ledger").exits(0).stdout;
    let named = |object: &Value| {
        for field in object.as_object().unwrap().keys() {
            assert!(schema.contains(&format!("\"{field}\"")), "the schema knows no {field}");
        }
    };
    named(&ledger);
    ledger["services"].as_object().unwrap().values().for_each(named);
    let status = &ledger["services"]["app"]["status"];
    assert!(schema.contains(&status.to_string()), "the schema knows no status {status}");
}

#[test]
fn progress_for_programs_is_a_document_a_line() {
    let Some(shop) = shop(GOOD) else { return };
    let seen = shop.call("run --progress json --format json").exits(0);
    seen.json();
    let events: Vec<Value> = seen.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["schema"] == "plimsoll.progress/1"), "{seen}");
    let count = |kind: &str| events.iter().filter(|event| event["progress"] == kind).count();
    assert_eq!((count("service_started"), count("service_finished")), (2, 2), "{seen}");
    assert!(count("step_output") >= 1 && count("stage_started") == count("stage_finished"), "{seen}");
}

#[test]
fn quiet_prints_results_and_nothing_else() {
    let Some(shop) = shop(GOOD) else { return };
    let seen = shop.call("-q build").exits(0);
    assert_eq!(seen.stderr, "");
    assert!(
        seen.stdout.lines().count() == 2 && seen.stdout.lines().all(|line| line.starts_with("sha256:")),
        "{seen}"
    );
    let seen = shop.call("-q run").exits(0);
    assert_eq!(seen.stderr, "");
}

#[test]
fn a_dry_run_does_nothing() {
    let Some(shop) = shop(GOOD) else { return };
    let seen = shop.call("run --dry-run --format json").exits(0);
    assert_eq!(seen.json()["services"]["app"]["action"], "build");
    assert!(!shop.path(".plimsoll").exists());
    assert!(!shop.root("build").exists());
}
