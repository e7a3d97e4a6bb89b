//! An instruction's arguments taken apart: flags, words, quoted words, JSON arrays.
//!
//! Each way of splitting belongs to certain instructions, and they disagree on purpose: COPY knows no
//! quotes, ENV keeps them for expansion, flags take them away.
//!
//! Source: BuildKit's line parsers.

use std::ops::Range;

use serde_json::value::RawValue;

use super::lex::Line;
use super::source::{Span, Word};

/// The spaces that separate words outside of quotes. A line feed cannot occur in a joined line.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// `--name` or `--name=value` before the arguments.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub name: String,
    pub value: Option<Word>,
    pub span: Span,
}

/// Takes the first word off a range. Returns its range and the trimmed rest.
pub(super) fn first(line: &Line, range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let range = line.trim(range);
    let text = &line.text[range.clone()];
    let end = range.start + text.find(is_space).unwrap_or(text.len());
    (range.start..end, line.trim(end..range.end))
}

/// Splits at spaces; quotes mean nothing.
pub(super) fn split(line: &Line, range: Range<usize>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = line.trim(range);
    while !rest.is_empty() {
        let (word, after) = first(line, rest);
        words.push(line.word(word));
        rest = after;
    }
    words
}

/// Splits at spaces that are neither quoted nor escaped; quotes and escapes stay in the words.
pub(super) fn split_quoted(line: &Line, range: Range<usize>, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = line.text[range.clone()].char_indices().map(|(at, c)| (range.start + at, c));
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(start.take().map(|start| line.word(start..at)));
            continue;
        }
        start.get_or_insert(at);
        match quote {
            _ if character == escape && quote != Some('\'') => drop(characters.next()),
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None => {}
        }
    }
    words.extend(start.map(|start| line.word(start..range.end)));
    words
}

/// Takes the flags off the front of a range. Returns them and the rest.
pub(super) fn flags(line: &Line, range: Range<usize>) -> (Vec<Flag>, Range<usize>) {
    let mut flags = Vec::new();
    let mut rest = line.trim(range);
    while line.text[rest.clone()].starts_with("--") {
        let (text, end) = unquoted(line, rest.clone());
        let word = rest.start..end;
        rest = line.trim(end..rest.end);
        if text == "--" {
            break;
        }
        flags.push(flag(line, &text, word));
    }
    (flags, rest)
}

fn flag(line: &Line, text: &str, range: Range<usize>) -> Flag {
    let span = line.span(range.clone());
    let text = text.strip_prefix("--").unwrap_or(text);
    let Some((name, value)) = text.split_once('=') else {
        return Flag { name: text.to_owned(), value: None, span };
    };
    let equals = line.text[range.clone()].find('=').map_or(range.end, |at| range.start + at + 1);
    let value = Word { text: value.to_owned(), span: line.span(equals..range.end) };
    Flag { name: name.to_owned(), value: Some(value), span }
}

/// Reads one word with quotes and backslashes taken away. Returns it and where it ends.
fn unquoted(line: &Line, range: Range<usize>) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = line.text[range.clone()].char_indices();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => return (word, range.start + at),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ if character == '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => word.push(character),
        }
    }
    (word, range.end)
}

/// Why a text is not the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotJson {
    /// It does not start with `[`.
    NoArray,
    /// It starts with `[` and is not JSON.
    Malformed,
    /// It is a JSON array that holds something else than strings.
    NotStrings,
}

