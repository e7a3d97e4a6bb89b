//! Forms of expansion, each against its value.

use proptest::prelude::*;

use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "PWD" => "/home",
        "HOST" => "example.org",
        "V" => "v",
        "EMPTY" => "",
        "SPACED" => "a  b c",
        "FILE" => "dir/sub/name.tar.gz",
        "STAR" => "a*b?c",
        "LINES" => "a\nb",
        "É" => "accent",
        "_x1" => "under",
        _ => return None,
    };
    Some(value.to_owned())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let expanded = Lexer::new('\\').expand(text, &lookup).map(|expansion| expansion.text);
    assert_eq!(expanded.as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn check_words(text: &str, expected: &[&str]) {
    assert_eq!(Lexer::new('\\').expand(text, &lookup).unwrap().words, expected, "{text}");
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = Lexer::new('\\').expand(text, &lookup).unwrap_err().to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

#[test]
fn plain_text_quotes_and_escapes() {
    check("hello", "hello");
    check("he'll'o", "hello");
    check("he\"ll\"o", "hello");
    check("a  b", "a  b");
    check(r"he\'llo", "he'llo");
    check(r"he\\llo", r"he\llo");
    check(r"'he\\llo'", r"he\\llo");
    check(r#""he\\llo""#, r"he\llo");
    check(r#""he\nllo""#, r"he\nllo");
    check(r#""he\"llo""#, r#"he"llo"#);
    check(r"abc\", "abc");
    check("\"'\"", "'");
    check("'\"'", "\"");
    check("''", "");
    check("été", "été");
}

#[test]
fn variables() {
    check("$V", "v");
    check("${V}", "v");
    check("$V.x", "v.x");
    check("x${V}x", "xvx");
    check("$PWD/$HOST", "/home/example.org");
    check("$Vx", "");
    check("$NONE", "");
    check("${NONE}", "");
    check("$_x1", "under");
    check("$É", "accent");
    check("$", "$");
    check("a$ b", "a$ b");
    check("$/", "$/");
    check("$$", "");
    check("$1x", "x");
    check("$@", "");
    check("'$V'", "$V");
    check("\"$V\"", "v");
    check(r"\$V", "$V");
    check(r#""\$V""#, "$V");
    check(r"\\$V", r"\v");
    check("$V$V", "vv");
}

#[test]
fn defaults_and_alternatives() {
    check("${NONE:-w}", "w");
    check("${NONE-w}", "w");
    check("${EMPTY:-w}", "w");
    check("${EMPTY-w}", "");
    check("${V:-w}", "v");
    check("${NONE:-}", "");
    check("${NONE:-$V}", "v");
    check("${NONE:-${V}}", "v");
    check("${NONE:-${OTHER:-${V}}}", "v");
    check("${NONE:-a b}", "a b");
    check("${NONE:-'a}b'}", "a}b");
    check(r"${NONE:-a\}b}", "a}b");
    check("${NONE:-\"$V\"}", "v");
    check("\"${NONE:-'x'}\"", "x");
    check("${V:+w}", "w");
    check("${V+w}", "w");
    check("${EMPTY:+w}", "");
    check("${EMPTY+w}", "w");
    check("${NONE:+w}", "");
    check("${NONE+w}", "");
    check("${V:+${HOST}}", "example.org");
    check("${PWD:-x}/${NONE:-y}", "/home/y");
}

#[test]
fn required_values() {
    check("${V:?m}", "v");
    check("${V?m}", "v");
    check("${EMPTY?m}", "");
    check_refused("${NONE?it is needed}", "NONE: it is needed");
    check_refused("${NONE:?}", "NONE: it must be set and not empty");
    check_refused("${NONE?}", "NONE: it must be set");
    check_refused("${EMPTY:?$V}", "EMPTY: v");
}

#[test]
fn trimmed_starts() {
    check("${FILE#*/}", "sub/name.tar.gz");
    check("${FILE##*/}", "name.tar.gz");
    check("${FILE#dir}", "/sub/name.tar.gz");
    check("${FILE#sub}", "dir/sub/name.tar.gz");
    check("${FILE#???}", "/sub/name.tar.gz");
    check("${FILE#}", "dir/sub/name.tar.gz");
    check("${FILE##*}", "");
    check("${FILE#*}", "dir/sub/name.tar.gz");
    check(r"${STAR#a\*}", "b?c");
    check(r"${STAR##*\?}", "c");
    check("${NONE#x}", "");
    check("${FILE#$NONE}", "dir/sub/name.tar.gz");
    check("${FILE#${NONE:-d}}", "ir/sub/name.tar.gz");
    check("${HOST#*.}", "org");
}

#[test]
fn trimmed_ends() {
    check("${FILE%.*}", "dir/sub/name.tar");
    check("${FILE%%.*}", "dir/sub/name");
    check("${FILE%/*}", "dir/sub");
    check("${FILE%%/*}", "dir");
    check("${FILE%gz}", "dir/sub/name.tar.");
    check("${FILE%x}", "dir/sub/name.tar.gz");
    check("${FILE%??}", "dir/sub/name.tar.");
    check(r"${STAR%\?c}", "a*b");
    check(r"${STAR%%\**}", "a");
    check("${EMPTY%*}", "");
}

#[test]
fn replacements() {
    check("${FILE/dir/x}", "x/sub/name.tar.gz");
    check("${FILE//a/A}", "dir/sub/nAme.tAr.gz");
    check("${FILE/a/A}", "dir/sub/nAme.tar.gz");
    check(r"${FILE//\//-}", "dir-sub-name.tar.gz");
    check(r"${FILE/\//-}", "dir-sub/name.tar.gz");
    check("${FILE//./}", "dir/sub/nametargz");
    check("${HOST/e*e/x}", "x.org");
    check("${HOST//?/x}", "xxxxxxxxxxx");
    check("${HOST/[e]/x}", "example.org");
    check("${NONE/a/b}", "");
    check("${HOST/$NONE/x}", "xexample.org");
    check("${HOST/example/$V}", "v.org");
    check("${V/v/\\$1}", r"\$1");
}

#[test]
fn forms_that_are_refused() {
    check_refused("${", "closing }");
    check_refused("${V", "closing }");
    check_refused("${V:-", "closing }");
    check_refused("${V:-$(x)", "closing }");
    check_refused("${V#x", "closing }");
    check_refused("${}", "no variable name");
    check_refused("${:-x}", "no variable name");
    check_refused("${{V}}", "no variable name");
    check_refused("${.}", "no variable name");
    check_refused("${V^}", "unsupported modifier \"^\"");
    check_refused("${V:x}", "unsupported modifier \":x\"");
    check_refused("${V:/a/b}", "unsupported modifier \":/\"");
    check_refused("${V:#a}", "unsupported modifier \":#\"");
    check_refused("${V/a}", "second /");
    check_refused("${V/a/b", "closing }");
    check_refused("'a", "closing '");
    check_refused("\"a", "closing \"");
    check_refused(r"${V#a\b}", r"\b escapes nothing");
    check_refused(&"${A:-".repeat(100), "nested more than 64 deep");
}

#[test]
fn values_cannot_grow_without_end() {
    let long = "x".repeat(1 << 19);
    let error = Lexer::new('\\').expand("$A$A$A", &|_| Some(long.clone())).unwrap_err();
    assert_eq!(error, ExpandError::TooLong);
    let error = Lexer::new('\\').expand("${A//x/yyyy}", &|_| Some(long.clone())).unwrap_err();
    assert_eq!(error, ExpandError::TooLong);
}

#[test]
fn words_split_at_spaces_that_are_not_quoted() {
    check_words("a b", &["a", "b"]);
    check_words("  a \t b  ", &["a", "b"]);
    check_words("'a b' c", &["a b", "c"]);
    check_words("\"a b\"c d", &["a bc", "d"]);
    check_words(r"a\ b c", &["a b", "c"]);
    check_words("$SPACED", &["a", "b", "c"]);
    check_words("x$SPACED", &["xa", "b", "c"]);
    check_words("\"$SPACED\"", &["a  b c"]);
    check_words("$EMPTY", &[]);
    check_words("''", &[]);
    check_words("a $NONE b", &["a", "b"]);
    check_words("${NONE:-a b}", &["a", "b"]);
    check_words("$LINES", &["a", "b"]);
    check_words("", &[]);
}

#[test]
fn the_backtick_escapes_where_the_file_says_so() {
    let lexer = Lexer::new('`');
    let expand = |text: &str| lexer.expand(text, &lookup).unwrap().text;
    assert_eq!(expand(r"c:\dir`$V"), r"c:\dir$V");
    assert_eq!(expand(r#""a`"b""#), "a\"b");
    assert_eq!(expand("``$V"), "`v");
}

#[test]
fn documents_know_no_quotes() {
    let expand = |text: &str| Lexer::document().expand(text, &lookup).unwrap().text;
    assert_eq!(expand("it's \"$V\"\n"), "it's \"v\"\n");
    assert_eq!(expand(r"\$V ${NONE:-'x'}"), "$V 'x'");
}

#[test]
fn says_which_variables_it_saw() {
    let expansion = Lexer::new('\\').expand("$V ${NONE:-$HOST} '$PWD' ${V#x}", &lookup).unwrap();
    assert_eq!(expansion.used.into_iter().collect::<Vec<_>>(), ["HOST", "V"]);
    assert_eq!(expansion.undefined.into_iter().collect::<Vec<_>>(), ["NONE"]);
}

#[test]
fn unset_variables_can_be_kept_as_written() {
    let keep = |text: &str| Lexer::literal('\\').expand(text, &|_| None).unwrap().text;
    for text in ["$A", "${A}", "${A:-b}", "${A#b}", "${A/b/c}", "${A//b/c}", "${A:?b}"] {
        assert_eq!(keep(text), text);
    }
}

proptest! {
    #[test]
    fn never_panics(text in "[\\\\$'\"`{}:/#%?*+ a-cV\\-]{0,40}") {
        let _ = Lexer::new('\\').expand(&text, &lookup);
        let _ = Lexer::new('`').expand(&text, &lookup);
        let _ = Lexer::document().expand(&text, &lookup);
        let _ = Lexer::literal('\\').raw_quotes().raw_escapes().words(&text);
    }

    #[test]
    fn text_without_special_characters_is_itself(text in "[a-z0-9 ./:=é-]{0,40}") {
        prop_assert_eq!(Lexer::new('\\').expand(&text, &lookup).unwrap().text, text);
    }
}
