//! Expressions, templates, variables, functions of the definition.

use super::{Room, check, check_key};

#[test]
fn operators_and_their_order() {
    check("1 + 2 * 3 - 4 / 2", "5");
    check("(1 + 2) * 3 % 4", "1");
    check("-2 + 1", "-1");
    check("0.1 + 0.2", "0.3");
    check("1 / 8", "0.125");
    check("true && !false || false", "true");
    check("1 < 2 && 2 >= 2 && 3 != 4", "true");
    check("\"1\" == 1", "false");
    check("\"2\" + 1", "3");
    check("null == null", "true");
    check("[1, 2] == [1, 2]", "true");
    check("1 > 2 ? \"a\" : \"b\"", "b");
    check("true ? 1 : \"x\"", "1");
    check("true ? null : \"x\"", "null");
    check("1 / 0", "! Operation failed: A number cannot be divided by zero");
    check("true || nothing", "true");
}

#[test]
fn collections() {
    check("[\"a\", \"b\"][1]", "b");
    check("{ a = \"x\", \"b c\" = \"y\" }[\"b c\"]", "y");
    check("{ a = { b = [1, 2] } }.a.b[0]", "1");
    check("{ a : 1, b : 2 }.b", "2");
    check("([{ n = \"x\" }, { n = \"y\" }][*].n)[1]", "y");
    check("[{ n = [\"x\"] }, { n = [\"y\"] }][*].n[0][1]", "! Invalid index: A string does not have indices");
    check("[{ n = \"x\" }, { n = \"y\" }].*.n[0]", "x");
    check("join(\",\", [for x in [\"a\", \"b\"] : upper(x)])", "A,B");
    check("join(\",\", [for i, x in [\"a\", \"b\"] : \"${i}${x}\" if i > 0])", "1b");
    check("{ for k, v in { a = 1, b = 2 } : v => k }[\"2\"]", "b");
    check("length({ for x in [\"a\", \"b\", \"aa\"] : substr(x, 0, 1) => x... }[\"a\"])", "2");
    check(
        "{ for x in [1, 2] : \"k\" => x }",
        "! Duplicate object key: Two different items produced the key \"k\" in this 'for' expression",
    );
    check(
        "[1, 2][2]",
        "! Invalid index: The collection has 2 elements, counted from 0; there is no element 2",
    );
    check(
        "{ a = 1 }.b",
        "! Unsupported attribute: This object does not have an attribute named \"b\"; did you mean a?",
    );
    check("{ (upper(\"k\")) = 1 }.K", "1");
}

#[test]
fn templates() {
    check("\"a${1 + 1}b\"", "a2b");
    check("\"${true}\"", "true");
    check("\"$${x} %%{y} $x 5% \\\"q\\\" \\u00e9\"", "${x} %{y} $x 5% \"q\" é");
    check("\"%{ if 1 > 0 }yes%{ else }no%{ endif }\"", "yes");
    check("\"%{ for x in [1, 2] }<${x}>%{ endfor }\"", "<1><2>");
    check("\"a ${~ \"b\" ~} c\"", "abc");
    check("\"${\"in${\"ner\"}\"}\"", "inner");
    check(
        "\"x${null}\"",
        "! Invalid template interpolation value: The expression result is null. Cannot include a null value in a string template",
    );
    check(
        "\"x${[1]}\"",
        "! Invalid template interpolation value: Cannot include the given value in a string template: string required",
    );
    check("\"%{ if true }x\"", "! Unclosed directive: an %{endif} is missing");
    check("<<EOT\n  a ${1}\n   b\nEOT\n", "  a 1\n   b\n");
    check("<<-EOT\n    a\n\n      ${\"b\"} \\n\n    EOT\n", "a\n\n  b \\n\n");
    check("<<EOT\n%{ for x in [1, 2] ~}\n${x}\n%{ endfor ~}\nEOT\n", "1\n2\n");
}

