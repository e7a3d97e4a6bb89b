//! `semvercmp`: whether a version meets a constraint. Source: Masterminds/semver, "Checking Version Constraints".

use semver::{BuildMetadata, Prerelease, Version};

use super::{Call, Function, Want, Wrong, function, wrong};
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] =
    &[function("semvercmp", &[("version", Want::Text), ("contraint", Want::Text)], compare)];

fn compare(call: &Call<'_>) -> Result<Value, Wrong> {
    let (version, _) = read(call.text(0))
        .filter(|(_, given)| *given > 0)
        .ok_or_else(|| wrong(0, "Invalid Semantic Version"))?;
    let mut any = false;
    for alternative in call.text(1).split("||") {
        let meets = all(alternative, &version);
        any |= meets.ok_or_else(|| wrong(1, format!("improper constraint: {}", call.text(1))))?;
    }
    Ok(Value::Bool(any))
}

fn all(alternative: &str, version: &Version) -> Option<bool> {
    if let Some((low, high)) = alternative.split_once(" - ") {
        return Some(one(">=", low.trim(), version)? && one("<=", high.trim(), version)?);
    }
    let mut meets = true;
    let mut operator = String::new();
    let words = alternative.replace(',', " ");
    let mut words = words.split_whitespace().peekable();
    words.peek()?;
    for word in words {
        let end = word.find(|c: char| !matches!(c, '=' | '!' | '>' | '<' | '~' | '^')).unwrap_or(word.len());
        operator += &word[..end];
        if end == word.len() {
            continue;
        }
        meets &= one(&std::mem::take(&mut operator), &word[end..], version)?;
    }
    operator.is_empty().then_some(meets)
}

/// Reads a version of which parts may be missing or `x`; the second part counts those given.
fn read(text: &str) -> Option<(Version, usize)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = text.split_once('+').map_or((text, ""), |(text, build)| (text, build));
    let (numbers, prerelease) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = [0u64; 3];
    let mut given = 0;
    let mut open = false;
    for (at, part) in numbers.split('.').enumerate() {
        open |= matches!(part, "x" | "X" | "*");
        if !open {
            *parts.get_mut(at)? = part.parse().ok()?;
            given += 1;
        } else if at > 2 {
            return None;
        }
    }
    let mut version = Version::new(parts[0], parts[1], parts[2]);
    version.pre = Prerelease::new(prerelease).ok()?;
    version.build = BuildMetadata::new(build).ok()?;
    Some((version, given))
}

fn one(operator: &str, bound: &str, version: &Version) -> Option<bool> {
    let (low, given) = read(bound)?;
    // A prerelease counts only where the constraint speaks of one.
    if !version.pre.is_empty() && low.pre.is_empty() && operator != "!=" {
        return Some(false);
    }
    let next = |parts: usize| match parts {
        0 => Version::new(u64::MAX, 0, 0),
        1 => Version::new(low.major.saturating_add(1), 0, 0),
        2 => Version::new(low.major, low.minor.saturating_add(1), 0),
        _ => Version::new(low.major, low.minor, low.patch.saturating_add(1)),
    };
    let within = |end: Version| *version >= low && version.cmp_precedence(&end).is_lt();
    let same = version.cmp_precedence(&low).is_eq();
    let order = version.cmp_precedence(&low);
    Some(match operator {
        "" | "=" | "==" if given == 3 => same,
        "" | "=" | "==" => within(next(given)),
        "!=" if given == 3 => !same,
        "!=" => !within(next(given)),
        ">" if given == 3 => order.is_gt(),
        ">" => version.cmp_precedence(&next(given)).is_ge(),
        ">=" | "=>" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" | "=<" if given == 3 => order.is_le(),
        "<=" | "=<" => version.cmp_precedence(&next(given)).is_lt(),
        "~" | "~>" => within(next(given.min(2))),
        "^" => within(match (low.major, low.minor, given) {
            (_, _, 0 | 1) => next(given),
            (0, 0, 3) => next(3),
            (0, _, _) => next(2),
            _ => next(1),
        }),
        _ => return None,
    })
}
