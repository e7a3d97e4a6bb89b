//! Regular expressions: linear time, no look-around, as in the neighbour's RE2.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};

use super::{Call, Function, Want, Wrong, function, wrong};
use crate::bake::value::{Type, Value};

const PATTERN_STRING: &[super::Parameter] = &[("pattern", Want::Text), ("string", Want::Text)];

/// The largest compiled pattern, in bytes.
const LARGEST: usize = 1 << 20;

pub(super) const FUNCTIONS: &[Function] = &[
    function("regex", PATTERN_STRING, |call| {
        let pattern = pattern(call, 0)?;
        match pattern.captures(call.text(1)) {
            Some(found) => result(&pattern, &found),
            None => Err("pattern did not match any part of the given string".into()),
        }
    }),
    function("regexall", PATTERN_STRING, |call| {
        let pattern = pattern(call, 0)?;
        let found = pattern.captures_iter(call.text(1)).map(|found| result(&pattern, &found));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        Ok(Value::List(found.first().map_or(Type::Any, Value::kind), Arc::new(found)))
    }),
    function(
        "regex_replace",
        &[("str", Want::Text), ("pattern", Want::Text), ("replace", Want::Text)],
        |call| {
            let pattern = pattern(call, 1)?;
            let found = pattern.find_iter(call.text(0)).count();
            match found.saturating_mul(call.text(2).len() + call.text(0).len()) > 256 << 20 {
                true => Err("the result grows too large".into()),
                false => Ok(Value::string(pattern.replace_all(call.text(0), call.text(2)))),
            }
        },
    ),
];

fn pattern(call: &Call<'_>, at: usize) -> Result<Regex, Wrong> {
    let built = RegexBuilder::new(call.text(at)).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
    built.map_err(|error| wrong(at, format!("invalid regexp pattern: {error}")))
}

/// Returns the match: text where the pattern has no groups, a tuple of groups, or an object of named ones.
fn result(pattern: &Regex, found: &Captures<'_>) -> Result<Value, Wrong> {
    let group = |at: usize| found.get(at).map_or(Value::Null, |group| Value::string(group.as_str()));
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.is_empty() {
        return Ok(group(0));
    }
    match names.iter().flatten().count() {
        0 => Ok(Value::tuple((1..=names.len()).map(group).collect())),
        named if named == names.len() => {
            let entry =
                |(at, name): (usize, &Option<&str>)| (name.unwrap_or_default().to_owned(), group(at + 1));
            Ok(Value::object(names.iter().enumerate().map(entry).collect::<BTreeMap<_, _>>()))
        }
        _ => Err(wrong(0, "invalid regexp pattern: cannot mix both named and unnamed capture groups")),
    }
}
