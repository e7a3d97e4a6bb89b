//! Expressions as workflows have them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

struct Contexts(Value);

impl Scope for Contexts {
    fn context(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

fn scope() -> Contexts {
    Contexts(json!({
        "github": {
            "ref": "refs/heads/Feature/x", "ref_name": "Feature/x", "event_name": "push", "sha": "abc",
            "event": { "pull_request": { "number": 42 }, "commits": [{ "message": "a" }, { "message": "b" }] }
        },
        "env": { "REGISTRY": "ghcr.io" },
        "matrix": { "image": { "name": "api" }, "n": 3 },
        "empty": null
    }))
}

#[track_caller]
fn check(text: &str, expected: Value) {
    let value = Expression::parse(text).unwrap().evaluate(&scope());
    assert_eq!(value.map(|value| text_of(&value)), Ok(text_of(&expected)), "{text}");
}

#[track_caller]
fn check_refused(text: &str, reason: &str) {
    let error = Expression::parse(text).unwrap_err();
    assert!(error.reason.contains(reason), "{text}: {error}");
}

#[test]
fn literals_and_operators() {
    for (text, expected) in [
        ("'it''s'", json!("it's")),
        ("1.5", json!(1.5)),
        ("0x10", json!(16)),
        ("-2e1", json!(-20)),
        ("true && 'a' || 'b'", json!("a")),
        ("false && 'a' || 'b'", json!("b")),
        ("!null", json!(true)),
        ("!(1 == 2)", json!(true)),
        ("1 < 2 == true", json!(true)),
        ("'a' == 'A'", json!(true)),
        ("'1' == 1", json!(true)),
        ("'x' == 1", json!(false)),
        ("null == 0", json!(true)),
        ("'' == false", json!(true)),
        ("'b' > 'A'", json!(true)),
        ("1 >= 1 && 2 <= 1", json!(false)),
        ("1 != 2", json!(true)),
    ] {
        check(text, expected);
    }
}

#[test]
fn contexts_and_their_properties() {
    for (text, expected) in [
        ("github.ref", json!("refs/heads/Feature/x")),
        ("GitHub.Event_Name == 'PUSH'", json!(true)),
        ("github['ref_name']", json!("Feature/x")),
        ("github.event.pull_request.number", json!(42)),
        ("github.event.nothing.there", Value::Null),
        ("github.event.commits[1].message", json!("b")),
        ("join(github.event.commits.*.message, '+')", json!("a+b")),
        ("contains(github.event.commits.*.message, 'B')", json!(true)),
        ("matrix.image.name", json!("api")),
        ("matrix.n == '3'", json!(true)),
    ] {
        check(text, expected);
    }
}

#[test]
fn functions() {
    for (text, expected) in [
        ("startsWith(github.ref, 'refs/heads/feature/')", json!(true)),
        ("endsWith('main', 'AIN')", json!(true)),
        ("contains('Hello', 'ell')", json!(true)),
        ("format('{0}-{1}{{}}', 'a', 2)", json!("a-2{}")),
        ("fromJSON('[1,2]')[1]", json!(2)),
        ("toJSON('x')", json!("\"x\"")),
        ("success() && !failure() && always()", json!(true)),
        (
            "startsWith(github.ref, 'refs/tags/') && 'release' || format('dev-{0}', github.sha)",
            json!("dev-abc"),
        ),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_only_a_run_knows_matters_where_the_result_depends_on_it() {
    check("false && secrets.X", json!(false));
    check("secrets.X && github.event_name == 'pull_request'", json!(false));
    check("true || steps.a.outputs.b", json!(true));
    let unknown = |text: &str| Expression::parse(text).unwrap().evaluate(&scope()).unwrap_err().what;
    assert_eq!(unknown("steps.meta.outputs.tags"), "steps.meta");
    assert_eq!(unknown("secrets.X || 'a'"), "secrets.X");
    assert_eq!(unknown("hashFiles('**/x')"), "hashFiles()");
    assert_eq!(unknown("format('{1}', 'a')"), "format()");
    assert_eq!(unknown("fromJSON('{')"), "fromJSON()");
}

#[test]
fn what_is_no_expression_is_refused() {
    check_refused("", "empty");
    check_refused("github.", "after a point");
    check_refused("\"a\"", "nothing begins with it");
    check_refused("'a", "not closed");
    check_refused("a == ", "ends where a value");
    check_refused("(a", ") is missing before the end");
    check_refused("a b", "b is left over");
    check_refused("f(a b)", ", is missing before b");
    check_refused("1a", "no number");
    check_refused(&"(".repeat(100), "deep");
    check_refused(&format!("{}1", "!".repeat(20_000)), "deep");
    check_refused(&vec!["a"; 200].join(" && "), "deep");
    check_refused(&"a".repeat(30_000), "longer");
}

#[test]
fn texts_with_expressions() {
    let template = Template::parse("${{ env.REGISTRY }}/acme/${{ matrix.image['name'] }}:x").unwrap();
    assert_eq!(template.render(&scope()).unwrap(), "ghcr.io/acme/api:x");
    assert_eq!(Template::parse("a ${{ '}}' }} b").unwrap().render(&scope()).unwrap(), "a }} b");
    assert_eq!(Template::parse("plain").unwrap().render(&scope()).unwrap(), "plain");
    assert!(Template::parse("${{ a").unwrap_err().reason.contains("has no }}"));
    let condition = Template::parse_condition("github.event_name == 'push'").unwrap();
    assert_eq!(condition.render(&scope()).unwrap(), "true");
}

#[test]
fn names_that_somebody_cares_about() {
    let expression =
        Expression::parse("github.ref == 'refs/heads/next' || startsWith(steps.a.outputs.b, 'x')").unwrap();
    assert_eq!(expression.literals(), ["refs/heads/next", "x"]);
    assert_eq!(expression.paths(), ["github.ref", "steps.a.outputs.b"]);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in r"([a-z.\[\]()'!&|=<>*, 0-9${}é]|github|format|&&|\|\||\$\{\{|\}\}){0,40}") {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = (expression.evaluate(&scope()), expression.literals().len(), expression.paths());
        }
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&scope());
        }
    }
}