#[test]
fn comments_newlines_and_blocks() {
    let text = "# one\n// two\n/* three\n*/ target \"t\" { # four\n  args = { // five\n    a = 1, b = 2\n    c = (1 +\n      2)\n  }\n}\n\
        target t2 { context = \"x\" }\n";
    check_key(&Room::of("docker-bake.hcl", text), &[], "args", r#"{"a":"1","b":"2","c":"3"}"#);
}

#[test]
fn variables() {
    let text = "variable \"A\" { default = \"a\" }\nvariable \"N\" { default = 3 }\nvariable \"B\" { default = true }\n\
        variable \"E\" {}\nvariable \"D\" { default = \"${A}-d\" }\nG = \"g${N}\"\n\
        target \"t\" { args = { v = \"${A} ${N + 1} ${B ? \"y\" : \"n\"} [${E}] ${D} ${G}\" } }\n";
    let room = || Room::of("docker-bake.hcl", text);
    check_key(&room(), &[], "args", r#"{"v":"a 4 y [] a-d g3"}"#);
    let given =
        room().with("A", "x").with("N", "7").with("B", "0").with("E", "e").with("G", "not a variable");
    check_key(&given, &[], "args", r#"{"v":"x 8 n [e] x-d g7"}"#);
    check_key(
        &room().with("N", "many"),
        &[],
        "args",
        "\"! Invalid value: failed to parse N: a number is required\"".trim_matches('"'),
    );
    let mut flag = room().with("A", "environment");
    flag.given.insert("A".to_owned(), "flag".to_owned());
    check_key(&flag, &[], "args", r#"{"v":"flag 4 y [] flag-d g3"}"#);
}

#[test]
fn typed_variables() {
    let text = "variable \"L\" {\n type = list(string)\n default = [\"a\"]\n}\nvariable \"O\" {\n type = object({ a = string, b = optional(number) })\n default = { a = 1 }\n}\n\
        variable \"S\" { type = string }\n\
        target \"t\" { args = { l = join(\"|\", L), o = \"${O.a}${O.b == null}\", s = S == null } }\n";
    let room = || Room::of("docker-bake.hcl", text);
    check_key(&room(), &[], "args", r#"{"l":"a","o":"1true","s":"true"}"#);
    check_key(
        &room().with("L", "x,\"y,z\"").with("S", "s"),
        &[],
        "args",
        r#"{"l":"x|y,z","o":"1true","s":"false"}"#,
    );
    let json = room().with("L_JSON", "[\"p\",\"q\"]").with("O_JSON", "{\"a\":\"k\",\"b\":2}");
    check_key(&json, &[], "args", r#"{"l":"p|q","o":"kfalse","s":"true"}"#);
    let wrong = "variable \"N\" {\n type = number\n default = \"x\"\n}\ntarget \"t\" {}\n";
    check_key(
        &Room::of("docker-bake.hcl", wrong),
        &[],
        "args",
        "! Invalid value: the default of N does not go with its type number: a number is required",
    );
}

#[test]
fn validations() {
    let text = "variable \"P\" {\n default = 80\n validation {\n condition = P > 1024\n error_message = \"${P} is privileged\"\n }\n}\ntarget \"t\" {}\n";
    check_key(&Room::of("docker-bake.hcl", text), &[], "context", "! Validation failed: 80 is privileged");
    check_key(&Room::of("docker-bake.hcl", text).with("P", "8080"), &[], "context", "\".\"");
}

#[test]
fn functions_of_the_definition() {
    let text = "function \"tag\" {\n params = [name]\n variadic_params = rest\n result = \"${R}/${name}:${length(rest) > 0 ? rest[0] : \"latest\"}\"\n}\nvariable \"R\" { default = \"r.io\" }\n\
        function \"twice\" {\n params = [x]\n result = \"${tag(x)}+${tag(x, \"2\")}\"\n}\n\
        target \"t\" { args = { v = twice(\"app\") } }\n";
    check_key(&Room::of("docker-bake.hcl", text), &[], "args", r#"{"v":"r.io/app:latest+r.io/app:2"}"#);
    let cycle = "function \"a\" {\n params = []\n result = b()\n}\nfunction \"b\" {\n params = []\n result = a()\n}\ntarget \"t\" {}\n";
    check_key(
        &Room::of("docker-bake.hcl", cycle),
        &[],
        "args",
        "! Invalid function: function cycle not allowed for a",
    );
}

#[test]
fn json_definitions() {
    let text = r#"{"variable":{"V":{"default":"v","type":"string"}},"function":{"f":{"params":["x"],"result":"<${x}>"}},
        "K":"k","target":{"t":{"args":{"a":"${f(V)}-${K}","b":true,"c":null},"platforms":["linux/amd64"]}},"//":"comment"}"#;
    check_key(&Room::of("docker-bake.json", text), &[], "args", r#"{"a":"<v>-k","b":"true"}"#);
}

#[test]
fn several_files_in_order() {
    let room = Room::of("a.hcl", "variable \"V\" { default = \"1\" }\ntarget \"t\" {\n args = { v = V, w = \"a\" }\n tags = [\"a\"]\n}\n")
        .and("b.json", r#"{"variable":{"V":{"default":"2"}},"target":{"t":{"args":{"w":"b"},"tags":["b"]}}}"#);
    check_key(&room, &[], "args", r#"{"v":"2","w":"b"}"#);
    check_key(&room, &[], "tags", r#"["b"]"#);
}
