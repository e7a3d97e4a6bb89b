//! Targets: keys, inheritance, matrices, groups, links, overrides.

use super::{Room, check_key, printed};

#[track_caller]
fn check_print(room: &Room, targets: &[&str], overrides: &[&str], expected: &str) {
    let shown = match room.select(targets, overrides) {
        Ok(bake) => printed(&bake).to_string(),
        Err(error) => format!("! {}", error.to_string().lines().next().unwrap_or_default()),
    };
    assert_eq!(shown, expected);
}

fn hcl(text: &str) -> Room {
    Room::of("docker-bake.hcl", text)
}

#[test]
fn both_forms_of_entries() {
    let text = "target \"t\" {\n attest = [\"type=provenance,mode=max\", { type = \"sbom\", disabled = true }, \"type=provenance,mode=min\"]\n\
        cache-from = [\"user/app:c\", { type = \"s3\", bucket = \"b\" }, \"type=local,src=p\", \"user/app:c\"]\n\
        output = [\"out\", \"-\", { type = \"image\", push = true }, \"type=tar,dest=x.tar\", \"\"]\n\
        secret = [\"id=a,src=f\", { id = \"b\", env = \"B\" }, \"type=env,id=c,src=C\"]\n ssh = [\"default\", { id = \"k\", paths = [\"p\"] }, \"m=p,q\"]\n}\n";
    check_key(
        &hcl(text),
        &[],
        "attest",
        r#"[{"mode":"min","type":"provenance"},{"disabled":true,"type":"sbom"}]"#,
    );
    check_key(
        &hcl(text),
        &[],
        "cache-from",
        r#"[{"ref":"user/app:c","type":"registry"},{"bucket":"b","type":"s3"},{"src":"p","type":"local"}]"#,
    );
    check_key(
        &hcl(text),
        &[],
        "output",
        r#"[{"dest":"out","type":"local"},{"dest":"-","type":"tar"},{"push":"true","type":"image"},{"dest":"x.tar","type":"tar"}]"#,
    );
    check_key(
        &hcl(text),
        &[],
        "secret",
        r#"[{"id":"a","src":"f"},{"env":"B","id":"b"},{"env":"C","id":"c"}]"#,
    );
    check_key(
        &hcl(text),
        &[],
        "ssh",
        r#"[{"id":"default"},{"id":"k","paths":["p"]},{"id":"m","paths":["p","q"]}]"#,
    );
}

