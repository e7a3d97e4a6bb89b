//! Rules by which tags get other names on their way: `release-*=v*`.

use std::fmt;
use std::str::FromStr;

use oci::Tag;

/// `PATTERN=REPLACEMENT`, each with at most one `*`, which stands for anything and is put into the
/// replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    from: Form,
    to: Form,
}

/// A pattern of tags: literal text, or text around a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    before: String,
    /// `None` without a `*`.
    after: Option<String>,
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
        self.from.find(tag.as_str()).map(|part| self.to.fill(part))
    }
}

impl TagPattern {
    /// Whether the tag has this form.
    pub fn matches(&self, tag: &Tag) -> bool {
        self.0.find(tag.as_str()).is_some()
    }
}

impl FromStr for Rename {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = |reason| InvalidRule { text: text.to_owned(), wanted: "a rule for tags", reason };
        let (from, to) = text.split_once('=').ok_or_else(|| invalid("write PATTERN=REPLACEMENT"))?;
        let (from, to) = (Form::parse(from).map_err(invalid)?, Form::parse(to).map_err(invalid)?);
        if to.after.is_some() && from.after.is_none() {
            return Err(invalid("the replacement has a * and the pattern has none"));
        }
        Ok(Self { from, to })
    }
}

impl FromStr for TagPattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = |reason| InvalidRule { text: text.to_owned(), wanted: "a pattern for tags", reason };
        Form::parse(text).map(Self).map_err(invalid)
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |form: &Form| if form.after.is_some() { form.fill("*") } else { form.before.clone() };
        write!(f, "{}={}", star(&self.from), star(&self.to))
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
    fn what_is_no_rule_is_refused() {
        for text in ["", "a", "=b", "a=", "a=b*", "a*b*=c", "a*=b**"] {
            assert!(text.parse::<Rename>().is_err(), "{text}");
        }
        assert!("".parse::<TagPattern>().is_err());
        assert!("v*".parse::<TagPattern>().unwrap().matches(&"v1".parse().unwrap()));
    }
}
