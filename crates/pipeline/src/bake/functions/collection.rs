//! Lists, maps and what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Call, Function, Want, Wrong, function, variadic, wrong};
use crate::bake::access;
use crate::bake::convert::{convert, unify};
use crate::bake::value::{Type, Value};

const COLLECTION_KEY: &[super::Parameter] = &[("collection", Want::Any), ("key", Want::Any)];

pub(super) const FUNCTIONS: &[Function] = &[
    function("length", &[("collection", Want::Any)], |call| {
        let value = &call.arguments[0];
        let length = value.items().map(<[Value]>::len).or(value.entries().map(BTreeMap::len));
        length.map(Value::count).ok_or_else(|| wrong(0, "collection must be a list, a map or a tuple"))
    }),
    function("chunklist", &[("list", Want::List), ("size", Want::Number)], chunks),
    variadic("coalesce", &[], ("vals", Want::Nullable), |call| {
        let kind =
            unify(call.arguments.iter().map(Value::kind)).ok_or("all arguments must have the same type")?;
        let first = call.arguments.iter().find(|value| !value.is_null());
        Ok(convert(first.ok_or("no non-null arguments")?, &kind)?)
    }),
    variadic("coalescelist", &[], ("vals", Want::Nullable), |call| {
        let filled = |value: &&Value| value.items().is_some_and(|items| !items.is_empty());
        call.arguments.iter().find(filled).cloned().ok_or_else(|| "no non-null arguments".into())
    }),
    function("compact", &[("list", Want::Texts)], |call| {
        let filled = call.items(0).iter().filter_map(Value::as_str).filter(|text| !text.is_empty());
        Ok(Value::strings(filled.map(str::to_owned)))
    }),
    variadic("concat", &[], ("seqs", Want::Any), concat),
    function("contains", &[("list", Want::Any), ("value", Want::Nullable)], |call| {
        let items =
            call.arguments[0].items().ok_or_else(|| wrong(0, "argument must be list, tuple, or set"))?;
        Ok(Value::Bool(items.iter().any(|item| item.equals(&call.arguments[1]))))
    }),
    function("distinct", &[("list", Want::List)], |call| {
        let mut distinct: Vec<Value> = Vec::new();
        for item in call.items(0) {
            if !distinct.iter().any(|known| known.equals(item)) {
                distinct.push(item.clone());
            }
        }
        Ok(same_list(&call.arguments[0], distinct))
    }),
    function("element", &[("list", Want::Any), ("index", Want::Number)], |call| {
        let items = call.arguments[0].items().ok_or_else(|| wrong(0, "list or tuple required"))?;
        if items.is_empty() {
            return Err(wrong(0, "cannot use element function with an empty list"));
        }
        let at = call.whole(1)?.rem_euclid(i64::try_from(items.len()).unwrap_or(i64::MAX));
        Ok(items[usize::try_from(at).unwrap_or(0)].clone())
    }),
    function("flatten", &[("list", Want::Any)], |call| {
        if call.arguments[0].items().is_none() {
            return Err(wrong(0, "can only flatten lists, sets and tuples"));
        }
        let mut flat = Vec::new();
        flatten(&call.arguments[0], &mut flat);
        Ok(Value::tuple(flat))
    }),
    function("hasindex", COLLECTION_KEY, |call| {
        Ok(Value::Bool(access::index(&call.arguments[0], &call.arguments[1], Default::default()).is_ok()))
    }),
    function("index", COLLECTION_KEY, |call| {
        access::index(&call.arguments[0], &call.arguments[1], Default::default())
            .map_err(|fault| Wrong::from(fault.detail))
    }),
    function("indexof", &[("list", Want::Any), ("value", Want::Any)], |call| {
        let items = match &call.arguments[0] {
            Value::List(_, items) | Value::Tuple(items) => items,
            _ => return Err(wrong(0, "argument must be a list or tuple")),
        };
        if items.is_empty() {
            return Err("cannot search an empty list".into());
        }
        let found = items.iter().position(|item| item.equals(&call.arguments[1]));
        found.map(Value::count).ok_or_else(|| "item not found".into())
    }),
    function("keys", &[("inputMap", Want::Any)], |call| match &call.arguments[0] {
        Value::Map(_, entries) => Ok(Value::strings(entries.keys().cloned())),
        Value::Object(entries) => Ok(Value::tuple(entries.keys().map(Value::string).collect())),
        _ => Err(wrong(0, "must have a map or object type")),
    }),
    function("values", &[("mapping", Want::Any)], |call| match &call.arguments[0] {
        Value::Map(kind, entries) => {
            Ok(Value::List(kind.clone(), Arc::new(entries.values().cloned().collect())))
        }
        Value::Object(entries) => Ok(Value::tuple(entries.values().cloned().collect())),
        _ => Err(wrong(0, "values() requires a map as the first argument")),
    }),
    function(
        "lookup",
        &[("inputMap", Want::Any), ("key", Want::Text), ("default", Want::Nullable)],
        |call| {
            let entries = call.arguments[0]
                .entries()
                .ok_or_else(|| wrong(0, "lookup() requires a map as the first argument"))?;
            Ok(entries.get(call.text(1)).unwrap_or(&call.arguments[2]).clone())
        },
    ),
    variadic("merge", &[], ("maps", Want::Nullable), merge),
    function("reverselist", &[("list", Want::Any)], |call| {
        let items =
            call.arguments[0].items().ok_or_else(|| wrong(0, "can only reverse list or tuple values"))?;
        Ok(same_list(&call.arguments[0], items.iter().rev().cloned().collect()))
    }),
    function(
        "slice",
        &[("list", Want::Any), ("start_index", Want::Number), ("end_index", Want::Number)],
        slice,
    ),
    function("sort", &[("list", Want::Texts)], |call| {
        let mut texts = call.texts(0)?;
        texts.sort_unstable();
        Ok(Value::strings(texts.into_iter().map(str::to_owned)))
    }),
    function("zipmap", &[("keys", Want::Texts), ("values", Want::Any)], |call| {
        let keys = call.texts(0)?;
        let values =
            call.arguments[1].items().ok_or_else(|| wrong(1, "values must be a list or tuple value"))?;
        if keys.len() != values.len() {
            return Err(format!(
                "number of keys ({}) does not match number of values ({})",
                keys.len(),
                values.len()
            )
            .into());
        }
        let entries = keys.into_iter().map(str::to_owned).zip(values.iter().cloned()).collect();
        Ok(match &call.arguments[1] {
            Value::List(kind, _) => Value::Map(kind.clone(), Arc::new(entries)),
            _ => Value::object(entries),
        })
    }),
];

