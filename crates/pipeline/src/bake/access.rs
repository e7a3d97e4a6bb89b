//! What is inside of values: attributes, elements, pairs to go through.

use std::sync::Arc;

use super::convert::convert;
use super::error::{Fault, Span};
use super::number::Number;
use super::value::{Type, Value};
use crate::suggest::did_you_mean;

/// Returns an attribute of a value.
pub(super) fn attribute(of: &Value, name: &str, span: Span) -> Result<Value, Fault> {
    let (summary, detail) = match of {
        Value::Object(entries) => match entries.get(name) {
            Some(value) => return Ok(value.clone()),
            None => {
                let meant = did_you_mean(name, entries.keys().map(String::as_str));
                (
                    "Unsupported attribute",
                    format!("This object does not have an attribute named {name:?}{meant}"),
                )
            }
        },
        Value::Map(_, entries) => match entries.get(name) {
            Some(value) => return Ok(value.clone()),
            None => {
                ("Missing map element", format!("This map does not have an element with the key {name:?}"))
            }
        },
        Value::Null | Value::NullOf(_) => (
            "Attempt to get attribute from null value",
            format!("This value is null, so it does not have an attribute {name:?}"),
        ),
        other => {
            ("Unsupported attribute", format!("A {} does not have attributes such as {name:?}", other.kind()))
        }
    };
    Err(Fault::new(span, summary, detail))
}

/// Returns an element of a value.
pub(super) fn index(of: &Value, key: &Value, span: Span) -> Result<Value, Fault> {
    let fault = |detail: String| Err(Fault::new(span, "Invalid index", detail));
    match of {
        Value::Null | Value::NullOf(_) => Err(Fault::new(span, "Attempt to index null value", "This value is null, so it does not have any indices")),
        Value::Map(_, entries) | Value::Object(entries) => match convert(key, &Type::String) {
            Ok(Value::String(key)) => entries.get(&*key).cloned().map_or_else(
                || fault(format!("The given key {key:?} does not identify an element in this collection value")),
                Ok,
            ),
            _ => fault("The given key does not identify an element: string required".to_owned()),
        },
        Value::List(_, items) | Value::Tuple(items) => {
            let Ok(Value::Number(number)) = convert(key, &Type::Number) else {
                return fault("The given key does not identify an element: a number is required".to_owned());
            };
            let item = number.as_count().and_then(|at| items.get(at));
            item.cloned().map_or_else(
                || fault(format!("The collection has {} elements, counted from 0; there is no element {number}", items.len())),
                Ok,
            )
        }
        Value::Set(..) => fault("Elements of a set are identified only by their value and don't have any separate index or key to select with".to_owned()),
        other => fault(format!("A {} does not have indices", other.kind())),
    }
}

/// Returns the keys and elements of a collection.
pub(super) fn pairs(collection: &Value, span: Span) -> Result<Vec<(Value, Value)>, Fault> {
    match collection {
        Value::Null | Value::NullOf(_) => Err(Fault::new(
            span,
            "Iteration over null value",
            "A null value cannot be used as the collection in a 'for' expression",
        )),
        Value::List(_, items) | Value::Tuple(items) => Ok(items
            .iter()
            .enumerate()
            .map(|(at, item)| (Value::Number(Number::from(at)), item.clone()))
            .collect()),
        Value::Set(_, items) => Ok(items.iter().map(|item| (item.clone(), item.clone())).collect()),
        Value::Map(_, entries) | Value::Object(entries) => {
            Ok(Arc::clone(entries).iter().map(|(key, item)| (Value::string(key), item.clone())).collect())
        }
        other => Err(Fault::new(
            span,
            "Iteration over non-iterable value",
            format!(
                "A value of type {} cannot be used as the collection in a 'for' expression",
                other.kind()
            ),
        )),
    }
}
