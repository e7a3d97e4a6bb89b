//! What becomes what: text to number, tuple to list, and the one type that several values share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::number::Number;
use super::value::{Type, Value};

/// Converts a value; the error says what is required, and where inside the value.
pub(super) fn convert(value: &Value, want: &Type) -> Result<Value, String> {
    match (want, value) {
        (Type::Any, _) | (_, Value::Null) => Ok(value.clone()),
        (want, Value::NullOf(kind)) => match alike(want, kind) {
            true => Ok(Value::NullOf(want.clone())),
            false => Err(format!("{want} required")),
        },
        (Type::String, Value::String(_))
        | (Type::Number, Value::Number(_))
        | (Type::Bool, Value::Bool(_)) => Ok(value.clone()),
        (Type::String, Value::Number(number)) => Ok(Value::string(number.to_string())),
        (Type::String, Value::Bool(truth)) => Ok(Value::string(truth.to_string())),
        (Type::Number, Value::String(text)) => {
            Number::parse(text).map(Value::Number).ok_or_else(|| "a number is required".to_owned())
        }
        (Type::Bool, Value::String(text)) => truth(text),
        (Type::List(of), _) => {
            let (kind, items) = elements(value, of, want)?;
            Ok(Value::List(kind, Arc::new(items)))
        }
        (Type::Set(of), _) => {
            let (kind, items) = elements(value, of, want)?;
            Ok(set_of(kind, items))
        }
        (Type::Map(of), Value::Map(..) | Value::Object(_)) => map(value, of),
        (Type::Tuple(kinds), _) => tuple(value, kinds, want),
        (Type::Object(attributes), Value::Map(..) | Value::Object(_)) => object(value, attributes),
        _ => Err(format!("{want} required")),
    }
}

/// Whether values of one type can become values of the other at all.
fn alike(want: &Type, kind: &Type) -> bool {
    use Type::{List, Map, Object, Set, Tuple};
    matches!((want, kind), (List(_) | Set(_) | Tuple(_), List(_) | Set(_) | Tuple(_)))
        || matches!((want, kind), (Map(_) | Object(_), Map(_) | Object(_)))
}

fn truth(text: &str) -> Result<Value, String> {
    match text {
        "true" | "1" => Ok(Value::Bool(true)),
        "false" | "0" => Ok(Value::Bool(false)),
        "True" | "TRUE" => {
            Err("a bool is required; to convert from string, use lowercase \"true\"".to_owned())
        }
        "False" | "FALSE" => {
            Err("a bool is required; to convert from string, use lowercase \"false\"".to_owned())
        }
        _ => Err("a bool is required".to_owned()),
    }
}

fn elements(value: &Value, of: &Type, want: &Type) -> Result<(Type, Vec<Value>), String> {
    let items = value.items().ok_or_else(|| format!("{want} required"))?;
    let kind = match of {
        Type::Any => {
            unify(items.iter().map(Value::kind)).ok_or("all list elements must have the same type")?
        }
        of => of.clone(),
    };
    let one = |(at, item): (usize, &Value)| {
        convert(item, &kind).map_err(|reason| match matches!(value, Value::Tuple(_)) && kind.is_primitive() {
            true => format!("element {at}: {reason}"),
            false => reason_inside(&reason, want, &kind),
        })
    };
    Ok((kind.clone(), items.iter().enumerate().map(one).collect::<Result<_, _>>()?))
}

/// Of types inside types the outermost is named, as that is what the key asks for.
fn reason_inside(reason: &str, want: &Type, kind: &Type) -> String {
    match reason == format!("{kind} required") {
        true => format!("{want} required"),
        false => reason.to_owned(),
    }
}

fn map(value: &Value, of: &Type) -> Result<Value, String> {
    let entries = value.entries().expect("matched by the caller");
    let kind = match of {
        Type::Any => {
            unify(entries.values().map(Value::kind)).ok_or("all map elements must have the same type")?
        }
        of => of.clone(),
    };
    let one = |(name, item): (&String, &Value)| match convert(item, &kind) {
        Ok(item) => Ok((name.clone(), item)),
        Err(reason) => Err(format!("element {name:?}: {reason}")),
    };
    let entries = entries.iter().map(one).collect::<Result<BTreeMap<_, _>, String>>()?;
    Ok(Value::Map(kind, Arc::new(entries)))
}

fn tuple(value: &Value, kinds: &[Type], want: &Type) -> Result<Value, String> {
    match value.items() {
        Some(items) if items.len() == kinds.len() => {
            let items = items.iter().zip(kinds).map(|(item, kind)| convert(item, kind));
            Ok(Value::tuple(items.collect::<Result<_, _>>()?))
        }
        _ => Err(format!("{want} required")),
    }
}

