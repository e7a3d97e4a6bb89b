//! Text. Characters are what people see as one: grapheme clusters.

use unicode_segmentation::UnicodeSegmentation as _;

use super::{Call, Function, Want, Wrong, function, variadic, wrong};
use crate::bake::value::Value;

const STR: &[super::Parameter] = &[("str", Want::Text)];

pub(super) const FUNCTIONS: &[Function] = &[
    function("upper", STR, |call| Ok(Value::string(call.text(0).to_uppercase()))),
    function("lower", STR, |call| Ok(Value::string(call.text(0).to_lowercase()))),
    function("title", STR, |call| Ok(Value::string(title(call.text(0))))),
    function("reverse", STR, |call| {
        Ok(Value::string(call.text(0).graphemes(true).rev().collect::<String>()))
    }),
    function("strlen", STR, |call| Ok(Value::count(call.text(0).graphemes(true).count()))),
    function("substr", &[("str", Want::Text), ("offset", Want::Number), ("length", Want::Number)], substr),
    function("chomp", STR, |call| Ok(Value::string(call.text(0).trim_end_matches(['\r', '\n'])))),
    function("indent", &[("spaces", Want::Number), ("str", Want::Text)], |call| {
        let spaces = usize::try_from(call.whole(0)?).ok().filter(|spaces| *spaces <= 1000);
        let spaces = spaces.ok_or_else(|| wrong(0, "a number from 0 to 1000 is required"))?;
        Ok(Value::string(call.text(1).replace('\n', &format!("\n{}", " ".repeat(spaces)))))
    }),
    function("trim", &[("str", Want::Text), ("cutset", Want::Text)], |call| {
        let cut = call.text(1);
        Ok(Value::string(call.text(0).trim_matches(|character| cut.contains(character))))
    }),
    function("trimprefix", &[("str", Want::Text), ("prefix", Want::Text)], |call| {
        Ok(Value::string(call.text(0).strip_prefix(call.text(1)).unwrap_or(call.text(0))))
    }),
    function("trimsuffix", &[("str", Want::Text), ("suffix", Want::Text)], |call| {
        Ok(Value::string(call.text(0).strip_suffix(call.text(1)).unwrap_or(call.text(0))))
    }),
    function("trimspace", STR, |call| Ok(Value::string(call.text(0).trim()))),
    function("replace", &[("str", Want::Text), ("substr", Want::Text), ("replace", Want::Text)], replace),
    function("split", &[("separator", Want::Text), ("str", Want::Text)], |call| {
        let (separator, text) = (call.text(0), call.text(1));
        let parts: Vec<String> = match separator {
            "" => text.chars().map(String::from).collect(),
            separator => text.split(separator).map(str::to_owned).collect(),
        };
        Ok(Value::strings(parts))
    }),
    variadic("join", &[("separator", Want::Text)], ("lists", Want::Texts), |call| {
        if call.arguments.len() < 2 {
            return Err("at least one list is required".into());
        }
        let lists = (1..call.arguments.len()).map(|at| call.texts(at)).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::string(lists.concat().join(call.text(0))))
    }),
    function("sanitize", &[("name", Want::Text)], |call| {
        let clean =
            |character: char| match character.is_ascii_alphanumeric() || matches!(character, '_' | '-') {
                true => character,
                false => '_',
            };
        Ok(Value::string(call.text(0).chars().map(clean).collect::<String>()))
    }),
    function("basename", &[("path", Want::Text)], |call| Ok(Value::string(basename(call.text(0))))),
    function("dirname", &[("path", Want::Text)], |call| Ok(Value::string(dirname(call.text(0))))),
    function("homedir", &[], |call| Ok(Value::string(call.world.home.as_deref().unwrap_or(".")))),
];

fn title(text: &str) -> String {
    let mut after_letter = false;
    let one = |character: char| {
        let starts = !after_letter;
        after_letter = character.is_alphanumeric() || matches!(character, '_' | '\'');
        match starts {
            true => character.to_uppercase().collect::<String>(),
            false => character.to_string(),
        }
    };
    text.chars().map(one).collect()
}

fn substr(call: &Call<'_>) -> Result<Value, Wrong> {
    let characters: Vec<&str> = call.text(0).graphemes(true).collect();
    let length = i64::try_from(characters.len()).unwrap_or(i64::MAX);
    let (offset, wanted) = (call.whole(1)?, call.whole(2)?);
    let start = if offset < 0 { (length + offset).max(0) } else { offset.min(length) };
    let end = if wanted < 0 { length } else { start.saturating_add(wanted).min(length) };
    let part = |at: i64| usize::try_from(at).unwrap_or(0);
    Ok(Value::string(characters[part(start)..part(end)].concat()))
}

fn replace(call: &Call<'_>) -> Result<Value, Wrong> {
    let (text, from, to) = (call.text(0), call.text(1), call.text(2));
    let found = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
    match found.saturating_mul(to.len()) > 16 << 20 {
        true => Err("the result is larger than 16 MiB".into()),
        false => Ok(Value::string(text.replace(from, to))),
    }
}

/// Returns the last part of a path. Source: Go `path.Base`.
fn basename(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        trimmed => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// Returns all but the last part of a path, cleaned. Source: Go `path.Dir`.
fn dirname(path: &str) -> String {
    crate::bake::path::clean(path.rfind('/').map_or("", |at| &path[..=at]))
}
