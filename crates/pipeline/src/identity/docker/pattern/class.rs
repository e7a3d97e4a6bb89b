//! Sets of characters.

use regex_syntax::hir::{Class as Hir, ClassUnicode, ClassUnicodeRange, HirKind};

use super::Flags;

/// A set of characters, perhaps all others.
#[derive(Clone, Debug)]
pub(super) struct Class {
    ranges: Vec<(char, char)>,
    is_negated: bool,
    /// A character is in it when its upper or lower case is.
    is_loose: bool,
}

impl Class {
    /// Returns the set of `ranges`; where case is ignored their other cases are in it too.
    pub(super) fn new(ranges: Vec<(char, char)>, is_negated: bool, flags: Flags) -> Self {
        let mut class = ClassUnicode::new(ranges.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to)));
        // With `u` cases fold as Unicode says; without it only as far as upper case is one character.
        let folds = flags.ignores_case && flags.is_unicode;
        let is_folded = folds && class.try_case_fold_simple().is_ok();
        Self { ranges: ranges_of(&class), is_negated, is_loose: flags.ignores_case && !is_folded }
    }

    pub(super) fn contains(&self, character: char) -> bool {
        let is_in = self.holds(character)
            || (self.is_loose && cases(character).into_iter().flatten().any(|other| self.holds(other)));
        is_in != self.is_negated
    }

    fn holds(&self, character: char) -> bool {
        let at = self.ranges.partition_point(|(_, to)| *to < character);
        self.ranges.get(at).is_some_and(|(from, _)| *from <= character)
    }
}

/// Returns a character in the other cases that compare equal to it.
fn cases(character: char) -> [Option<char>; 2] {
    let single = |mut mapped: std::char::ToLowercase| mapped.next().filter(|_| mapped.next().is_none());
    let lower = single(character.to_lowercase());
    let is_equal = |other: &char| fold(*other) == fold(character);
    [lower.filter(is_equal), Some(fold(character)).filter(is_equal)]
}

/// Returns a character in the case that cases are compared in without the flag `u`.
pub(super) fn fold(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) if character.is_ascii() || !single.is_ascii() => single,
        _ => character,
    }
}

/// Returns a character in the case that cases are compared in with the flag `u`.
pub(super) fn fold_simply(character: char) -> char {
    let single = |first: Option<char>, second: Option<char>| first.filter(|_| second.is_none());
    let mut upper = character.to_uppercase();
    let upper = single(upper.next(), upper.next()).unwrap_or(character);
    let mut lower = upper.to_lowercase();
    single(lower.next(), lower.next()).unwrap_or(upper)
}

fn ranges_of(class: &ClassUnicode) -> Vec<(char, char)> {
    class.ranges().iter().map(|range| (range.start(), range.end())).collect()
}

/// Returns the characters of `\d`, `\s`, `\w` and their opposites.
pub(super) fn escape(letter: char, flags: Flags) -> Option<Vec<(char, char)>> {
    let ranges = match letter.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        'w' if flags.has_odd_words() => vec![
            ('0', '9'),
            ('A', 'Z'),
            ('_', '_'),
            ('a', 'z'),
            ('\u{17f}', '\u{17f}'),
            ('\u{212a}', '\u{212a}'),
        ],
        'w' => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        's' => vec![
            ('\t', '\r'),
            (' ', ' '),
            ('\u{a0}', '\u{a0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{2000}', '\u{200a}'),
            ('\u{2028}', '\u{2029}'),
            ('\u{202f}', '\u{202f}'),
            ('\u{205f}', '\u{205f}'),
            ('\u{3000}', '\u{3000}'),
            ('\u{feff}', '\u{feff}'),
        ],
        _ => return None,
    };
    Some(if letter.is_ascii_uppercase() { negate(&ranges) } else { ranges })
}

/// Returns the end-of-line characters, which `.` does not take.
pub(super) fn ends_of_line() -> Vec<(char, char)> {
    vec![('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')]
}

/// Returns all characters that are not in `ranges`.
pub(super) fn negate(ranges: &[(char, char)]) -> Vec<(char, char)> {
    let mut class = ClassUnicode::new(ranges.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to)));
    class.negate();
    ranges_of(&class)
}

/// Returns the characters that have a property of Unicode, such as `L` or `Script=Greek`.
pub(super) fn property(name: &str) -> Option<Vec<(char, char)>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '=');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let hir = regex_syntax::Parser::new().parse(&format!("\\p{{{name}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Hir::Unicode(class)) => Some(ranges_of(&class)),
        _ => None,
    }
}
