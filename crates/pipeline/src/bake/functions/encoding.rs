//! Base64, JSON, CSV, addresses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Call, Function, Want, Wrong, function, wrong};
use crate::bake::csv;
use crate::bake::json;
use crate::bake::value::{Type, Value};

const STR: &[super::Parameter] = &[("str", Want::Text)];

pub(super) const FUNCTIONS: &[Function] = &[
    function("base64encode", STR, |call| Ok(Value::string(BASE64_STANDARD.encode(call.text(0))))),
    function("base64decode", STR, |call| {
        let bytes = BASE64_STANDARD
            .decode(call.text(0))
            .map_err(|error| wrong(0, format!("failed to decode base64 data: {error}")))?;
        let text = String::from_utf8(bytes);
        text.map(Value::string)
            .map_err(|_| wrong(0, "the result of decoding the provided string is not valid UTF-8"))
    }),
    function("urlencode", STR, |call| Ok(Value::string(urlencode(call.text(0))))),
    function("jsonencode", &[("val", Want::Nullable)], |call| {
        let mut text = String::new();
        encode(&call.arguments[0], &mut text);
        Ok(Value::string(text))
    }),
    function("jsondecode", STR, |call| {
        json::read_value(call.text(0)).map_err(|fault| wrong(0, fault.detail))
    }),
    function("csvdecode", STR, decode_csv),
    function("byteslen", &[("buf", Want::Any)], |_| {
        Err(wrong(0, "a buffer of bytes is required, and there is no way to make one"))
    }),
    function("bytesslice", &[("buf", Want::Any), ("offset", Want::Number), ("length", Want::Number)], |_| {
        Err(wrong(0, "a buffer of bytes is required, and there is no way to make one"))
    }),
];

fn urlencode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Writes JSON with `<`, `>` and `&` escaped, as the neighbour's library does.
pub(super) fn encode(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::NullOf(_) => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(text, "{number}");
        }
        Value::String(string) => quote(string, text),
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                encode(item, text);
            }
            text.push(']');
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            text.push('{');
            for (at, (name, item)) in entries.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                quote(name, text);
                text.push(':');
                encode(item, text);
            }
            text.push('}');
        }
    }
}

fn quote(string: &str, text: &mut String) {
    let quoted = serde_json::Value::from(string).to_string();
    for character in quoted.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            other => text.push(other),
        }
    }
}

fn decode_csv(call: &Call<'_>) -> Result<Value, Wrong> {
    let mut rows = csv::records(call.text(0)).map_err(|reason| wrong(0, reason))?.into_iter();
    let header = rows.next().ok_or_else(|| wrong(0, "missing header line"))?;
    let mut names = BTreeMap::new();
    for name in &header {
        if names.insert(name.clone(), ()).is_some() {
            return Err(wrong(0, format!("duplicate column name {name:?}")));
        }
    }
    let mut objects = Vec::new();
    for row in rows {
        if row.len() != header.len() {
            return Err(wrong(0, format!("a record has {} fields instead of {}", row.len(), header.len())));
        }
        let entries = header.iter().cloned().zip(row.into_iter().map(Value::string)).collect();
        objects.push(Value::object(entries));
    }
    let kind = Type::Object(names.into_keys().map(|name| (name, (Type::String, false))).collect());
    Ok(Value::List(kind, Arc::new(objects)))
}