fn object(value: &Value, attributes: &BTreeMap<String, (Type, bool)>) -> Result<Value, String> {
    let entries = value.entries().expect("matched by the caller");
    let one = |(name, (kind, optional)): (&String, &(Type, bool))| match entries.get(name) {
        Some(item) => match convert(item, kind) {
            Ok(item) => Ok((name.clone(), item)),
            Err(reason) => Err(format!("attribute {name:?}: {reason}")),
        },
        None if *optional => Ok((name.clone(), Value::Null)),
        None => Err(format!("attribute {name:?} is required")),
    };
    Ok(Value::object(attributes.iter().map(one).collect::<Result<_, String>>()?))
}

/// Returns a set: each element once, in the order that sets have.
pub(super) fn set_of(kind: Type, mut items: Vec<Value>) -> Value {
    items.sort_by(order);
    items.dedup_by(|a, b| a.equals(b));
    Value::Set(kind, Arc::new(items))
}

/// Compares values of one type: text by its bytes, numbers by size, others by what they hold.
pub(super) fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.order(*b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => match (a.items(), b.items(), a.entries(), b.entries()) {
            (Some(x), Some(y), ..) => {
                let different = x.iter().zip(y).map(|(x, y)| order(x, y)).find(|order| order.is_ne());
                different.unwrap_or_else(|| x.len().cmp(&y.len()))
            }
            (_, _, Some(x), Some(y)) => {
                let pair =
                    |((k, v), (l, w)): ((&String, &Value), (&String, &Value))| k.cmp(l).then(order(v, w));
                let different = x.iter().zip(y).map(pair).find(|order| order.is_ne());
                different.unwrap_or_else(|| x.len().cmp(&y.len()))
            }
            _ => Ordering::Equal,
        },
    }
}

/// Returns the type that values of all these types can become; `Any` where there are none.
pub(super) fn unify(kinds: impl Iterator<Item = Type>) -> Option<Type> {
    let mut result = Type::Any;
    for kind in kinds {
        result = unify_two(result, kind)?;
    }
    Some(result)
}

fn unify_two(a: Type, b: Type) -> Option<Type> {
    match (a, b) {
        (Type::Any, kind) | (kind, Type::Any) => Some(kind),
        (a, b) if a == b => Some(a),
        (Type::String, other) | (other, Type::String) if other.is_primitive() => Some(Type::String),
        (Type::List(a), Type::List(b)) => Some(Type::List(Box::new(unify_two(*a, *b)?))),
        (Type::Set(a), Type::Set(b)) => Some(Type::Set(Box::new(unify_two(*a, *b)?))),
        (Type::List(a), Type::Set(b)) | (Type::Set(a), Type::List(b)) => {
            Some(Type::Set(Box::new(unify_two(*a, *b)?)))
        }
        (Type::Map(a), Type::Map(b)) => Some(Type::Map(Box::new(unify_two(*a, *b)?))),
        (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
            let both: Option<Vec<Type>> =
                a.iter().zip(&b).map(|(a, b)| unify_two(a.clone(), b.clone())).collect();
            both.map(Type::Tuple).or_else(|| list_of(a.into_iter().chain(b)))
        }
        (Type::Tuple(a), Type::Tuple(b)) => list_of(a.into_iter().chain(b)),
        (Type::Tuple(a), Type::List(b)) | (Type::List(b), Type::Tuple(a)) => {
            list_of(a.into_iter().chain([*b]))
        }
        (Type::Tuple(a), Type::Set(b)) | (Type::Set(b), Type::Tuple(a)) => {
            Some(Type::Set(Box::new(unify(a.into_iter().chain([*b]))?)))
        }
        (Type::Object(a), Type::Object(b)) => unify_objects(a, b),
        (Type::Object(a), Type::Map(b)) | (Type::Map(b), Type::Object(a)) => {
            Some(Type::Map(Box::new(unify(a.into_values().map(|(kind, _)| kind).chain([*b]))?)))
        }
        _ => None,
    }
}

fn list_of(kinds: impl Iterator<Item = Type>) -> Option<Type> {
    Some(Type::List(Box::new(unify(kinds)?)))
}

type Attributes = BTreeMap<String, (Type, bool)>;

fn unify_objects(a: Attributes, b: Attributes) -> Option<Type> {
    if a.keys().eq(b.keys()) {
        let one = |(name, (kind, _)): (&String, &(Type, bool))| {
            Some((name.clone(), (unify_two(kind.clone(), b[name].0.clone())?, false)))
        };
        if let Some(both) = a.iter().map(one).collect() {
            return Some(Type::Object(both));
        }
    }
    Some(Type::Map(Box::new(unify(a.into_values().chain(b.into_values()).map(|(kind, _)| kind))?)))
}
