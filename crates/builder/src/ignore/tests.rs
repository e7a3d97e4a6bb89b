//! Lines against paths.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> IgnoreFile {
    IgnoreFile::parse(text.as_bytes(), ".dockerignore").unwrap()
}

#[track_caller]
fn check(lines: &str, path: &str, excluded: bool) {
    let file = parse(lines);
    assert_eq!(file.excluded(path.as_bytes()), excluded, "{lines:?} on {path}");
    assert_eq!(excluded_by_walk(&file, path), excluded, "{lines:?} on {path}, from folder to folder");
}

/// Goes down to a path as the walk of a context does, leaving out folders it need not read.
fn excluded_by_walk(file: &IgnoreFile, path: &str) -> bool {
    let mut inherited = Inherited::default();
    for (end, _) in path.match_indices('/') {
        let folder = &path.as_bytes()[..end];
        let verdict = file.verdict(folder, &inherited);
        if verdict.is_excluded() && !file.may_include_below(folder, &verdict) {
            return true;
        }
        inherited = verdict.inherited;
    }
    file.verdict(path.as_bytes(), &inherited).is_excluded()
}

#[test]
fn single_patterns() {
    check("", "a", false);
    check("a", "a", true);
    check("a", "b/a", false);
    check("a", "a/b/c", true);
    check("a/b", "a/b", true);
    check("a/b", "a", false);
    check("*", "a", true);
    check("*", "a/b", true);
    check("*.go", "a.go", true);
    check("*.go", "a/b.go", false);
    check("*/b", "a/b", true);
    check("*/b", "a/c/b", false);
    check("*/*/b", "a/c/b/d", true);
    check("a?", "ab", true);
    check("a?", "a/", false);
    check("a[bc]", "ac", true);
    check("a[^bc]", "ac", false);
    check("a\\*", "a*", true);
    check("a\\*", "ab", false);
    check("a.b", "acb", false);
    check("a+b", "a+b", true);
    check("(a|b)", "(a|b)", true);
    check("a$", "a$", true);
    check("a{b,c}", "ab", false);
    check("été?", "étés", true);
}

#[test]
fn double_stars() {
    check("**", "a", true);
    check("**", "a/b/c", true);
    check("**/a", "a", true);
    check("**/a", "b/a", true);
    check("**/a", "b/c/a", true);
    check("**/a", "b/c/a/d", true);
    check("**/a", "ba", false);
    check("**/*.go", "a.go", true);
    check("**/*.go", "b/c/a.go", true);
    check("**/*.go", "b/c/a.c", false);
    check("a/**", "a", false);
    check("a/**", "a/b", true);
    check("a/**", "a/b/c", true);
    check("a/**", "ab/c", false);
    check("a/**/b", "a/b", true);
    check("a/**/b", "a/c/b", true);
    check("a/**/b", "a/c/d/b", true);
    check("a/**/b", "a/cb", false);
    check("**/a/**/b", "x/a/y/z/b", true);
    check("**/a/b", "a/b", true);
    check("a**b", "ab", true);
    check("a**b", "ac/b", true);
    check("a**b", "acb", false);
    check("**.go", ".go", true);
    check("**.go", "a/.go", true);
    check("**.go", "a.go", false);
    check("a/**/**", "a/b/c", true);
    check("**/**/a", "a", true);
    check("**/.git", "sub/.git/config", true);
    check("a***", "abc", true);
}

