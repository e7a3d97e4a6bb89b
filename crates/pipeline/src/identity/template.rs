//! Templates of tags, labels and cache locations: `{branch|slug}-{sha}`.
//!
//! | field | gives |
//! |---|---|
//! | `pr` `branch` `tag` `default` `run` `service` | the name or number, where the event has one |
//! | `sha` `sha:long` | the commit, cut at `short-sha` digits, or whole |
//! | `version` `major` `minor` `patch` | of the git tag, in rules with `parse` |
//! | `match:NAME` | a named group of the rule's regular expression |
//! | `event:PATH` | what the host told, such as `event:pull_request.user.login`: texts, numbers, booleans |
//! | `date:FORMAT` | strftime, in UTC |
//! | `image` | repository of the service; cache locations only |
//!
//! Filters follow after `|`, in order: `slug`, `clean` (each run of characters that no tag may have becomes one `-`, and
//! the rest stays, as docker/metadata-action has it), `lower`, `trunc:N` (at most N characters), `hash:N` (first N
//! digits of the SHA-256). `{{` and `}}` are braces. Nothing is escaped.

mod parse;

use std::fmt;

use jiff::Timestamp;

use super::slug::slug;

pub use parse::InvalidTemplate;

/// A text with fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder { field: Field, filters: Vec<Filter> },
}

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Number of the pull request.
    PullRequest,
    /// First digits of the commit.
    Sha,
    /// The whole commit id.
    LongSha,
    /// Branch.
    Branch,
    /// Git tag.
    Tag,
    /// The whole version of the git tag.
    Version,
    /// Its first number.
    Major,
    /// Its second number.
    Minor,
    /// Its third number.
    Patch,
    /// A named group of the rule's regular expression.
    Group(String),
    /// What the host told, by its dotted path.
    Event(String),
    /// Date and time in a format of strftime.
    Date(String),
    /// Name of the service.
    Service,
    /// Identifier of the CI run.
    Run,
    /// The default branch.
    Default,
    /// Repository of the service.
    Image,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Slug,
    Clean,
    Lower,
    Truncate(usize),
    Hash(usize),
}

/// A template gave nothing; the reason is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nothing(pub String);

impl Template {
    /// Returns the template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the fields, in order; a field may come several times.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.parts.iter().filter_map(|part| match part {
            Part::Placeholder { field, .. } => Some(field),
            Part::Literal(_) => None,
        })
    }

    /// Whether every value carries enough of the commit to tell it from another's.
    pub(crate) fn carries_commit(&self) -> bool {
        const ENOUGH: usize = 7;
        let keeps = |filter: &Filter| match filter {
            Filter::Slug | Filter::Clean | Filter::Lower => true,
            Filter::Truncate(count) | Filter::Hash(count) => *count >= ENOUGH,
        };
        self.parts.iter().any(|part| match part {
            Part::Placeholder { field: Field::Sha | Field::LongSha, filters } => filters.iter().all(keeps),
            _ => false,
        })
    }

    /// Returns what stands for `{version}` in a text that this template may have given; `None`
    /// where the template has other fields, or filters, or none of it fits.
    pub(crate) fn version_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        let literal = |parts: &[Part]| match parts {
            [] => Some(String::new()),
            [Part::Literal(text)] => Some(text.clone()),
            _ => None,
        };
        let is_version = |part: &Part| matches!(part, Part::Placeholder { field: Field::Version, filters } if filters.is_empty());
        let at = self.parts.iter().position(is_version)?;
        let (before, after) = (literal(&self.parts[..at])?, literal(&self.parts[at + 1..])?);
        text.strip_prefix(&before)?.strip_suffix(&after)
    }

    /// Returns the pieces of text between the fields.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text.as_str()),
            Part::Placeholder { .. } => None,
        })
    }

    /// Returns the text with every field replaced by `value(field)`, at most `max_length` bytes
    /// long: slugs are cut until the rest fits, and trimmed of dashes after the cut.
    ///
    /// # Errors
    /// [`Nothing`] where a field is empty, or where it does not fit even without slugs.
    pub fn render(
        &self,
        max_length: usize,
        mut value: impl FnMut(&Field) -> Result<String, Nothing>,
    ) -> Result<String, Nothing> {
        let mut pieces = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            pieces.push(match part {
                Part::Literal(text) => Piece { text: text.clone(), elastic: false },
                Part::Placeholder { field, filters } => Piece::of(field, filters, value(field)?)?,
            });
        }
        fit(&mut pieces, max_length)?;
        Ok(pieces.into_iter().map(|piece| piece.text).collect())
    }
}

