//! Rules by which tags get other names on their way: `release-*=v*`.

use std::fmt;
use std::str::FromStr;

use oci::Tag;
use regex::{Regex, RegexBuilder};

/// How large an expression may be once it is compiled.
const MAX_EXPRESSION_BYTES: usize = 1 << 20;

/// `PATTERN=REPLACEMENT`, each with at most one `*`, which stands for anything and is put into the
/// replacement; or `/REGEX/REPLACEMENT/`, which replaces what the expression finds, with `$1` and `${name}` for its
/// groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    /// Text around a star.
    Star {
        /// The form of the tag.
        from: Form,
        /// The form of its new name.
        to: Form,
    },
    /// A regular expression and what takes the place of what it finds.
    Regex(Expression, String),
}

/// A pattern of tags: literal text, text around a `*`, or `/REGEX/`, which is to be found anywhere in the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagPattern {
    /// Text around a star.
    Star(Form),
    /// A regular expression.
    Regex(Expression),
}

/// Text with at most one `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    before: String,
    /// `None` without a `*`.
    after: Option<String>,
}

/// A regular expression. Two are the same where they are written the same.
#[derive(Clone, Debug)]
pub struct Expression(Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

impl Expression {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let built = RegexBuilder::new(text).size_limit(MAX_EXPRESSION_BYTES).build();
        built.map(Self).map_err(|_| "it is not a regular expression")
    }
}

/// A text is no rule or pattern for tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}: {reason}")]
pub struct InvalidRule {
    text: String,
    wanted: &'static str,
    reason: &'static str,
}

impl Form {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (before, after) = match text.split_once('*') {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        if text.is_empty() {
            return Err("it is empty");
        }
        if after.is_some_and(|after| after.contains('*')) {
            return Err("it has more than one *");
        }
        Ok(Self { before: before.to_owned(), after: after.map(str::to_owned) })
    }

    /// Returns what the `*` stands for in `text`; `None` where it has another form.
    fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        match &self.after {
            None => (text == self.before).then_some(""),
            Some(after) => text.strip_prefix(&self.before)?.strip_suffix(after.as_str()),
        }
    }

    fn fill(&self, part: &str) -> String {
        match &self.after {
            None => self.before.clone(),
            Some(after) => format!("{}{part}{after}", self.before),
        }
    }
}

impl Rename {
    /// Returns the new name of `tag`, which may be no tag; `None` where the rule is about others.
    pub fn apply(&self, tag: &Tag) -> Option<String> {
        match self {
            Self::Star { from, to } => from.find(tag.as_str()).map(|part| to.fill(part)),
            Self::Regex(Expression(regex), replacement) => {
                let is_about = regex.is_match(tag.as_str());
                is_about.then(|| regex.replace(tag.as_str(), replacement).into_owned())
            }
        }
    }
}

impl TagPattern {
    /// Whether the tag has this form.
    pub fn matches(&self, tag: &Tag) -> bool {
        match self {
            Self::Star(form) => form.find(tag.as_str()).is_some(),
            Self::Regex(Expression(regex)) => regex.is_match(tag.as_str()),
        }
    }
}

impl FromStr for Rename {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = |reason| InvalidRule { text: text.to_owned(), wanted: "a rule for tags", reason };
        // No tag has a slash, so none is lost to whoever writes an expression.
        if let Some(rest) = text.strip_prefix('/') {
            let parts: Vec<&str> = rest.split('/').collect();
            let [regex, replacement, ""] = parts[..] else {
                return Err(invalid("write /REGEX/REPLACEMENT/"));
            };
            return Ok(Self::Regex(Expression::parse(regex).map_err(invalid)?, replacement.to_owned()));
        }
        let (from, to) = text.split_once('=').ok_or_else(|| invalid("write PATTERN=REPLACEMENT"))?;
        let (from, to) = (Form::parse(from).map_err(invalid)?, Form::parse(to).map_err(invalid)?);
        if to.after.is_some() && from.after.is_none() {
            return Err(invalid("the replacement has a * and the pattern has none"));
        }
        Ok(Self::Star { from, to })
    }
}

impl FromStr for TagPattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = |reason| InvalidRule { text: text.to_owned(), wanted: "a pattern for tags", reason };
        match text.strip_prefix('/') {
            None => Form::parse(text).map(Self::Star).map_err(invalid),
            Some(rest) => {
                let regex = rest.strip_suffix('/').ok_or_else(|| invalid("write /REGEX/"))?;
                Expression::parse(regex).map(Self::Regex).map_err(invalid)
            }
        }
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |form: &Form| if form.after.is_some() { form.fill("*") } else { form.before.clone() };
        match self {
            Self::Star { from, to } => write!(f, "{}={}", star(from), star(to)),
            Self::Regex(Expression(regex), replacement) => write!(f, "/{regex}/{replacement}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, tag: &str, expected: Option<&str>) {
        let parsed: Rename = rule.parse().unwrap();
        assert_eq!(parsed.to_string(), rule);
        assert_eq!(parsed.apply(&tag.parse().unwrap()).as_deref(), expected);
    }

    #[test]
    fn a_star_is_carried_over() {
        check("release-*=v*", "release-1.2", Some("v1.2"));
        check("release-*=v*", "main", None);
        check("*-alpine=*-musl", "3.1-alpine", Some("3.1-musl"));
        check("latest=stable", "latest", Some("stable"));
        check("nightly-*=nightly", "nightly-7", Some("nightly"));
        check("*=old-*", "a", Some("old-a"));
    }

    #[test]
    fn expressions_replace_what_they_find() {
        check(r"/^release-(\d+)\.(\d+)$/v$1.${2}/", "release-1.20", Some("v1.20"));
        check(r"/^release-(\d+)\.(\d+)$/v$1.${2}/", "release-1", None);
        check("/-rc/-pre/", "v1-rc2", Some("v1-pre2"));
        check("/^(?<name>[a-z]+)-/old-${name}-/", "a-1", Some("old-a-1"));
        let pattern: TagPattern = r"/^v\d+$/".parse().unwrap();
        assert!(pattern.matches(&"v12".parse().unwrap()) && !pattern.matches(&"v1.2".parse().unwrap()));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let huge = format!("/{}/x/", "(a{1000}){1000}".repeat(3));
        assert!(huge.parse::<Rename>().is_err());
        assert!("/(/".parse::<TagPattern>().is_err() && "/a".parse::<TagPattern>().is_err());
        for text in ["/a/", "/a/b", "/a/b/c/", "/(/b/"] {
            assert!(text.parse::<Rename>().is_err(), "{text}");
        }
        for text in ["", "a", "=b", "a=", "a=b*", "a*b*=c", "a*=b**"] {
            assert!(text.parse::<Rename>().is_err(), "{text}");
        }
        assert!("".parse::<TagPattern>().is_err());
        assert!("v*".parse::<TagPattern>().unwrap().matches(&"v1".parse().unwrap()));
    }
}
