//! `.dockerignore`: which files of a folder are no part of the context.
//!
//! Lines go in order and the last one that matches a path, or a folder above it, decides; `!` in front
//! takes paths back in. As for BuildKit, a line is only held against a path where it would change the
//! verdict so far, and a folder hands down the lines that were held against it and matched: `!a` after
//! `a/*` takes nothing back in, because the folder `a` itself was never out.
//!
//! What a line can take back in below an excluded folder is known beforehand, so that whole folders
//! are left out unread.
//!
//! Source: the Dockerfile reference, ".dockerignore file"; moby's patternmatcher and ignorefile.

mod glob;
mod wildcard;

pub use glob::Glob;
use wildcard::{DoubleStar, Wildcard};

/// The lines of a `.dockerignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    name: String,
    rules: Vec<Rule>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The line's number, from 1.
    pub line: usize,
    /// The line's text, without spaces at its ends.
    pub text: String,
    /// Whether it takes back in (`!`).
    pub exception: bool,
    wildcard: Wildcard,
}

/// A line that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {text:?} is not a pattern: {reason}")]
pub struct IgnoreError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// Which lines matched the folders above a path. What matches a folder matches all it holds.
#[derive(Clone, Debug, Default)]
pub struct Inherited(Vec<bool>);

/// What the lines say about a path; by default that it stays.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The line that leaves it out, by its place among the rules; `None` where it stays.
    pub excluded_by: Option<usize>,
    /// For the paths in it, where it is a folder.
    pub inherited: Inherited,
}

impl Verdict {
    /// Whether the path is left out.
    pub fn is_excluded(&self) -> bool {
        self.excluded_by.is_some()
    }
}

impl IgnoreFile {
    /// Reads a file; `name` is what messages call it.
    ///
    /// # Errors
    /// The first line that is no pattern.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, IgnoreError> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines = text.split('\n').enumerate();
        Self::of_lines(lines.filter(|(_, line)| !line.starts_with('#')), name)
    }

    /// Reads patterns that stand alone, such as the values of a flag.
    ///
    /// # Errors
    /// The first one that is no pattern.
    pub fn of_patterns(patterns: &[String], name: &str) -> Result<Self, IgnoreError> {
        Self::of_lines(patterns.iter().map(String::as_str).enumerate(), name)
    }

    fn of_lines<'a>(lines: impl Iterator<Item = (usize, &'a str)>, name: &str) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (index, line) in lines {
            let text = line.trim();
            let (exception, pattern) = match text.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, text),
            };
            let failed = |reason| IgnoreError {
                file: name.to_owned(),
                line: index + 1,
                text: text.to_owned(),
                reason,
            };
            if pattern.is_empty() && exception {
                return Err(failed("after ! a pattern must follow"));
            }
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            let wildcard = Wildcard::compile(&pattern, DoubleStar::Special).map_err(failed)?;
            rules.push(Rule { line: index + 1, text: text.to_owned(), exception, wildcard });
        }
        Ok(Self { name: name.to_owned(), rules })
    }

    /// Returns a file without lines: everything belongs to the context.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns the name the file goes by in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the lines that count.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a path, relative to the context, is left out.
    pub fn excluded(&self, path: &[u8]) -> bool {
        self.excluded_by(path).is_some()
    }

    /// Returns the line that leaves a path out, where it is left out.
    pub fn excluded_by(&self, path: &[u8]) -> Option<&Rule> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let above = |inherited, end| self.verdict(&path[..end], &inherited).inherited;
        let inherited = slashes.fold(Inherited::default(), above);
        self.verdict(path, &inherited).excluded_by.map(|index| &self.rules[index])
    }

    /// Says what becomes of a path, given what was found for the folder it lies in. The context's own
    /// folder has nothing to inherit.
    pub fn verdict(&self, path: &[u8], inherited: &Inherited) -> Verdict {
        let mut excluded_by = None;
        let mut matched = vec![false; self.rules.len()];
        for (index, rule) in self.rules.iter().enumerate() {
            let handed_down = inherited.0.get(index).copied().unwrap_or(false);
            let would_change = rule.exception == excluded_by.is_some();
            if handed_down || (would_change && rule.wildcard.matches(path)) {
                matched[index] = true;
                excluded_by = if rule.exception { None } else { Some(index) };
            }
        }
        Verdict { excluded_by, inherited: Inherited(matched) }
    }

    /// Whether something in an excluded folder may be taken back in: only by a line after the one that
    /// excludes the folder.
    pub fn may_include_below(&self, folder: &[u8], verdict: &Verdict) -> bool {
        let after = verdict.inherited.0.iter().rposition(|matched| *matched).map_or(0, |last| last + 1);
        let mut later = self.rules.iter().skip(after).filter(|rule| rule.exception);
        later.any(|rule| rule.wildcard.may_match_below(folder))
    }
}

/// Takes `.`, `..`, doubled and outer slashes out of a pattern, as Go's `filepath.Clean` does.
/// What stays above the context matches nothing.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
