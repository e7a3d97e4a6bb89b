//! `meta --batch` and `meta --metadata docker`: docker/metadata-action without the action.
//!
//! Vectors lie in the folder that `PLIMSOLL_CASES` names, or in `shared/cases` beside the checkout:
//! inputs and results of the neighbour itself. Where they are not there, the small tables here and
//! in `pipeline::identity::docker` are what is left, and the test says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::run::Scene;

/// Cases that are answered otherwise on purpose, beside those whose tags the grammar forbids.
const DIFFERENT: &[(&str, &str)] =
    &[("oracle/images/4179", "a scheme in front of a name: https://ghcr.io/a/b:main is no reference")];

/// Returns the file of cases where it is present: in `PLIMSOLL_CASES`, or in `shared/cases` of a folder above.
#[allow(clippy::disallowed_methods, reason = "where vectors lie is the machine's to say")]
fn cases(file: &str) -> Option<Value> {
    let named = std::env::var_os("PLIMSOLL_CASES").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/cases"));
    let path = named.into_iter().chain(above).map(|folder| folder.join(file)).find(|path| path.exists());
    let Some(path) = path else {
        eprintln!("skipped: there is no {file}; set PLIMSOLL_CASES to the folder of vectors");
        return None;
    };
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// Returns the answers to lines on standard input.
fn answers(requests: &[u8]) -> Vec<Value> {
    let mut child =
        Scene::new().command("meta --batch").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let requests = requests.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&requests).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Makes a request of a case, as the file's own description says.
fn request(file: &Value, case: &Value) -> Value {
    let mut request = json!({ "id": case["id"], "kind": case["kind"], "inputs": case["inputs"] });
    if case["kind"] == "git_ref" {
        request["git_answers"] = case["git_answers"].clone();
        return request;
    }
    let fixtures = &file["fixtures"];
    let mut env = match case["env_fixture"].as_str() {
        Some(name) => fixtures["env"][name].clone(),
        None => case["env"].clone(),
    };
    for (name, value) in case["env_extra"].as_object().into_iter().flatten() {
        env[name] = value.clone();
    }
    let payload = env["GITHUB_EVENT_PATH"].as_str().and_then(|path| path.rsplit('/').next());
    request["event"] = match (&case["event"], payload) {
        (Value::Null, Some(name)) => fixtures["events"][name].clone(),
        (event, _) => event.clone(),
    };
    request["env"] = env;
    let repositories = [&case["repo"], &fixtures["repo"], &file["repo"]];
    request["repo"] = repositories.into_iter().find(|repo| !repo.is_null()).unwrap().clone();
    request["now"] = if case["now"].is_null() { file["now"].clone() } else { case["now"].clone() };
    if case["now"].is_null() {
        request["commit_date"] = file["now"].clone();
    }
    request["annotation_levels"] = case["annotation_levels"].clone();
    request
}

fn check(name: &str, least: usize) {
    let Some(file) = cases(name) else { return };
    let cases = file["cases"].as_array().unwrap();
    let requests: Vec<String> = cases.iter().map(|case| request(&file, case).to_string()).collect();
    let answers = answers(requests.join("\n").as_bytes());
    assert_eq!(answers.len(), cases.len());
    let mut wrong = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        assert_eq!(case["id"], answer["id"]);
        let expected = case["expect"].as_object().unwrap();
        let must_fail = expected.contains_key("error")
            || !case["invalid_tags_in_reference"].is_null()
            || DIFFERENT.iter().any(|(id, _)| case["id"] == *id);
        let fails = answer.get("error").is_some();
        let differs = |(key, value): (&String, &Value)| answer[key] != *value;
        if must_fail != fails || (!must_fail && expected.iter().any(differs)) {
            wrong.push(format!("{}: {answer}", case["id"]));
        }
    }
    assert!(cases.len() >= least, "{} cases", cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_neighbours_own_suite_gives_the_same() {
    check("metadata-suite.json", 147);
}

#[test]
fn the_neighbours_answers_to_odd_inputs_are_given_too() {
    check("metadata-sample.json", 648);
}

fn small(reference: &str, tags: &str) -> Value {
    json!({
        "id": reference,
        "now": "2024-06-28T14:30:22.123Z",
        "env": { "GITHUB_EVENT_NAME": "push", "GITHUB_REF": reference, "GITHUB_SHA": "860c1904a1ce19322e91ac35af1ab07466440c37" },
        "event": { "repository": { "default_branch": "main" } },
        "repo": { "name": "shop", "default_branch": "main" },
        "inputs": { "images": ["user/app"], "tags": tags },
    })
}

#[test]
fn a_line_that_is_no_request_gives_an_error_and_the_next_one_is_answered() {
    let good = small("refs/heads/main", "");
    let mut lines = Vec::new();
    for line in ["", "{", "[1]", "{\"id\":7,\"env\":3}", "{\"id\":8,\"kind\":\"other\"}", &good.to_string()] {
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    lines.extend_from_slice(b"{\"id\":\"\xff\"}\n{\"id\":9}");
    let answers = answers(&lines);
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(
        ids,
        [
            &json!(null),
            &json!(null),
            &json!(null),
            &json!(7),
            &json!(8),
            &good["id"],
            &json!(null),
            &json!(9)
        ]
    );
    let fails: Vec<bool> = answers.iter().map(|answer| answer.get("error").is_some()).collect();
    assert_eq!(fails, [true, true, true, true, true, false, true, false]);
    assert_eq!(answers[5]["tags"], json!(["user/app:main"]));
}

#[test]
fn bad_input_gives_an_error_or_tags_that_a_registry_takes() {
    let long = "x".repeat(10_000);
    let references =
        ["", "refs/heads/a\nb", "refs/heads/a\0b", "refs/tags/\u{fffd}", &format!("refs/heads/{long}")];
    let tags = [
        "",
        "type=raw,value={{branch",
        "type=raw,value={{date 'YYYY' tz='No/Where'}}",
        "type=match,\"pattern=(a+)+$\",value=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
        "type=raw,unknown=1,value=x",
        "type=nothing",
        "type=sha,priority=x",
    ];
    let requests =
        references.iter().flat_map(|reference| tags.iter().map(|tags| small(reference, tags).to_string()));
    let answers = answers(requests.collect::<Vec<_>>().join("\n").as_bytes());
    assert_eq!(answers.len(), references.len() * tags.len());
    for answer in &answers {
        for tag in answer["tags"].as_array().into_iter().flatten() {
            assert!(tag.as_str().unwrap().parse::<oci::Reference>().is_ok(), "{tag}");
        }
    }
    let errors: Vec<bool> =
        answers[..tags.len()].iter().map(|answer| answer.get("error").is_some()).collect();
    assert_eq!(errors, [false, true, false, true, false, true, false]);
    // 10,000 characters make no tag.
    assert!(answers[tags.len() * 4].get("error").is_some());
}

const STEP: [(&str, &str); 5] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_EVENT_NAME", "push"),
    ("GITHUB_REF", "refs/tags/v1.2.3"),
    ("GITHUB_SHA", "860c1904a1ce19322e91ac35af1ab07466440c37"),
    ("SOURCE_DATE_EPOCH", "0"),
];

const INPUTS: &str = "meta --metadata docker --images user/app --tags type=semver,pattern={{version}} --tags type=semver,pattern={{major}} --labels vendor=O'Hara";

fn step(scene: &Scene, line: &str) -> std::process::Command {
    let mut command = scene.command(line);
    command.envs(STEP).env("GITHUB_REPOSITORY", "acme/shop");
    command
}

fn see_step(line: &str) -> String {
    let scene = Scene::new();
    scene.shown(&step(&scene, line).output().unwrap())
}

#[test]
fn names_of_a_step_for_people() {
    let shown = see_step(INPUTS);
    let expected = "exit code: 0\n--- stdout\nversion     1.2.3\ntag         user/app:1.2.3\ntag         user/app:1\n\
        tag         user/app:latest\nlabel       org.opencontainers.image.created=1970-01-01T00:00:00.000Z\n";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(
        shown.contains("\nlabel       org.opencontainers.image.url=https://github.com/acme/shop\n"),
        "{shown}"
    );
}

#[test]
fn names_of_a_step_for_a_shell() {
    let shown = see_step(&format!("{INPUTS} --format env --dry-run"));
    assert!(shown.contains("\nDOCKER_METADATA_OUTPUT_VERSION='1.2.3'\n"), "{shown}");
    assert!(shown.contains("\nDOCKER_METADATA_OUTPUT_TAG_NAMES='1.2.3\n1\nlatest'\n"), "{shown}");
    assert!(shown.contains("\nvendor=O'\\''Hara'\n"), "{shown}");
    assert!(!shown.contains("BAKE_FILE"), "a dry run wrote files: {shown}");
}

#[test]
fn names_as_arguments_of_a_build() {
    let shown = see_step(&format!("{INPUTS} --output docker-build"));
    let tags = "--- stdout\n--tag user/app:1.2.3 --tag user/app:1 --tag user/app:latest --label ";
    assert!(shown.contains(tags), "{shown}");
    assert!(
        shown.contains(" --label 'vendor=O'\\''Hara' --annotation manifest:org.opencontainers."),
        "{shown}"
    );
}

#[test]
fn names_as_a_bake_file() {
    let scene = Scene::new();
    let output = step(&scene, &format!("{INPUTS} --output bake --bake-target app")).output().unwrap();
    let bake: Value = serde_json::from_slice(&output.stdout).unwrap();
    let target = &bake["target"]["app"];
    assert_eq!(target["tags"], json!(["user/app:1.2.3", "user/app:1", "user/app:latest"]));
    assert_eq!(target["labels"]["vendor"], "O'Hara");
    assert_eq!(target["args"], json!({ "DOCKER_META_IMAGES": "user/app", "DOCKER_META_VERSION": "1.2.3" }));
}

#[test]
fn outputs_and_variables_are_named_as_the_neighbours() {
    let scene = Scene::new();
    let mut command = step(&scene, &format!("{INPUTS} --output github --sep-tags ,"));
    for variable in ["GITHUB_OUTPUT", "GITHUB_ENV"] {
        scene.write(variable, "");
        command.env(variable, scene.path(variable));
    }
    assert!(command.output().unwrap().status.success());
    let names = |file: &str| -> Vec<String> {
        let text = scene.read(file);
        text.lines()
            .filter_map(|line| line.split_once("<<plimsoll_"))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    let outputs = names("GITHUB_OUTPUT");
    assert_eq!(
        outputs,
        [
            "version",
            "tags",
            "tag-names",
            "labels",
            "annotations",
            "json",
            "bake-file-tags",
            "bake-file-labels",
            "bake-file-annotations",
            "bake-file"
        ]
    );
    assert_eq!(names("GITHUB_ENV")[2], "DOCKER_METADATA_OUTPUT_TAG_NAMES");
    assert!(scene.read("GITHUB_OUTPUT").contains("\nuser/app:1.2.3,user/app:1,user/app:latest\n"));
    let bake: Value =
        serde_json::from_str(&scene.read(".plimsoll/docker-metadata-action-bake-tags.json")).unwrap();
    assert_eq!(bake["target"]["docker-metadata-action"]["args"]["DOCKER_META_VERSION"], "1.2.3");
}

#[test]
fn inputs_of_the_neighbour_need_its_engine() {
    let shown = Scene::new().see("meta --tags type=sha");
    assert!(shown.starts_with("exit code: 2\n"), "{shown}");
    assert!(shown.contains("hint: add --metadata docker"), "{shown}");
    let shown = Scene::new().see("--format env ls local/x");
    assert!(shown.starts_with("exit code: 2\n"), "{shown}");
}

const CONFIGURATION: &str = r#"
project = "acme/shop"
registry = "ghcr.io/acme"
[identity]
metadata = "docker"
tags = """
type=ref,event=branch
type=semver,pattern={{version}}
# the commit
type=sha
"""
flavor = "suffix=-alpine,onlatest=true"
labels = ["org.opencontainers.image.vendor=Acme", "built.from={{branch}}{{tag}}"]
[service.api]
context = "api"
"#;

#[test]
fn a_plan_has_the_names_that_the_configured_inputs_give() {
    let scene = Scene::with_files(&[("plimsoll.toml", CONFIGURATION), ("api/Dockerfile", "FROM scratch\n")]);
    let shown = scene.see("meta");
    let tags = "  tag    ghcr.io/acme/api:main-alpine\n  tag    ghcr.io/acme/api:sha-";
    assert!(shown.contains(tags), "{shown}");
    assert!(shown.contains("\n  label  built.from=main\n"), "{shown}");
    let shown = scene.see("meta --as tag:v1.2.3 --output docker-build");
    assert!(shown.contains("--tag ghcr.io/acme/api:1.2.3-alpine --tag "), "{shown}");
    assert!(shown.contains("--tag ghcr.io/acme/api:latest-alpine --label "), "{shown}");
    // The neighbour would have printed the tag, and a registry would have refused it.
    let shown = scene.see("plan --as branch:-x");
    assert!(shown.starts_with("exit code: 2\n"), "{shown}");
    assert!(shown.contains("\"-x-alpine\""), "{shown}");
}

#[test]
fn wrong_inputs_in_the_configuration_are_told_with_their_place() {
    let wrong = CONFIGURATION.replace("type=sha", "type=shaa");
    let scene = Scene::with_files(&[("plimsoll.toml", &wrong), ("api/Dockerfile", "FROM scratch\n")]);
    let shown = scene.see("meta");
    assert!(shown.starts_with("exit code: 2\n"), "{shown}");
    assert!(shown.contains("unknown tag type attribute: shaa\n --> plimsoll.toml:5:12\n"), "{shown}");
}

#[test]
fn the_reference_of_a_lone_commit_is_found_in_git() {
    let scene = Scene::with_files(&[("a", "1")]);
    scene.repository().lightweight_tag("v2.0.0");
    scene.repository().git(&["checkout", "-q", "--detach"]);
    let line = "meta --metadata docker --context git --images a/b --tags type=ref,event=tag --format json";
    let shown: Value = serde_json::from_str(&scene.see_raw(line)).unwrap();
    assert_eq!(shown["tags"], json!(["a/b:v2.0.0", "a/b:latest"]));
    assert_eq!(shown["schema"], "plimsoll.metadata/1");
    scene.repository().git(&["tag", "-d", "v2.0.0"]);
    let line = "meta --metadata docker --context git --images a/b --tags type=ref,event=branch --format json";
    let shown: Value = serde_json::from_str(&scene.see_raw(line)).unwrap();
    assert_eq!(shown["tags"], json!(["a/b:main"]), "a branch that only this clone has counts");
}
