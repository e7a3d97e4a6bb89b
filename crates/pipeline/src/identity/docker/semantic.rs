//! Semantic versions and PEP 440 versions, as the neighbour's libraries read them.
//!
//! | version | about | rule |
//! |---|---|---|
//! | both | `/` in a git tag | becomes `-` first |
//! | semantic | `v` in front, blanks around | taken; `V`, `=`, two `v`, leading zeros, two or four numbers are not |
//! | semantic | length | 256 characters; numbers to 2^53 - 1 |
//! | PEP 440 | local part | its pieces come out between commas, which a tag shows as dashes |
//!
//! Source: semver 7 for Node, `FULL`; PEP 440, "Appendix B", as @renovate/pep440 1.0 has it.

use std::rc::Rc;

use super::expression::{Arguments, Failure, Function, Value, World};
use super::number::{self, trim};

/// The largest number that JavaScript counts to in steps of one.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A semantic version.
#[derive(Debug)]
pub(super) struct Semver {
    raw: String,
    version: semver::Version,
}

impl Semver {
    /// Reads `text`; `None` where it is no version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > 256 {
            return None;
        }
        let bare = trim(text);
        let version = semver::Version::parse(bare.strip_prefix('v').unwrap_or(bare)).ok()?;
        let is_safe = [version.major, version.minor, version.patch].iter().all(|part| *part <= MAX_SAFE);
        is_safe.then(|| Self { raw: text.to_owned(), version })
    }

    /// Whether it is a pre-release.
    pub(super) fn is_prerelease(&self) -> bool {
        !self.version.pre.is_empty()
    }

    fn version(&self) -> String {
        semver::Version { build: semver::BuildMetadata::EMPTY, ..self.version.clone() }.to_string()
    }
}

impl World for Semver {
    fn get(&self, name: &str) -> Value {
        let number = |number: u64| Value::Number(number as f64);
        match name {
            "raw" => Value::text(&self.raw),
            "version" => Value::text(&self.version()),
            "major" => number(self.version.major),
            "minor" => number(self.version.minor),
            "patch" => number(self.version.patch),
            "prerelease" => pieces(self.version.pre.as_str(), true),
            "build" => pieces(self.version.build.as_str(), false),
            "options" => Value::Object,
            "loose" => Value::Bool(true),
            "includePrerelease" => Value::Bool(false),
            _ => Value::Undefined,
        }
    }

    fn call(&self, function: Function, _: Arguments<'_>) -> Result<Value, Failure> {
        Err(Failure::new(format!("{function} is not a function")))
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "options",
            "loose",
            "includePrerelease",
            "raw",
            "major",
            "minor",
            "patch",
            "prerelease",
            "build",
            "version",
        ]
    }

    fn print(&self) -> String {
        self.version()
    }
}

/// Returns what stands between dots; small numbers are numbers where `has_numbers`.
fn pieces(text: &str, has_numbers: bool) -> Value {
    let piece = |piece: &str| match piece.parse::<u64>() {
        Ok(number) if has_numbers && number < MAX_SAFE => Value::Number(number as f64),
        _ => Value::text(piece),
    };
    let pieces = text.split('.').filter(|piece| !piece.is_empty()).map(piece);
    Value::List(Rc::new(pieces.collect()))
}

/// A version of PEP 440.
#[derive(Debug)]
pub(super) struct Pep440 {
    raw: String,
    epoch: f64,
    release: Vec<f64>,
    pre: Option<(&'static str, f64)>,
    post: Option<f64>,
    dev: Option<f64>,
    local: Vec<String>,
}

impl Pep440 {
    /// Reads `text`; `None` where it is no version. Blanks around it are none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (rest, local) = match lower.split_once('+') {
            Some((rest, local)) => (rest, local_pieces(local)?),
            None => (lower.as_str(), Vec::new()),
        };
        let mut cursor = Cursor(rest.strip_prefix('v').unwrap_or(rest));
        let mut epoch = 0.0;
        let mut first = cursor.number()?;
        if let Some(rest) = cursor.0.strip_prefix('!') {
            epoch = first;
            cursor.0 = rest;
            first = cursor.number()?;
        }
        let mut release = vec![first];
        while let Some(mut after) = cursor.0.strip_prefix('.').map(Cursor)
            && let Some(number) = after.number()
        {
            release.push(number);
            cursor = after;
        }
        for (pre, after) in cursor.words(&PRE) {
            for (post, after) in after.post() {
                for (dev, after) in after.words(&[("dev", "dev")]) {
                    if after.0.is_empty() {
                        let (post, dev) = (post.map(|(_, number)| number), dev.map(|(_, number)| number));
                        return Some(Self { raw: text.to_owned(), epoch, release, pre, post, dev, local });
                    }
                }
            }
        }
        None
    }

    /// Returns the version as it was written.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    /// Whether it is before or after the release it names.
    pub(super) fn is_no_release(&self) -> bool {
        self.pre.is_some() || self.post.is_some() || self.dev.is_some()
    }

    /// Returns the version in its normal form.
    pub(super) fn clean(&self) -> String {
        let mut text = String::new();
        if self.epoch != 0.0 {
            text.push_str(&format!("{}!", number::format(self.epoch)));
        }
        let release: Vec<String> = self.release.iter().copied().map(number::format).collect();
        text.push_str(&release.join("."));
        if let Some((letter, number)) = self.pre {
            text.push_str(&format!("{letter}{}", number::format(number)));
        }
        if let Some(number) = self.post {
            text.push_str(&format!(".post{}", number::format(number)));
        }
        if let Some(number) = self.dev {
            text.push_str(&format!(".dev{}", number::format(number)));
        }
        if !self.local.is_empty() {
            text.push_str(&format!("+{}", self.local.join(",")));
        }
        text
    }
}

