//! Compose files.

use super::{Room, check_key};

fn file(text: &str) -> Room {
    Room::of("compose.yaml", text)
}

#[test]
fn keys_of_build() {
    let text = "services:\n  t:\n    image: app:1\n    build:\n      context: ./dir/\n      dockerfile: D\n      target: s\n\
        \x20     args: [A=1, B, N=]\n      labels: {l: 1.50, m: true}\n      platforms: [linux/amd64]\n      shm_size: 128m\n\
        \x20     ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}\n      extra_hosts: [\"h:1.1.1.1\", \"h=1.1.1.2\", \"v6:::1\"]\n\
        \x20     additional_contexts: {a: ./x, b: docker-image://y, c: service:t2}\n      network: none\n      provenance: mode=max\n      sbom: true\n\
        \x20     x-bake: {tags: [app:2], no-cache: true, output: type=docker}\n  t2:\n    build: .\n";
    let room = || file(text).with("B", "b");
    check_key(&room(), &[], "context", r#""dir""#);
    check_key(&room(), &[], "args", r#"{"A":"1","B":"b","N":""}"#);
    check_key(&room(), &[], "labels", r#"{"l":"1.5","m":"true"}"#);
    check_key(&room(), &[], "tags", r#"["app:2"]"#);
    check_key(&room(), &[], "shm-size", r#""128MiB""#);
    check_key(&room(), &[], "ulimits", r#"["nofile=1:2","nproc=65535:65535"]"#);
    check_key(&room(), &[], "extra-hosts", r#"{"h":"1.1.1.1,1.1.1.2","v6":"::1"}"#);
    check_key(&room(), &[], "contexts", r#"{"a":"x","b":"docker-image://y","c":"target:t2"}"#);
    check_key(&room(), &[], "attest", r#"[{"type":"sbom"},{"mode":"max","type":"provenance"}]"#);
    check_key(&room(), &[], "no-cache", "true");
    check_key(&room(), &[], "output", r#"[{"type":"docker"}]"#);
}

#[test]
fn variables_and_environment() {
    let text = "name: shop\nservices:\n  t:\n    build:\n      context: .\n      args:\n        A: ${X:-d}-$Y-${COMPOSE_PROJECT_NAME}\n        E:\n        F:\n        G:\n    environment:\n      - E=from-service\n    env_file: e.env\n";
    let room =
        file(text).with("Y", "y").beside(".env", "X=dot\nG=g\nY=loses\n").beside("e.env", "F=${G}f # c\n");
    check_key(&room, &[], "args", r#"{"A":"dot-y-shop","E":"from-service","F":"gf","G":"g"}"#);
    check_key(
        &file("services:\n  t:\n    build: ${NO:?say so}\n"),
        &[],
        "args",
        "! Invalid interpolation: required variable NO is missing a value: say so",
    );
}

#[test]
fn files_over_files() {
    let base = "services:\n  t:\n    build:\n      context: a\n      args: [A=1, B=1]\n      tags: [x]\n";
    let over = "services:\n  t:\n    build:\n      args: {B: 2}\n      tags: [x, y]\n";
    let room = || file(base).and("more.yml", over);
    check_key(&room(), &[], "args", r#"{"A":"1","B":"2"}"#);
    check_key(&room(), &[], "tags", r#"["x","y"]"#);
    let hcl = || room().and("docker-bake.hcl", "target \"t\" { args = { C = \"3\" } }\n");
    check_key(&hcl(), &[], "args", r#"{"A":"1","B":"2","C":"3"}"#);
}

#[test]
fn extends_include_and_anchors() {
    let text = "include: [more.yaml]\nx-args: &args\n  A: 1\nservices:\n  base:\n    build:\n      context: b\n      args: {<<: *args, B: 2}\n  t:\n    extends: base\n    build:\n      target: s\n";
    let room = || {
        file(text)
            .beside("more.yaml", "services:\n  m:\n    build: m\n")
            .beside("o.yml", "services:\n  o:\n    build: {context: oc, args: {A: o}}\n")
    };
    check_key(&room(), &[], "args", r#"{"A":"1","B":"2"}"#);
    check_key(&room(), &[], "target", r#""s""#);
    assert!(room().select(&["m"], &[]).is_ok());
    let other = "services:\n  t:\n    extends: {file: o.yml, service: o}\n    build: {args: [B=b]}\n";
    check_key(
        &file(other).beside("o.yml", "services:\n  o:\n    build: {context: oc, args: {A: o}}\n"),
        &[],
        "args",
        r#"{"A":"o","B":"b"}"#,
    );
    check_key(
        &file("services:\n  t:\n    extends: t\n    build: .\n"),
        &[],
        "args",
        "! Invalid compose file: services extend each other in a circle: t",
    );
}

#[test]
fn mistakes() {
    let cases = [
        (
            "services:\n  t:\n",
            "! Invalid compose file: service \"t\" has neither an image nor a build context specified",
        ),
        (
            "services:\n  t:\n    build: {contxt: .}\n",
            "! Invalid compose file: services.t.build additional properties 'contxt' not allowed; did you mean context?",
        ),
        (
            "services:\n  t:\n    build: {secrets: [k]}\n",
            "! Invalid compose file: service \"t\" refers to undefined build secret k",
        ),
        ("services:\n  t: [1]\n", "! Invalid compose file: services.t must be a mapping"),
        (
            "services:\n  t:\n    build: {tags: x}\n",
            "! Invalid compose file: services.t.build.tags must be a list",
        ),
        ("services:\n", "! Invalid compose file: services must be a mapping"),
        ("a: b\n", "! Invalid compose file: empty compose file: there are no services"),
        ("services:\n  t: {build: .\n", "! Invalid YAML: "),
    ];
    for (text, expected) in cases {
        let error = file(text).select(&["t"], &[]).map(|_| ()).unwrap_err().to_string();
        let line = format!("! {}", error.lines().next().unwrap());
        assert!(line.starts_with(expected), "{line}");
    }
}