/// Reads a JSON array of strings.
pub(super) fn json(line: &Line, range: Range<usize>) -> Result<Vec<Word>, NotJson> {
    let range = line.trim(range);
    let text = &line.text[range.clone()];
    if !text.starts_with('[') {
        return Err(NotJson::NoArray);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NotJson::Malformed)?;
    let read = |element: &RawValue| {
        let raw = element.get();
        let start = range.start + (raw.as_ptr() as usize - text.as_ptr() as usize);
        let text = serde_json::from_str(raw).map_err(|_| NotJson::NotStrings)?;
        Ok(Word { text, span: line.span(start..start + raw.len()) })
    };
    elements.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lex::Lines;
    use super::super::source::Source;
    use super::*;

    fn line(text: &str) -> Line {
        Lines::new(&Source::new("Dockerfile", text.as_bytes()), '\\').next_line().unwrap()
    }

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(Word::as_str).collect()
    }

    #[track_caller]
    fn check_quoted(text: &str, expected: &[&str]) {
        let line = line(text);
        assert_eq!(texts(&split_quoted(&line, 0..line.text.len(), '\\')), expected, "{text}");
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        check_quoted("a=b c=d", &["a=b", "c=d"]);
        check_quoted("a='b c' d", &["a='b c'", "d"]);
        check_quoted("a=\"b c\" d", &["a=\"b c\"", "d"]);
        check_quoted(r"a=b\ c d", &[r"a=b\ c", "d"]);
        check_quoted(r#"a="b\" c" d"#, &[r#"a="b\" c""#, "d"]);
        check_quoted(r"a='b\' d", &[r"a='b\'", "d"]);
        check_quoted("a=\"\" b", &["a=\"\"", "b"]);
        check_quoted("a='open b", &["a='open b"]);
        check_quoted(r"a=é\é b", &[r"a=é\é", "b"]);
    }

    #[track_caller]
    fn check_flags(text: &str, expected: &[(&str, Option<&str>)], rest: &str) {
        let line = line(text);
        let (flags, after) = flags(&line, 0..line.text.len());
        let flags: Vec<_> =
            flags.iter().map(|flag| (&flag.name[..], flag.value.as_ref().map(Word::as_str))).collect();
        assert_eq!(flags, expected, "{text}");
        assert_eq!(&line.text[after], rest, "{text}");
    }

    #[test]
    fn flags_stand_in_front() {
        check_flags("--from=a --link b c", &[("from", Some("a")), ("link", None)], "b c");
        check_flags("a --link", &[], "a --link");
        check_flags("--x=\"a b\" c", &[("x", Some("a b"))], "c");
        check_flags("--x='a b' c", &[("x", Some("a b"))], "c");
        check_flags(r"--x=a\ b c", &[("x", Some("a b"))], "c");
        check_flags("--x= c", &[("x", Some(""))], "c");
        check_flags("-- --x c", &[], "--x c");
        check_flags("--x -- --y", &[("x", None)], "--y");
        check_flags("- a", &[], "- a");
        check_flags("--a=b=c d", &[("a", Some("b=c"))], "d");
        check_flags("--x", &[("x", None)], "");
    }

    #[test]
    fn flags_know_where_they_stand() {
        let source = Source::new("Dockerfile", b"--from=a --chown=\\\n  b x");
        let line = Lines::new(&source, '\\').next_line().unwrap();
        let (flags, _) = flags(&line, 0..line.text.len());
        assert_eq!(source.slice(flags[0].value.as_ref().unwrap().span), "a");
        assert_eq!(source.slice(flags[0].span), "--from=a");
        assert_eq!(flags[1].value.as_ref().unwrap().text, "");
    }

    #[track_caller]
    fn check_json(text: &str, expected: Result<&[&str], NotJson>) {
        let line = line(text);
        let words = json(&line, 0..line.text.len());
        assert_eq!(
            words.as_ref().map(|words| texts(words)).map_err(|why| *why),
            expected.map(<[_]>::to_vec),
            "{text}"
        );
    }

    #[test]
    fn json_arrays_are_of_strings() {
        check_json(r#"["a", "b c"]"#, Ok(&["a", "b c"]));
        check_json(r#"  [ "a\n" ]  "#, Ok(&["a\n"]));
        check_json("[]", Ok(&[]));
        check_json(r#"["é"]"#, Ok(&["é"]));
        check_json(r#"["a", 1]"#, Err(NotJson::NotStrings));
        check_json(r#"["a", null]"#, Err(NotJson::NotStrings));
        check_json(r#"["a"] b"#, Err(NotJson::Malformed));
        check_json("['a']", Err(NotJson::Malformed));
        check_json("[ -f x ]", Err(NotJson::Malformed));
        check_json("a", Err(NotJson::NoArray));
    }

    #[test]
    fn json_words_know_where_they_stand() {
        let source = Source::new("Dockerfile", b"[\"a\", \\\n \"bc\"]");
        let line = Lines::new(&source, '\\').next_line().unwrap();
        let words = json(&line, 0..line.text.len()).unwrap();
        assert_eq!(source.slice(words[1].span), "\"bc\"");
        assert_eq!(words[1].span.line, 2);
    }
}