/// Returns a list like `model` of other elements; a tuple stays a tuple.
fn same_list(model: &Value, items: Vec<Value>) -> Value {
    match model {
        Value::List(kind, _) | Value::Set(kind, _) => Value::List(kind.clone(), Arc::new(items)),
        _ => Value::tuple(items),
    }
}

fn chunks(call: &Call<'_>) -> Result<Value, Wrong> {
    let size = usize::try_from(call.whole(1)?).map_err(|_| wrong(1, "the size argument must be positive"))?;
    let items = call.items(0);
    let size = if size == 0 { items.len().max(1) } else { size };
    let chunks = items.chunks(size).map(|chunk| same_list(&call.arguments[0], chunk.to_vec())).collect();
    Ok(Value::List(call.arguments[0].kind(), Arc::new(chunks)))
}

fn concat(call: &Call<'_>) -> Result<Value, Wrong> {
    if call.arguments.is_empty() {
        return Err("at least one argument is required".into());
    }
    let mut items = Vec::new();
    let mut all_lists = true;
    for (at, value) in call.arguments.iter().enumerate() {
        all_lists &= matches!(value, Value::List(..));
        match value {
            Value::List(_, more) | Value::Tuple(more) => items.extend(more.iter().cloned()),
            _ => return Err(wrong(at, "all arguments must be lists or tuples")),
        }
    }
    match unify(call.arguments.iter().map(Value::kind)) {
        Some(kind @ Type::List(_)) if all_lists => Ok(convert(&Value::tuple(items), &kind)?),
        _ => Ok(Value::tuple(items)),
    }
}

fn flatten(value: &Value, flat: &mut Vec<Value>) {
    for item in value.items().unwrap_or_default() {
        match item.items() {
            Some(_) => flatten(item, flat),
            None => flat.push(item.clone()),
        }
    }
}

fn merge(call: &Call<'_>) -> Result<Value, Wrong> {
    let mut merged = BTreeMap::new();
    let mut all_maps = true;
    for (at, value) in call.arguments.iter().enumerate() {
        all_maps &= matches!(value, Value::Map(..));
        match value.entries() {
            Some(entries) => merged.extend(entries.iter().map(|(key, item)| (key.clone(), item.clone()))),
            None if value.is_null() => {}
            None => return Err(wrong(at, "arguments must be maps or objects")),
        }
    }
    match unify(call.arguments.iter().map(Value::kind)) {
        Some(Type::Map(kind)) if all_maps => Ok(Value::Map(*kind, Arc::new(merged))),
        _ => Ok(Value::object(merged)),
    }
}

fn slice(call: &Call<'_>) -> Result<Value, Wrong> {
    let items = match &call.arguments[0] {
        Value::List(_, items) | Value::Tuple(items) => items,
        _ => return Err(wrong(0, "must be a list or tuple value")),
    };
    let start =
        usize::try_from(call.whole(1)?).map_err(|_| wrong(1, "start index must not be less than zero"))?;
    let end =
        usize::try_from(call.whole(2)?).map_err(|_| wrong(2, "end index must not be less than zero"))?;
    let part = items.get(start..end).ok_or_else(|| match start > end {
        true => wrong(1, "start index must not be greater than end index"),
        false => wrong(2, "end index must not be greater than the length of the list"),
    })?;
    Ok(same_list(&call.arguments[0], part.to_vec()))
}
