//! Calendar versions. Source: calver.org, "Scheme": a year, then months, weeks, days or counts, then a modifier.

use std::cmp::Ordering;

/// A calendar version, as it is written and as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calver {
    written: Vec<String>,
    values: Vec<u64>,
    modifier: Option<Modifier>,
}

/// What follows the numbers: `rc1`, `dev`, `2`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Modifier {
    /// In small letters; empty where it is a number alone.
    word: String,
    number: u64,
}

/// Words of versions that come before the release, in their order.
const BEFORE: [&str; 11] =
    ["dev", "nightly", "snapshot", "a", "alpha", "b", "beta", "pre", "preview", "c", "rc"];

impl Calver {
    /// Reads `YYYY.MM`, `YY.0M.MICRO`, `YYYY.MINOR.MICRO.PATCH`, each with a modifier or without.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let (mut written, mut values): (Vec<String>, Vec<u64>) = (Vec::new(), Vec::new());
        while written.len() < 4 {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, after) = rest.split_at(end);
            values.push(digits.parse().ok().filter(|value: &u64| *value < 1 << 53)?);
            written.push(digits.to_owned());
            rest = after;
            match rest.strip_prefix('.') {
                Some(after) if written.len() < 4 && after.starts_with(|c: char| c.is_ascii_digit()) => {
                    rest = after
                }
                _ => break,
            }
        }
        if !is_year(&written[0]) || written.len() < 2 {
            return None;
        }
        let modifier = if rest.is_empty() { None } else { Some(Modifier::parse(rest)?) };
        Some(Self { written, values, modifier })
    }

    /// Returns the numbers as they are written, with their zeros.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str)
    }

    pub(super) fn is_prerelease(&self) -> bool {
        self.modifier.as_ref().is_some_and(|modifier| modifier.rank().is_some())
    }
}

/// `2026`, `26`, `06`, and `106` for 2106.
fn is_year(digits: &str) -> bool {
    match digits.len() {
        4 => ("1900".."2200").contains(&digits),
        2 => true,
        3 => digits.starts_with('1'),
        _ => false,
    }
}

impl Modifier {
    fn parse(whole: &str) -> Option<Self> {
        let text = whole.strip_prefix(['-', '.', '_']).unwrap_or(whole).to_ascii_lowercase();
        let (word, number) = text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len()));
        let word = word.trim_end_matches(['.', '-']);
        let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase());
        let number = if number.is_empty() { 0 } else { number.parse().ok()? };
        // A number after a point is one part too many.
        let is_part = word.is_empty() && text.len() < whole.len() && whole.starts_with('.');
        (is_word && !text.is_empty() && !is_part).then(|| Self { word: word.to_owned(), number })
    }

    /// Returns the place among pre-releases; `None` where it is none.
    fn rank(&self) -> Option<usize> {
        BEFORE.iter().position(|word| *word == self.word)
    }
}

impl Ord for Calver {
    /// Numbers first, a missing one is 0; then pre-releases, the release, and what follows it.
    fn cmp(&self, other: &Self) -> Ordering {
        let value = |version: &Self, at: usize| version.values.get(at).copied().unwrap_or(0);
        let numbers = (0..4).map(|at| value(self, at).cmp(&value(other, at)));
        let by_numbers = numbers.fold(Ordering::Equal, Ordering::then);
        let stage = |version: &Self| match &version.modifier {
            None => (1, 0, String::new(), 0),
            Some(modifier) => match modifier.rank() {
                Some(rank) => (0, rank, String::new(), modifier.number),
                None => (2, 0, modifier.word.clone(), modifier.number),
            },
        };
        by_numbers.then_with(|| stage(self).cmp(&stage(other)))
    }
}

impl PartialOrd for Calver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