#[test]
fn exceptions_and_order() {
    check("*\n!a", "a", false);
    check("*\n!a", "a/b", false);
    check("*\n!a", "b", true);
    check("*\n!a/b", "a/b", false);
    check("*\n!a/b", "a/c", true);
    check("!a\n*", "a", true);
    check("a\n!a/b\na/b/c", "a/b/c", true);
    check("a\n!a/b\na", "a/b", false);
    check("a/*\n!a", "a/b", true);
    check("a/*\n!a/b", "a/b/c", false);
    check("[^a]/**\n!*b", "b/ab", true);
    check("*/*\n!src", "src/x", true);
    check("a\n!a/b\na/b/c", "a/b/d", false);
    check("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true);
    check("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false);
    check("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false);
    check("**\n!**/*.go", "a/b/c.go", false);
    check("**\n!**/*.go", "a/b/c.md", true);
    check("a\n!a/*/keep", "a/b/keep", false);
    check("a\n!a/*/keep", "a/b/drop", true);
    check("a\n!**/keep/**", "a/keep/x/y", false);
    check("a\n!a", "a/b", false);
    check("a\n!b", "a/b", true);
    check("!a", "a", false);
    check("node_modules\n!node_modules/keep/index.js", "node_modules/keep/index.js", false);
    check("node_modules\n!node_modules/keep/index.js", "node_modules/keep/other.js", true);
}

#[test]
fn how_lines_are_read() {
    check("# a\na", "a", true);
    check("#a", "#a", false);
    check(" #a", "#a", true);
    check("\\#a", "#a", true);
    check("  a  ", "a", true);
    check("a\r\nb\r\n", "a", true);
    check("/a", "a", true);
    check("a/", "a/b", true);
    check("./a", "a", true);
    check("a//b", "a/b", true);
    check("a/../b", "b", true);
    check("../a", "a", false);
    check("/../a", "a", true);
    check(".", "a", false);
    check("/", "a", false);
    check("*\n! a", "a", false);
    check("*\n!/a", "a", false);
    check("\u{feff}a", "a", true);
    check("\n\n\na\n", "a", true);
    check("a b", "a b", true);
}

#[test]
fn folders_are_left_out_unread_where_nothing_comes_back() {
    let pruned = |lines: &str, folder: &str| {
        let file = parse(lines);
        let verdict = file.verdict(folder.as_bytes(), &Inherited::default());
        verdict.is_excluded() && !file.may_include_below(folder.as_bytes(), &verdict)
    };
    assert!(pruned("node_modules", "node_modules"));
    assert!(pruned("node_modules\n!src/x", "node_modules"));
    assert!(pruned("!node_modules/x\nnode_modules", "node_modules"));
    assert!(!pruned("node_modules\n!node_modules/x", "node_modules"));
    assert!(!pruned("node_modules\n!**/x", "node_modules"));
    assert!(!pruned("*\n!a*/x", "ab"));
    assert!(pruned("*\n!a*/x", "b"));
    assert!(!pruned("a", "b"));
}

#[test]
fn the_line_that_excludes_is_named() {
    let file = parse("# secrets\n*.pem\n!ca.pem\nlogs\n");
    let told = |path: &str| file.excluded_by(path.as_bytes()).map(|rule| (rule.line, &rule.text[..]));
    assert_eq!(told("key.pem"), Some((2, "*.pem")));
    assert_eq!(told("ca.pem"), None);
    assert_eq!(told("logs/today"), Some((4, "logs")));
}

#[test]
fn what_is_refused() {
    let refused = |text: &str| IgnoreFile::parse(text.as_bytes(), ".dockerignore").unwrap_err().to_string();
    insta::assert_snapshot!(refused("a\n!\n"), @r#".dockerignore:2: "!" is not a pattern: after ! a pattern must follow"#);
    insta::assert_snapshot!(refused("[a"), @r#".dockerignore:1: "[a" is not a pattern: a [ is not closed"#);
    insta::assert_snapshot!(refused("x[]"), @r#".dockerignore:1: "x[]" is not a pattern: a ] in [...] stands for itself only as \]"#);
    insta::assert_snapshot!(refused("a\\"), @r#".dockerignore:1: "a\\" is not a pattern: it ends in a backslash"#);
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), path in "[a-c/*\\\\]{0,20}") {
        if let Ok(file) = IgnoreFile::parse(&bytes, ".dockerignore") {
            file.excluded(path.as_bytes());
        }
    }

    #[test]
    fn a_walk_that_skips_folders_agrees_with_the_lines(
        lines in proptest::collection::vec("!?[ab*?]{1,3}(/[ab*]{1,2}){0,3}", 0..6),
        path in "[ab]{1,2}(/[ab]{1,2}){0,4}",
    ) {
        let file = parse(&lines.join("\n"));
        prop_assert_eq!(file.excluded(path.as_bytes()), excluded_by_walk(&file, &path));
    }
}