/// A rendered part; what is elastic may be cut.
struct Piece {
    text: String,
    elastic: bool,
}

impl Piece {
    fn of(field: &Field, filters: &[Filter], value: String) -> Result<Self, Nothing> {
        if value.is_empty() {
            return Err(Nothing(format!("{{{field}}} is empty")));
        }
        let text = filters.iter().fold(value, |text, filter| filter.apply(text));
        if text.is_empty() {
            return Err(Nothing(format!("{{{field}}} is empty: no character of it may stand in a tag")));
        }
        // What names the commit is never cut: two commits would get one tag.
        let names_commit = matches!(field, Field::Sha | Field::LongSha);
        let is_slug =
            filters.contains(&Filter::Slug) && !filters.iter().any(|f| matches!(f, Filter::Hash(_)));
        let elastic = is_slug && !names_commit;
        Ok(Self { text, elastic })
    }
}

impl Filter {
    fn apply(self, text: String) -> String {
        match self {
            Self::Slug => slug(&text),
            Self::Clean => clean(&text),
            Self::Lower => text.to_lowercase(),
            Self::Truncate(count) => match text.char_indices().nth(count) {
                Some((end, _)) => text[..end].trim_end_matches('-').to_owned(),
                None => text,
            },
            Self::Hash(count) => oci::Digest::of(text.as_bytes()).short(count),
        }
    }
}

/// Returns `text` with each run of characters that no tag may have as one `-`.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut is_in_run = false;
    for character in text.chars() {
        let is_allowed = character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
        if is_allowed {
            clean.push(character);
        } else if !is_in_run {
            clean.push('-');
        }
        is_in_run = !is_allowed;
    }
    clean
}

/// Cuts the longest elastic piece until all pieces together have at most `max_length` bytes.
fn fit(pieces: &mut [Piece], max_length: usize) -> Result<(), Nothing> {
    loop {
        let length: usize = pieces.iter().map(|piece| piece.text.len()).sum();
        if length <= max_length {
            return Ok(());
        }
        let too_long = || Nothing(format!("it has {length} characters, and {max_length} are allowed"));
        let longest = pieces.iter_mut().filter(|piece| piece.elastic).max_by_key(|piece| piece.text.len());
        let longest = longest.ok_or_else(too_long)?;
        let keep = longest.text.len().saturating_sub(length - max_length);
        longest.text.truncate(keep);
        longest.text.truncate(longest.text.trim_end_matches('-').len());
        if longest.text.is_empty() {
            return Err(Nothing(format!("nothing of a name would be left within {max_length} characters")));
        }
    }
}

