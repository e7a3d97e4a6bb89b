//! Shell patterns inside `${v#p}`, `${v%p}` and `${v/p/w}`: `*`, `?`, and a backslash before either.
//!
//! Bracket expressions are not part of it. A pattern is translated to a regular expression, which is
//! matched in linear time whatever the pattern.
//!
//! Source: BuildKit's shell lexer; POSIX.1-2017, XCU 2.13, without brackets.

use regex::Regex;

/// Removes the start of `value` that `pattern` matches: the longest one or the shortest.
pub(super) fn trim_start(value: &str, pattern: &str, longest: bool) -> Result<String, String> {
    let regex = compile(&pieces(pattern)?, longest, true)?;
    Ok(regex.find(value).map_or(value, |found| &value[found.end()..]).to_owned())
}

/// Removes the end of `value` that `pattern` matches: the longest one or the shortest.
///
/// Both are turned round first: leftmost matching finds the shortest end in no other way.
pub(super) fn trim_end(value: &str, pattern: &str, longest: bool) -> Result<String, String> {
    let mut pieces = pieces(pattern)?;
    pieces.reverse();
    let regex = compile(&pieces, longest, true)?;
    let turned: String = value.chars().rev().collect();
    let kept = regex.find(&turned).map_or(&turned[..], |found| &turned[found.end()..]);
    Ok(kept.chars().rev().collect())
}

/// Replaces the first match of `pattern`, or all of them; every match is the longest at its place.
pub(super) fn replace(value: &str, pattern: &str, with: &str, all: bool) -> Result<String, String> {
    let regex = compile(&pieces(pattern)?, true, false)?;
    let limit = if all { 0 } else { 1 };
    Ok(regex.replacen(value, limit, regex::NoExpand(with)).into_owned())
}

#[derive(Clone, Copy)]
enum Piece {
    Any,
    One,
    Literal(char),
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '*' => Piece::Any,
            '?' => Piece::One,
            // The ends of the substitution itself are escaped on the way in; the escape is not the pattern's.
            '\\' if matches!(characters.peek(), Some('}' | '/')) => continue,
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '?' | '\\')) => Piece::Literal(escaped),
                Some(other) => {
                    return Err(format!("\\{other} escapes nothing; only \\* \\? \\\\ \\/ \\}} do"));
                }
                None => return Err("it ends in a backslash".to_owned()),
            },
            literal => Piece::Literal(literal),
        });
    }
    Ok(pieces)
}

fn compile(pieces: &[Piece], longest: bool, at_start: bool) -> Result<Regex, String> {
    let mut text = if at_start { "^".to_owned() } else { String::new() };
    for piece in pieces {
        match piece {
            Piece::Any if longest => text.push_str(".*"),
            Piece::Any => text.push_str(".*?"),
            Piece::One => text.push('.'),
            Piece::Literal(literal) => text.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4]))),
        }
    }
    Regex::new(&text).map_err(|_| "it is too long".to_owned())
}
