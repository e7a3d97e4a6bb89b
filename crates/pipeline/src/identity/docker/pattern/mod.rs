//! Regular expressions of JavaScript, with a limit on their steps.
//!
//! Git tags are matched against expressions that somebody wrote for JavaScript: look-behind,
//! back-references, `\p{...}` and the leniencies of expressions without the flag `u`. A backtracking
//! matcher can run for ever, so this one counts steps and gives up: the same input gives the same
//! answer on every machine, which a clock would not give.
//!
//! Source: ECMA-262, "RegExp (Regular Expression) Objects", and its annex B.

mod class;
mod escape;
mod parse;
mod run;

use class::Class;

/// How many steps a search may take; a match of an ordinary expression takes some hundreds.
const MAX_STEPS: u32 = 2_000_000;

/// An expression that has been read.
#[derive(Debug)]
pub(super) struct Pattern {
    root: Node,
    groups: usize,
    flags: Flags,
}

/// The flags that change what is found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    ignores_case: bool,
    is_multiline: bool,
    dot_is_all: bool,
    is_unicode: bool,
    has_sets: bool,
    is_global: bool,
    is_sticky: bool,
}

/// A search took too many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

#[derive(Debug)]
enum Node {
    Empty,
    Character(char),
    Class(Class),
    Start,
    End,
    Boundary {
        is_negated: bool,
    },
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Group {
        node: Box<Node>,
        number: usize,
    },
    Repeat(Box<Repeat>),
    Look {
        node: Box<Node>,
        is_behind: bool,
        is_negated: bool,
    },
    /// Back to a group, or to the one of several with a name that took part.
    Back(Vec<usize>),
}

#[derive(Debug)]
struct Repeat {
    node: Node,
    min: u32,
    max: u32,
    is_greedy: bool,
    /// The groups inside, which each turn forgets.
    groups: std::ops::Range<usize>,
}

impl Pattern {
    /// Reads an expression and its flags.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn parse(source: &str, flags: &str) -> Result<Self, String> {
        let flags = Flags::parse(flags)?;
        let (root, groups) = parse::parse(source, flags)?;
        Ok(Self { root, groups, flags })
    }

    /// Returns what `String.match` gives: the match and its groups, or with the flag `g` all matches.
    /// `None` is no match; a group that took no part is `None` too.
    ///
    /// # Errors
    /// It takes too many steps.
    pub(super) fn find(&self, text: &str) -> Result<Option<Vec<Option<String>>>, TooSlow> {
        let text: Vec<char> = text.chars().collect();
        let mut steps = MAX_STEPS;
        let mut all = Vec::new();
        let mut from = 0;
        while let Some(groups) = run::find(self, &text, from, &mut steps)? {
            let piece =
                |range: &Option<(usize, usize)>| range.map(|(from, to)| text[from..to].iter().collect());
            if !self.flags.is_global {
                return Ok(Some(groups.iter().map(piece).collect()));
            }
            all.push(piece(&groups[0]));
            let (start, end) = groups[0].unwrap_or_default();
            from = if end == start { end + 1 } else { end };
            if from > text.len() {
                break;
            }
        }
        Ok((!all.is_empty()).then_some(all))
    }
}

impl Flags {
    fn parse(text: &str) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut seen = String::new();
        for flag in text.chars() {
            if seen.contains(flag) {
                return Err(format!("the flag {flag} is there twice"));
            }
            seen.push(flag);
            match flag {
                'i' => flags.ignores_case = true,
                'm' => flags.is_multiline = true,
                's' => flags.dot_is_all = true,
                'u' | 'v' => flags.is_unicode = true,
                'g' => flags.is_global = true,
                'y' => flags.is_sticky = true,
                'd' => {}
                other => return Err(format!("{other:?} is no flag")),
            }
        }
        if seen.contains('u') && seen.contains('v') {
            return Err("the flags u and v exclude each other".to_owned());
        }
        flags.has_sets = seen.contains('v');
        Ok(flags)
    }

    /// Whether the two letters that fold to `s` and `k` are letters of words.
    fn has_odd_words(self) -> bool {
        self.is_unicode && self.ignores_case
    }
}

#[cfg(test)]
mod tests;