#[test]
fn inheritance_in_order() {
    let text = "target \"a\" {\n args = { x = \"a\", y = \"a\" }\n tags = [\"a\"]\n labels = { l = \"a\" }\n annotations = [\"k=a\"]\n}\n\
        target \"b\" {\n args = { y = \"b\" }\n platforms = [\"linux/amd64\"]\n annotations = [\"k=b\"]\n network = \"host\"\n}\n\
        target \"t\" {\n inherits = [\"a\", \"b\"]\n args = { z = \"t\", x = null }\n dockerfile = \"\"\n}\n";
    check_key(&hcl(text), &[], "args", r#"{"x":"a","y":"b","z":"t"}"#);
    check_key(&hcl(text), &[], "tags", r#"["a"]"#);
    check_key(&hcl(text), &[], "annotations", r#"["k=a","k=b"]"#);
    check_key(&hcl(text), &[], "entitlements", r#"["network.host"]"#);
    check_key(&hcl(text), &[], "dockerfile", r#""Dockerfile""#);
}

/// The neighbour leaves a circle out without a word; here it is a mistake.
#[test]
fn inheritance_in_a_circle_is_a_mistake() {
    let text = "target \"t\" { inherits = [\"u\"] }\ntarget \"u\" { inherits = [\"t\"] }\n";
    check_key(&hcl(text), &[], "args", "! targets inherit from each other in a circle: t -> u -> t");
}

#[test]
fn matrices() {
    let text = "target \"t\" {\n name = \"t-${a}-${replace(b.v, \".\", \"-\")}\"\n matrix = {\n a = [\"x\", \"y\"]\n b = [{ v = \"1.0\" }, { v = \"2\" }]\n }\n target = a\n args = { B = b.v }\n}\n";
    let bake = hcl(text).select(&["t"], &[]).unwrap();
    let names: Vec<&str> = bake.targets.keys().map(String::as_str).collect();
    assert_eq!(names, ["t-x-1-0", "t-x-2", "t-y-1-0", "t-y-2"]);
    assert_eq!(bake.targets["t-y-2"].args["B"], "2");
    assert_eq!(bake.groups["t"].targets.len(), 4);
}

#[test]
fn groups_and_patterns() {
    let text = "group \"default\" { targets = [\"all\"] }\ngroup \"all\" { targets = [\"a\", \"b\", \"a\"] }\ntarget \"a\" {}\ntarget \"b\" {}\n";
    let both =
        r#""a":{"context":".","dockerfile":"Dockerfile"},"b":{"context":".","dockerfile":"Dockerfile"}"#;
    check_print(
        &hcl(text),
        &[],
        &[],
        &format!(
            r#"{{"group":{{"all":{{"targets":["a","b"]}},"default":{{"targets":["all"]}}}},"target":{{{both}}}}}"#
        ),
    );
    check_print(
        &hcl(text),
        &["[ab]"],
        &[],
        &format!(r#"{{"group":{{"default":{{"targets":["a","b"]}}}},"target":{{{both}}}}}"#),
    );
    check_print(&hcl(text), &["zzzz"], &[], "! failed to find target zzzz; there are a, b, default, all");
}

#[test]
fn references_to_other_targets() {
    let text = "target \"t\" {\n args = { a = target.u.args.x, b = target.u.tags[0], c = target.u.output[0].dest, d = target.u.context == null }\n}\n\
        target \"u\" {\n args = { x = \"1\" }\n tags = [target.v.context]\n output = [\"type=tar,dest=o\"]\n}\ntarget \"v\" { context = \"vc\" }\n";
    check_key(&hcl(text), &[], "args", r#"{"a":"1","b":"vc","c":"o","d":"true"}"#);
    let circle = "target \"t\" { context = target.u.context }\ntarget \"u\" { context = target.t.context }\n";
    check_key(
        &hcl(circle),
        &[],
        "context",
        "! Invalid expression: reference cycle not allowed for target.u.context",
    );
}

#[test]
fn links_between_targets() {
    let text = "target \"t\" { contexts = { base = \"target:u\", x = \"\" } }\ntarget \"u\" { entitlements = [\"security.insecure\"] }\n";
    check_print(
        &hcl(text),
        &["t"],
        &[],
        r#"{"group":{"default":{"targets":["t"]}},"target":{"t":{"context":".","contexts":{"base":"target:u"},"dockerfile":"Dockerfile","entitlements":["security.insecure"]},"u":{"context":".","dockerfile":"Dockerfile","entitlements":["security.insecure"],"output":[{"type":"cacheonly"}]}}}"#,
    );
    check_key(
        &hcl("target \"t\" { contexts = { b = \"target:t\" } }"),
        &[],
        "context",
        "! target t cannot link to itself",
    );
    let circle = "target \"t\" { contexts = { b = \"target:u\" } }\ntarget \"u\" { contexts = { b = \"target:t\" } }\n";
    check_key(&hcl(circle), &[], "context", "! infinite loop from u to t");
}

#[test]
fn overrides() {
    let text = "target \"t\" {\n args = { a = \"1\" }\n tags = [\"x\"]\n cache-to = [\"type=inline\"]\n}\ntarget \"u\" {}\n";
    check_key(&hcl(text), &["t.args.a=2", "*.args.b=3"], "args", r#"{"a":"2","b":"3"}"#);
    check_key(&hcl(text).with("E", "e"), &["t.args.E", "t.args.N"], "args", r#"{"E":"e","a":"1"}"#);
    check_key(&hcl(text), &["t.tags=y", "t.tags=z"], "tags", r#"["y","z"]"#);
    check_key(&hcl(text), &["t.tags+=y"], "tags", r#"["x","y"]"#);
    check_key(&hcl(text), &["*.platform=linux/arm64"], "platforms", r#"["linux/arm64"]"#);
    check_key(
        &hcl(text),
        &["t.cache-to=type=registry,ref=r"],
        "cache-to",
        r#"[{"ref":"r","type":"registry"}]"#,
    );
    check_key(
        &hcl(text),
        &["t.output=type=docker", "t.push=true"],
        "output",
        r#"[{"type":"docker"},{"push":"true","type":"image"}]"#,
    );
    check_key(&hcl(text), &["t.no-cache=1"], "no-cache", "true");
    check_key(&hcl(text), &["t.context=sub/../x/"], "context", r#""x""#);
    check_key(&hcl(text), &["t.contexts.c=docker-image://a"], "contexts", r#"{"c":"docker-image://a"}"#);
    check_key(
        &hcl(text),
        &["x.args.a=1"],
        "args",
        "! --set \"x.args.a=1\" cannot be used: could not find any target matching 'x'; there are t, u",
    );
    check_key(
        &hcl(text),
        &["t.arg.a=1"],
        "args",
        "! --set \"t.arg.a=1\" cannot be used: unknown key: arg; did you mean args?",
    );
    check_key(
        &hcl(text),
        &["t=1"],
        "args",
        "! --set \"t=1\" cannot be used: TARGET.KEY=VALUE is expected, such as app.args.MODE=debug",
    );
}

#[test]
fn keys_without_effect_are_told() {
    let definition =
        hcl("target \"t\" {\n contxt = \"x\"\n resources = { memory = \"1g\" }\n}\nthing \"x\" {}\n")
            .definition()
            .unwrap();
    let told: Vec<String> =
        definition.notices().iter().map(|notice| format!("{}: {}", notice.line, notice.message)).collect();
    assert_eq!(
        told,
        [
            "2: the key contxt of target t has no effect; did you mean context?",
            "3: the key resources of target t has no effect",
            "5: blocks of the kind thing have no effect",
        ]
    );
}

#[test]
fn platforms_as_the_neighbour_reads_them() {
    for good in [
        "arm64",
        "linux",
        "local",
        "linux/amd64,linux/arm/v7",
        "linux/x86_64",
        "windows(10.0.17763)/amd64",
        "darwin/arm64",
    ] {
        let text = format!("target \"t\" {{ platforms = [{good:?}] }}");
        check_key(&hcl(&text), &[], "platforms", &format!("[{good:?}]"));
    }
    for bad in ["nowhere", "linux/", "linux amd64"] {
        assert!(
            hcl(&format!("target \"t\" {{ platforms = [{bad:?}] }}")).select(&["t"], &[]).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn contexts_of_this_machine_are_cleaned() {
    for (context, expected) in [
        ("./a/../b/", "b"),
        ("cwd://x/", "x"),
        ("https://github.com/a/b.git#main:dir/", "https://github.com/a/b.git#main:dir/"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("me@host:a//b", "me@host:a//b"),
        ("github.com/a/b", "github.com/a/b"),
    ] {
        let text = format!("target \"t\" {{ context = {context:?} }}");
        check_key(&hcl(&text), &[], "context", &format!("{expected:?}"));
    }
}

#[test]
fn the_ending_only_says_which_mistakes_are_told() {
    check_key(&Room::of("a.json", "target \"t\" { context = \"x\" }"), &[], "context", "\"x\"");
    check_key(&Room::of("a.hcl", "{\"target\": {\"t\": {\"context\": \"x\"}}}"), &[], "context", "\"x\"");
    check_key(&Room::of("other", "{\"target\": {\"t\": {\"context\": \"x\"}}}"), &[], "context", "\"x\"");
    check_key(&Room::of("other", "services:\n  t:\n    build: x\n"), &[], "context", "\"x\"");
}