impl World for Pep440 {
    fn get(&self, name: &str) -> Value {
        match self.names().iter().find(|known| **known == name) {
            Some(name) => Value::Function(name),
            None => Value::Undefined,
        }
    }

    fn call(&self, function: Function, _: Arguments<'_>) -> Result<Value, Failure> {
        let part = |at: usize| Value::Number(self.release.get(at).copied().unwrap_or_default());
        Ok(match function {
            "raw" => Value::text(&self.raw),
            "version" => Value::text(&self.clean()),
            "major" => part(0),
            "minor" => part(1),
            _ => part(2),
        })
    }

    fn names(&self) -> &'static [&'static str] {
        &["raw", "version", "major", "minor", "patch"]
    }
}

/// Words for versions before a release, longest first, with what they are written as.
const PRE: [(&str, &str); 8] = [
    ("alpha", "a"),
    ("preview", "rc"),
    ("beta", "b"),
    ("pre", "rc"),
    ("rc", "rc"),
    ("a", "a"),
    ("b", "b"),
    ("c", "rc"),
];

#[derive(Clone, Copy)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn number(&mut self) -> Option<f64> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        if digits.is_empty() {
            return None;
        }
        self.0 = rest;
        Some(number::parse(digits))
    }

    fn separator(&mut self) {
        self.0 = self.0.strip_prefix(['-', '_', '.']).unwrap_or(self.0);
    }

    /// Returns what a word with its number may be here, and what follows: the number is zero where
    /// there is none, and the separator before it may be there without it; at last, no word at all.
    fn words(self, words: &[(&'static str, &'static str)]) -> Vec<(Part, Self)> {
        let mut after = self;
        after.separator();
        let mut found = Vec::new();
        if let Some((word, normal)) = words.iter().find(|(word, _)| after.0.starts_with(word)) {
            after.0 = &after.0[word.len()..];
            let mut separated = after;
            separated.separator();
            let mut numbered = separated;
            match numbered.number() {
                Some(number) => found.push((Some((*normal, number)), numbered)),
                None => found.extend([separated, after].map(|after| (Some((*normal, 0.0)), after))),
            }
        }
        found.push((None, self));
        found
    }

    fn post(self) -> Vec<(Part, Self)> {
        if let Some(mut after) = self.0.strip_prefix('-').map(Cursor)
            && let Some(number) = after.number()
        {
            return vec![(Some(("post", number)), after)];
        }
        self.words(&[("post", "post"), ("rev", "post"), ("r", "post")])
    }
}

/// A word and its number, or neither.
type Part = Option<(&'static str, f64)>;

/// Returns the pieces of a local version; those that are numbers as JavaScript writes them.
fn local_pieces(text: &str) -> Option<Vec<String>> {
    let is_piece = |piece: &str| !piece.is_empty() && piece.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let pieces: Vec<&str> = text.split(['.', '_', '-']).collect();
    let piece = |piece: &&str| {
        let number = number::parse(piece);
        if number.is_nan() { (*piece).to_owned() } else { number::format(number) }
    };
    pieces.iter().all(|piece| is_piece(piece)).then(|| pieces.iter().map(piece).collect())
}

#[cfg(test)]
mod tests {
    use super::{Pep440, Semver, World};

    #[test]
    fn semantic_versions_are_read_strictly() {
        for valid in ["1.2.3", "v1.2.3", " v1.2.3 ", "1.2.3-rc.1+b", "1.2.3----RC-SNAPSHOT.12.9.1--.12+788"] {
            assert!(Semver::parse(valid).is_some(), "{valid:?}");
        }
        for invalid in ["=1.2.3", "v 1.2.3", "V1.2.3", "1.2", "1.2.3.4", "01.2.3", "1.2.3-01", "1.2.3+", ""] {
            assert!(Semver::parse(invalid).is_none(), "{invalid:?}");
        }
        assert!(Semver::parse("9007199254740992.0.0").is_none());
        let version = Semver::parse("v1.2.3+build.5").unwrap();
        assert_eq!(version.get("build").print(&version).unwrap(), "build,5");
        assert_eq!(version.version(), "1.2.3");
    }

    #[test]
    fn versions_of_pep_440_are_made_normal() {
        for (text, clean) in [
            ("1.2", "1.2"),
            ("V1.2.3", "1.2.3"),
            ("1.2.3-rc2", "1.2.3rc2"),
            ("1.1alpha", "1.1a0"),
            ("1.2-1", "1.2.post1"),
            ("1.2.rev3", "1.2.post3"),
            ("1!1.2.3", "1!1.2.3"),
            ("2024.06.28", "2024.6.28"),
            ("1.0+ABC-5_x", "1.0+abc,5,x"),
            ("1.0rc1.post2.dev3+local.7", "1.0rc1.post2.dev3+local,7"),
            ("1.0+007", "1.0+7"),
            ("1.0.dev", "1.0.dev0"),
        ] {
            assert_eq!(
                Pep440::parse(text).map(|version| version.clean()).as_deref(),
                Some(clean),
                "{text:?}"
            );
        }
        for text in ["", " 1.2", "1.2 ", "1..2", "1.2.3-", "1.2.3+", "1.2.x", "1.2.3-SNAPSHOT", "app-1"] {
            assert!(Pep440::parse(text).is_none(), "{text:?}");
        }
    }
}
