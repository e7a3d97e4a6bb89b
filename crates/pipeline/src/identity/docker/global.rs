//! What expressions can name: branch, tag, commit, dates.
//!
//! | name | gives |
//! |---|---|
//! | `branch`, `tag` | of the reference; empty where it is of another kind |
//! | `sha` | the commit's first digits |
//! | `base_ref` | the branch a tag was pushed from, or a pull request is for, where the event says so |
//! | `is_default_branch`, `is_not_default_branch` | `true` or `false` |
//! | `date`, `commit_date` | a time in a pattern: `{{date 'YYYYMMDD' tz='Asia/Tokyo'}}` |
//!
//! Source: docker/metadata-action, README, "Global expressions".

use jiff::Timestamp;

use super::expression::{Arguments, Failure, Function, Value, World};
use super::zone::Zones;
use super::{Context, ShortSha};

/// The names of an event, as templates see them.
pub(super) struct Global<'a> {
    pub(super) context: &'a Context,
    pub(super) zones: &'a Zones,
    /// Dates are all there is, as for the pattern of a schedule.
    pub(super) is_dates_only: bool,
}

const NAMES: [&str; 8] =
    ["branch", "tag", "sha", "base_ref", "is_default_branch", "is_not_default_branch", "commit_date", "date"];

impl World for Global<'_> {
    fn get(&self, name: &str) -> Value {
        let names = if self.is_dates_only { &NAMES[6..] } else { &NAMES };
        names.iter().find(|known| **known == name).map_or(Value::Undefined, |name| Value::Function(name))
    }

    fn call(&self, function: Function, arguments: Arguments<'_>) -> Result<Value, Failure> {
        let context = self.context;
        Ok(match function {
            "branch" => Value::text(context.branch().unwrap_or_default()),
            "tag" => Value::text(context.tag().unwrap_or_default()),
            "sha" => Value::text(short(&context.sha, context.short_sha)?),
            "base_ref" => Value::text(base_ref(context)),
            "is_default_branch" => Value::text(if is_default_branch(context) { "true" } else { "false" }),
            "is_not_default_branch" => Value::text(if is_default_branch(context) { "false" } else { "true" }),
            "date" => self.date(context.now, arguments)?,
            _ => self.date(context.commit_date.unwrap_or(context.now), arguments)?,
        })
    }

    fn names(&self) -> &'static [&'static str] {
        if self.is_dates_only { &["date", "commit_date"] } else { &NAMES }
    }

    fn arity(&self, function: Function) -> usize {
        if function.ends_with("date") { 2 } else { 0 }
    }
}

impl Global<'_> {
    fn date(&self, time: Timestamp, arguments: Arguments<'_>) -> Result<Value, Failure> {
        let [format] = arguments.values else {
            return Err(Failure::new("a date takes one pattern, such as {{date 'YYYYMMDD'}}"));
        };
        let mut zone = "UTC";
        for (name, value) in arguments.hash {
            match (name.as_str(), value) {
                ("tz", Value::Text(name)) if !name.is_empty() => zone = name,
                ("tz", _) => return Err(Failure::new("tz is the name of a time zone, in quotes")),
                (name, _) => return Err(Failure::new(format!("unknown {name} attribute; there is tz"))),
            }
        }
        let format = match format {
            Value::Text(format) => format,
            value if value.is_truthy() => return Err(Failure::new("a date's pattern stands in quotes")),
            // The neighbour takes a name in place of a pattern for none at all.
            _ => "",
        };
        Ok(Value::text(&self.zones.moment(time, zone).format(format)))
    }
}

/// Returns the commit's first digits.
pub(super) fn short(sha: &str, length: ShortSha) -> Result<&str, Failure> {
    let ShortSha::Digits(length) = length else {
        return Err(Failure::new("DOCKER_METADATA_SHORT_SHA_LENGTH is not a number"));
    };
    Ok(sha.char_indices().nth(length).map_or(sha, |(end, _)| &sha[..end]))
}

fn base_ref(context: &Context) -> &str {
    let pushed = context.tag().and(context.base_ref.as_deref());
    let pushed = pushed.map(|name| name.strip_prefix("refs/heads/").unwrap_or(name));
    let proposed = context.reference.strip_prefix("refs/pull/").and(context.pull_request_base.as_deref());
    pushed.or(proposed).unwrap_or_default()
}

/// The neighbour also takes every event that usually is about the default branch for one.
fn is_default_branch(context: &Context) -> bool {
    let branch = context.branch().unwrap_or(&context.reference);
    let usual = ["create", "discussion", "issues", "schedule"];
    !branch.is_empty()
        && (context.default_branch.as_deref() == Some(branch)
            || usual.iter().any(|event| context.event_name.contains(event)))
}
