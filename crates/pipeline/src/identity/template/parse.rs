//! From text to templates, with every mistake named.

use std::str::FromStr;

use jiff::Timestamp;

use super::{Field, Filter, Part, Template, format_date};

/// A string is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a template: {reason}")]
pub struct InvalidTemplate {
    /// What was given, cut at 200 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let parts = parse_parts(text)
            .map_err(|reason| InvalidTemplate { text: text.chars().take(200).collect(), reason })?;
        Ok(Self { text: text.to_owned(), parts })
    }
}

fn parse_parts(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
        } else if brace == "}" {
            return Err("a } has no {; a brace as such is }}".to_owned());
        } else {
            let (inside, after) = rest.split_once('}').ok_or("a { has no }; a brace as such is {{")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(parse_placeholder(inside)?);
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

fn parse_placeholder(inside: &str) -> Result<Part, String> {
    let mut words = inside.split('|');
    let field = words.next().expect("split gives at least one piece").trim();
    let filters = words.map(|word| parse_filter(word.trim())).collect::<Result<_, _>>()?;
    Ok(Part::Placeholder { field: parse_field(field)?, filters })
}

const FIELDS: [&str; 16] = [
    "pr",
    "sha",
    "sha:long",
    "branch",
    "tag",
    "version",
    "major",
    "minor",
    "patch",
    "match:NAME",
    "event:PATH",
    "date:%Y%m%d",
    "service",
    "run",
    "default",
    "image",
];

fn parse_field(word: &str) -> Result<Field, String> {
    Ok(match word {
        "pr" => Field::PullRequest,
        "sha" => Field::Sha,
        "sha:long" => Field::LongSha,
        "branch" => Field::Branch,
        "tag" => Field::Tag,
        "version" => Field::Version,
        "major" => Field::Major,
        "minor" => Field::Minor,
        "patch" => Field::Patch,
        "service" => Field::Service,
        "run" => Field::Run,
        "default" => Field::Default,
        "image" => Field::Image,
        _ => return parse_named(word),
    })
}

/// Reads a field that has something after its colon.
fn parse_named(word: &str) -> Result<Field, String> {
    match word.split_once(':') {
        Some(("date", format)) => {
            format_date(format, Timestamp::UNIX_EPOCH)?;
            Ok(Field::Date(format.to_owned()))
        }
        Some(("match", "")) => Err("match: takes the name of a group, such as {match:flavour}".to_owned()),
        Some(("match", name)) => Ok(Field::Group(name.to_owned())),
        Some(("event", path)) if path.is_empty() || path.split('.').any(str::is_empty) => {
            Err("event: takes a dotted path, such as {event:pull_request.user.login}".to_owned())
        }
        Some(("event", path)) => Ok(Field::Event(path.to_owned())),
        _ => {
            let hint = crate::suggest::closest(word, FIELDS);
            let known = || format!("known fields are {}", FIELDS.join(", "));
            let hint = hint.map_or_else(known, |hint| format!("did you mean {{{hint}}}?"));
            let word: String = word.chars().take(100).collect();
            Err(format!("there is no field {word:?}; {hint}"))
        }
    }
}

fn parse_filter(word: &str) -> Result<Filter, String> {
    let (name, number) = word.split_once(':').unwrap_or((word, ""));
    let count = || match number.parse::<usize>() {
        Ok(count @ 1..=128) => Ok(count),
        _ => Err(format!("{name} takes a number from 1 to 128, such as {name}:8")),
    };
    match (name, number) {
        ("slug", "") => Ok(Filter::Slug),
        ("clean", "") => Ok(Filter::Clean),
        ("lower", "") => Ok(Filter::Lower),
        ("trunc", _) => Ok(Filter::Truncate(count()?)),
        ("hash", _) => Ok(Filter::Hash(count()?.min(64))),
        _ => {
            let hint = crate::suggest::did_you_mean(name, ["slug", "clean", "lower", "trunc", "hash"]);
            Err(format!("there is no filter {word:?}, only slug, clean, lower, trunc:N and hash:N{hint}"))
        }
    }
}