/// Returns `time` in UTC in a format of strftime.
pub(crate) fn format_date(format: &str, time: Timestamp) -> Result<String, String> {
    if format.is_empty() {
        return Err("date: takes a format of strftime, such as {date:%Y%m%d}".to_owned());
    }
    jiff::fmt::strtime::format(format, &time.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|error| format!("{format:?} is not a format of strftime: {error}"))
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PullRequest => "pr",
            Self::Sha => "sha",
            Self::LongSha => "sha:long",
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::Version => "version",
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Patch => "patch",
            Self::Group(name) => return write!(f, "match:{name}"),
            Self::Event(path) => return write!(f, "event:{path}"),
            Self::Date(format) => return write!(f, "date:{format}"),
            Self::Service => "service",
            Self::Run => "run",
            Self::Default => "default",
            Self::Image => "image",
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

crate::text::written_as_text!(Template, "Text with fields such as {branch|slug} and {sha}");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(template: &str, branch: &str, expected: &str) {
        assert_eq!(render(template, branch, 128).as_deref(), Ok(expected));
    }

    #[track_caller]
    fn check_refused(template: &str, reason: &str) {
        let error = template.parse::<Template>().unwrap_err();
        assert!(error.reason.contains(reason), "{template}: {}", error.reason);
    }

    fn render(template: &str, branch: &str, max_length: usize) -> Result<String, Nothing> {
        template.parse::<Template>().unwrap().render(max_length, |field| match field {
            Field::Branch => Ok(branch.to_owned()),
            Field::Sha => Ok("abc1234".to_owned()),
            Field::Date(format) => Ok(format_date(format, Timestamp::UNIX_EPOCH).unwrap()),
            _ => Ok(String::new()),
        })
    }

    #[test]
    fn fields_and_filters() {
        check("{branch|slug}-{sha}", "feature/Add_New-Feature", "feature-add-new-feature-abc1234");
        check("x-{branch|lower}", "Main", "x-main");
        check("{branch|slug|trunc:4}", "abc/def", "abc");
        check("{branch|hash:8}", "main", "0d6e4079");
        check("{date:%Y%m%d-%H%M%S}", "", "19700101-000000");
        check("{{{branch}}}", "x", "{x}");
        check("it's {branch} & more", "a<b", "it's a<b & more");
        check("", "", "");
    }

    #[test]
    fn clean_names_are_those_of_the_neighbour() {
        check("{branch|clean}", "Feature/Login_Form.v2", "Feature-Login_Form.v2");
        check("{branch|clean|lower}", "a//#b-/c", "a-b--c");
    }

    #[test]
    fn empty_fields_give_nothing() {
        assert_eq!(render("{tag}", "x", 128), Err(Nothing("{tag} is empty".to_owned())));
        assert!(render("{branch|slug}", "日本", 128).unwrap_err().0.contains("no character"));
    }

    #[test]
    fn slugs_are_cut_so_that_the_suffix_fits() {
        let tag = render("{branch|slug}-{sha}", &"a".repeat(10_000), 128).unwrap();
        assert_eq!(tag, format!("{}-abc1234", "a".repeat(120)));
        let dash_at_the_cut = format!("{}/{}", "a".repeat(119), "b".repeat(20));
        let tag = render("{branch|slug}-{sha}", &dash_at_the_cut, 128).unwrap();
        assert_eq!(tag, format!("{}-abc1234", "a".repeat(119)));
        assert_eq!(render("{branch|slug}-{sha}", "abcdef", 10).unwrap(), "ab-abc1234");
        assert!(render("{branch|slug}-{sha}", "abcdef", 8).is_err());
        assert!(render("{branch}-{sha}", &"a".repeat(200), 128).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        check_refused("{brnch}", "did you mean {branch}?");
        check_refused("{colour}", "known fields are pr, sha");
        check_refused("{branch|slugg}", "did you mean slug?");
        check_refused("{branch|trunc}", "takes a number");
        check_refused("{branch|trunc:0}", "from 1 to 128");
        check_refused("{branch", "a { has no }");
        check_refused("branch}", "a } has no {");
        check_refused("{date}", "no field");
        check_refused("{date:}", "format of strftime");
        check_refused("{date:%Q%!}", "strftime");
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_to_the_length(
            template in r"[{}|a-z:%\-]{0,20}|(\{(branch|sha)(\|slug)?\}-?){1,3}", branch in any::<String>(), max in 0_usize..140
        ) {
            if let Ok(template) = template.parse::<Template>() {
                prop_assert_eq!(template.to_string().parse::<Template>(), Ok(template.clone()));
                if let Ok(text) = template.render(max, |_| Ok(branch.clone())) {
                    prop_assert!(text.len() <= max);
                }
            }
        }
    }
}
