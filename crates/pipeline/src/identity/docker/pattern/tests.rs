//! What expressions find, as V8 finds it.

use super::Pattern;

#[track_caller]
fn check(pattern: &str, flags: &str, text: &str, expected: &[Option<&str>]) {
    let found = Pattern::parse(pattern, flags).unwrap().find(text).unwrap();
    let found: Option<Vec<Option<&str>>> =
        found.as_ref().map(|groups| groups.iter().map(Option::as_deref).collect());
    let expected = (!expected.is_empty()).then_some(expected);
    assert_eq!(found.as_deref(), expected, "/{pattern}/{flags} in {text:?}");
}

#[test]
fn matches_and_groups() {
    check("v(.*)", "", "v1.2.3", &[Some("v1.2.3"), Some("1.2.3")]);
    check("V(\\d+)\\.(\\d+)", "i", "p1/v1.2.3", &[Some("v1.2"), Some("1"), Some("2")]);
    check("\\d+", "g", "20200110-RC2", &[Some("20200110"), Some("2")]);
    check("(a)|(v)", "", "v", &[Some("v"), None, Some("v")]);
    check("^$", "", "x", &[]);
    check("(?<=v)\\d+", "", "v12", &[Some("12")]);
    check("(?<!v)\\d+", "", "v12", &[Some("2")]);
    check("(\\d)\\1", "", "12344", &[Some("44"), Some("4")]);
    check("(?<y>\\d{4})-\\k<y>", "", "2024-2024", &[Some("2024-2024"), Some("2024")]);
    check("\\p{L}+", "u", "20-RC", &[Some("RC")]);
    check("\\p{L}", "", "p{L}", &[Some("p{L}")]);
    check("[0-9]{1", "", "1{1", &[Some("1{1")]);
    check("a.c", "s", "a\nc", &[Some("a\nc")]);
    check("^b$", "m", "a\nb\nc", &[Some("b")]);
    check("\\d", "y", "v1", &[]);
    check("(?:(a)|b)*", "", "ab", &[Some("ab"), None]);
    check("(a*)*", "", "b", &[Some(""), None]);
    check("a*?b", "", "aab", &[Some("aab")]);
    check("[^-]+", "", "v1-2", &[Some("v1")]);
    check("[\\d-x]+", "", "1-x", &[Some("1-x")]);
    check("\\u0061\\x62\\cJ\\101", "", "ab\nA", &[Some("ab\nA")]);
    check("(?=(a+))a*b\\1", "", "baaabac", &[Some("aba"), Some("a")]);
}

#[test]
fn what_is_no_expression_is_an_error() {
    for (pattern, flags) in [
        ("(", ""),
        (")", ""),
        ("[", ""),
        ("*", ""),
        ("a**", ""),
        ("a{2,1}", ""),
        ("{1}", ""),
        ("\\", ""),
        ("(?<a>.)(?<a>.)", ""),
        ("(?<a>.)\\k<b>", ""),
        ("[b-a]", ""),
        ("]", "u"),
        ("\\-", "u"),
        ("\\p{Nope}", "u"),
        ("a", "gg"),
        ("a", "x"),
        ("a", "uv"),
        ("(?a)", ""),
        ("^*", ""),
    ] {
        assert!(Pattern::parse(pattern, flags).is_err(), "/{pattern}/{flags}");
    }
    assert!(Pattern::parse(&"(".repeat(10_000), "").is_err());
}

/// Threads of tests have a quarter of the stack that a program has, and tests are not optimised.
#[test]
fn a_search_that_would_run_for_ever_is_given_up() {
    let thread = std::thread::Builder::new().stack_size(16 << 20);
    thread.spawn(searches_that_would_run_for_ever).unwrap().join().unwrap();
}

fn searches_that_would_run_for_ever() {
    let text = "a".repeat(10_000);
    for pattern in ["(a+)+$b", "(a|a)*b", "(a*)*b", ".*.*.*.*x", "(?:a?){10000}b", "(?:a)*b"] {
        let found = Pattern::parse(pattern, "").unwrap().find(&text);
        assert!(found.is_err() || found == Ok(None), "{pattern}");
    }
    assert!(Pattern::parse("(a+)+b", "").unwrap().find(&text).is_err());
}
