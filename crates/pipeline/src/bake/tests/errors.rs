//! Mistakes point at their place.

use super::Room;

#[track_caller]
fn check(name: &str, text: &str, expected: &str) {
    let error = Room::of(name, text).select(&["t"], &[]).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn with_line_and_caret() {
    check(
        "docker-bake.hcl",
        "target \"t\" {\n  args = {\n    a = upper(b)\n  }\n}\n",
        "Unknown variable: There is no variable named \"b\"\n --> docker-bake.hcl:3:15\n  |\n3 |     a = upper(b)\n  |               ^\n  = define it: variable \"b\" { default = ... }",
    );
    check(
        "docker-bake.json",
        "{\"target\": {\"t\": {\"args\": {\"a\": \"x-${nope}\"}}}}",
        "Unknown variable: There is no variable named \"nope\"\n --> docker-bake.json:1:38\n  |\n1 | {\"target\": {\"t\": {\"args\": {\"a\": \"x-${nope}\"}}}}\n  |                                      ^^^^\n  = define it: variable \"nope\" { default = ... }",
    );
    check(
        "compose.yaml",
        "services:\n  t:\n    build:\n      foo: bar\n",
        "Invalid compose file: services.t.build additional properties 'foo' not allowed\n --> compose.yaml:4:7\n  |\n4 |       foo: bar\n  |       ^^^",
    );
}

#[test]
fn of_the_syntax() {
    let first = |text: &str| {
        let error = Room::of("f.hcl", text).select(&["t"], &[]).map(|_| ()).unwrap_err().to_string();
        let mut lines = error.lines();
        format!("{} @{}", lines.next().unwrap(), lines.next().unwrap().rsplit("f.hcl:").next().unwrap())
    };
    let cases = [
        (
            "a = ",
            "Invalid expression: Expected the start of an expression, but found an invalid expression token @1:5",
        ),
        (
            "a = %s\n",
            "Invalid expression: Expected the start of an expression, but found an invalid expression token @1:5",
        ),
        ("target \"t\" {", "Unclosed configuration block: There is no closing brace for this block @1:13"),
        (
            "target \"t\"\n",
            "Invalid block definition: Either a quoted string block label or an opening brace (\"{\") is expected here @1:11",
        ),
        (
            "a = 1 b = 2\n",
            "Missing newline after argument: An argument definition must end with a newline @1:7",
        ),
        (
            "a = \"x\n",
            "Invalid multi-line string: A quoted string must be closed in the line in which it starts @1:5",
        ),
        (
            "a = \"\\q\"\n",
            "Invalid escape sequence: The symbols \\n, \\r, \\t, \\\", \\\\, \\uNNNN and \\UNNNNNNNN are known @1:6",
        ),
        (
            "a = [1 2]\n",
            "Missing item separator: Expected a comma to mark the beginning of the next item @1:8",
        ),
        (
            "a = { b }\n",
            "Missing attribute value: Expected an attribute value, introduced by an equals sign (\"=\") @1:9",
        ),
        ("a = <<E\nx\n", "Unterminated heredoc: No line with E alone ends the text @1:5"),
        (
            "a = \"${1\"\n",
            "Extra characters after interpolation expression: Expected a closing brace to end the template sequence @1:9",
        ),
        ("\"a\" = 1\n", "Invalid argument name: Argument names must not be quoted @1:1"),
        ("a = 1\na = 2\n", "Attribute redefined: The argument \"a\" was already set in this body @2:1"),
        ("target \"a b\" {}\n", "Invalid name: \"a b\": only letters, digits, _ and - are allowed @1:8"),
        ("target {}\n", "Invalid block: a target has one name @1:1"),
        (
            "group \"g\" {}\n",
            "Missing required argument: The argument \"targets\" is required, but no definition was found @1:12",
        ),
        (
            "target \"t\" {\n  ulimits = [\"x\"]\n}\n",
            "Unusable value: target t, ulimits: invalid ulimit argument: x @2:3",
        ),
        ("target \"t\" {\n  platforms = [\"linux amd\"]\n}\n", "Unusable value: target t, platforms: "),
    ];
    for (text, expected) in cases {
        let shown = first(text);
        assert!(shown.starts_with(expected), "{text:?}: {shown}");
    }
}
