//! What templates give, as handlebars.js 4.7 gives it.

use std::rc::Rc;

use super::{Arguments, Failure, Function, Template, Value, World};

/// A world with a bit of everything.
struct Small;

impl World for Small {
    fn get(&self, name: &str) -> Value {
        match name {
            "branch" => Value::Function("branch"),
            "no" => Value::Function("no"),
            "date" => Value::Function("date"),
            "odd" => Value::text("a&b<c>'d'=`\""),
            "zero" => Value::Number(0.0),
            "list" => Value::List(Rc::new(vec![Value::text("a"), Value::text("b")])),
            _ => Value::Undefined,
        }
    }

    fn call(&self, function: Function, arguments: Arguments<'_>) -> Result<Value, Failure> {
        match (function, arguments.values) {
            ("branch", _) => Ok(Value::text("main")),
            ("no", _) => Ok(Value::text("false")),
            (_, [Value::Text(format)]) => Ok(Value::text(&format!("{format}/{}", arguments.hash.len()))),
            _ => Err(Failure::new("a date takes one pattern")),
        }
    }

    fn names(&self) -> &'static [&'static str] {
        &["branch", "no", "date", "odd", "zero", "list"]
    }
}

#[track_caller]
fn check(template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|template| template.render(&Small));
    assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
}

#[track_caller]
fn check_fails(template: &str) {
    let rendered = Template::parse(template).and_then(|template| template.render(&Small));
    assert!(rendered.is_err(), "{template} gives {rendered:?}");
}

#[test]
fn expressions_give_text() {
    check("plain } text", "plain } text");
    check("x-{{branch}}-y", "x-main-y");
    check("{{ branch }}{{nosuch}}", "main");
    check("{{date 'F'}}{{date \"F\" tz='Z'}}", "F/0F/1");
    check("{{zero}}", "0");
    check("{{list}} {{list.[1]}} {{list.length}} {{list.[0]}}", "a,b b 2 a");
    check("{{'branch'}}{{this.branch}}{{./branch}}", "mainmainmain");
    check("{{lookup this 'zero'}}{{this}}", "0[object Object]");
    check("{{branch 'x'}}", "main");
    check("{{nosuch a='b'}}", "");
}

#[test]
fn output_is_escaped_unless_three_braces_say_otherwise() {
    check("{{odd}}", "a&amp;b&lt;c&gt;&#x27;d&#x27;&#x3D;&#x60;&quot;");
    check("{{{odd}}}{{&odd}}", "a&b<c>'d'=`\"a&b<c>'d'=`\"");
}

#[test]
fn blocks_choose_and_repeat() {
    check("{{#if branch}}a{{else}}b{{/if}}", "a");
    check("{{#if nosuch}}a{{else if zero}}b{{else}}c{{/if}}", "c");
    check("{{#if zero}}a{{else}}b{{/if}}{{#if zero includeZero=true}}a{{/if}}", "ba");
    check("{{#unless nosuch}}a{{/unless}}{{^nosuch}}b{{/nosuch}}", "ab");
    // Text is true, also when it says false.
    check("{{#if no}}a{{/if}}", "a");
    check("{{#each list}}{{@index}}{{this}}{{#unless @last}},{{/unless}}{{/each}}", "0a,1b");
    check("{{#each list as |item at|}}{{at}}{{item}}{{/each}}", "0a1b");
    check("{{#branch}}[{{this}}]{{/branch}}{{#nosuch}}a{{else}}b{{/nosuch}}", "[main]b");
    check("{{#with odd}}{{length}}{{../zero}}{{/with}}", "120");
}

#[test]
fn escapes_comments_and_whitespace() {
    check("\\{{branch}} \\\\{{branch}}", "{{branch}} \\main");
    check("a{{! note }}b{{!-- }} --}}c", "abc");
    check("a {{~branch~}} b", "amainb");
    check("a\n{{#if branch}}\nb\n{{/if}}\nc", "a\nb\nc");
    check("{{{{raw}}}}{{x}}{{{{/raw}}}}", "");
}

#[test]
fn what_is_no_template_is_an_error() {
    for template in [
        "{{branch",
        "{{}}",
        "{{#if branch}}",
        "{{/if}}",
        "{{else}}",
        "{{#if branch}}{{/unless}}",
        "{{nosuch 'x'}}",
        "{{date}}",
        "{{> part}}",
        "{{* decorator}}",
        "{{date tz='Z' 'F'}}",
        "{{{branch}}",
        "{{a..b}}",
        "{{list.1}}",
        "{{#if}}{{/if}}",
        "a\0b",
    ] {
        check_fails(template);
    }
    check_fails(&"{{#if branch}}".repeat(10_000));
    check_fails(&format!("{{{{date {}", "(".repeat(10_000)));
}

#[test]
fn a_template_may_be_just_one_name() {
    for template in ["{{raw}}", "{{ raw }}", "{{{raw}}}", "{{~raw~}}", "{{raw 'x'}}"] {
        assert!(Template::is_just(template, "raw"), "{template}");
    }
    for template in ["raw", "v{{raw}}", "{{raw}}{{raw}}", "{{version}}", "{{'raw'}}", "{{raw"] {
        assert!(!Template::is_just(template, "raw"), "{template}");
    }
}
