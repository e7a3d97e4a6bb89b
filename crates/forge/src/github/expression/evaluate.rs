//! Values of expressions, with the host's coercions.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Node, Operator, Scope, Unknown};

pub(super) fn evaluate(node: &Node, scope: &dyn Scope) -> Result<Value, Unknown> {
    match node {
        Node::Literal(value) => Ok(value.clone()),
        Node::Context(name) => {
            scope.context(&name.to_lowercase()).ok_or_else(|| Unknown { what: name.clone() })
        }
        Node::Property(inner, name) => property_of(inner, name, scope),
        Node::Index(inner, index) => match evaluate(index, scope)? {
            Value::String(name) => property_of(inner, &name, scope),
            index => Ok(element(&evaluate(inner, scope)?, &index)),
        },
        Node::Each(inner) => Ok(Value::Array(elements(evaluate(inner, scope)?))),
        Node::Call(name, arguments) => call(name, arguments, scope),
        Node::Not(inner) => Ok(Value::Bool(!is_true(&evaluate(inner, scope)?))),
        Node::Binary(operator, left, right) => binary(*operator, left, right, scope),
    }
}

/// Only what is asked of a context must be known: `env.X` is, where `env.Y` comes from a step.
fn property_of(inner: &Node, name: &str, scope: &dyn Scope) -> Result<Value, Unknown> {
    match inner {
        Node::Context(context) => {
            let known = scope.property(&context.to_lowercase(), name);
            known.ok_or_else(|| Unknown { what: format!("{context}.{name}") })
        }
        Node::Each(_) => {
            let Value::Array(items) = evaluate(inner, scope)? else { return Ok(Value::Null) };
            let each = items.iter().map(|item| property(item, name));
            Ok(Value::Array(each.filter(|value| !value.is_null()).collect()))
        }
        _ => Ok(property(&evaluate(inner, scope)?, name)),
    }
}

/// Returns the property `name` of an object, without regard to case; null where there is none.
pub(super) fn property(value: &Value, name: &str) -> Value {
    let Value::Object(members) = value else { return Value::Null };
    let found = members.get(name).or_else(|| {
        let same = members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value)
    });
    found.cloned().unwrap_or(Value::Null)
}

fn element(value: &Value, index: &Value) -> Value {
    let number = number(index);
    match value {
        Value::Array(items) if number >= 0.0 && number.fract() == 0.0 => {
            items.get(number as usize).cloned().unwrap_or(Value::Null)
        }
        _ => Value::Null,
    }
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Object(members) => members.into_iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}

fn binary(operator: Operator, left: &Node, right: &Node, scope: &dyn Scope) -> Result<Value, Unknown> {
    let first = evaluate(left, scope);
    match operator {
        // What only a run knows does not matter where the other side decides.
        Operator::And => match first {
            Ok(first) if !is_true(&first) => Ok(first),
            Ok(_) => evaluate(right, scope),
            Err(unknown) => match evaluate(right, scope) {
                Ok(second) if !is_true(&second) => Ok(Value::Bool(false)),
                _ => Err(unknown),
            },
        },
        Operator::Or => match first {
            Ok(first) if is_true(&first) => Ok(first),
            Ok(_) => evaluate(right, scope),
            Err(unknown) => Err(unknown),
        },
        _ => Ok(Value::Bool(holds(operator, &first?, &evaluate(right, scope)?))),
    }
}

fn holds(operator: Operator, left: &Value, right: &Value) -> bool {
    let order = compare(left, right);
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Operator::And | Operator::Or => false,
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(one), Value::String(other)) => Some(one.to_uppercase().cmp(&other.to_uppercase())),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Array(_) | Value::Object(_), Value::Array(_) | Value::Object(_)) => None,
        _ => number(left).partial_cmp(&number(right)),
    }
}

pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0 && !number.is_nan()),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => number_of_text(text),
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// Reads a number as JavaScript does: nothing is 0, `0x` is hexadecimal, `0o` octal.
pub(super) fn number_of_text(text: &str) -> f64 {
    let text = text.trim();
    let with_base = |digits: &str, base| i64::from_str_radix(digits, base).map_or(f64::NAN, |n| n as f64);
    match (text.get(..2), text) {
        (_, "") => 0.0,
        (Some("0x"), _) => with_base(&text[2..], 16),
        (Some("0o"), _) => with_base(&text[2..], 8),
        _ if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) =>
        {
            text.parse().unwrap_or(f64::NAN)
        }
        _ => f64::NAN,
    }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(_) => "Array".to_owned(),
        Value::Object(_) => "Object".to_owned(),
    }
}

fn call(name: &str, arguments: &[Node], scope: &dyn Scope) -> Result<Value, Unknown> {
    let unknown = || Unknown { what: format!("{name}()") };
    let values: Result<Vec<Value>, Unknown> =
        arguments.iter().map(|argument| evaluate(argument, scope)).collect();
    let lower = name.to_lowercase();
    match (lower.as_str(), arguments.len()) {
        // A run that gets as far as building has not failed.
        ("success" | "always", 0) => return Ok(Value::Bool(true)),
        ("failure" | "cancelled", 0) => return Ok(Value::Bool(false)),
        _ => {}
    }
    let values = values?;
    let lowered = |at: usize| text(&values[at]).to_lowercase();
    Ok(match (lower.as_str(), values.as_slice()) {
        ("contains", [Value::Array(items), wanted]) => {
            Value::Bool(items.iter().any(|item| compare(item, wanted) == Some(Ordering::Equal)))
        }
        ("contains", [_, _]) => Value::Bool(lowered(0).contains(&lowered(1))),
        ("startswith", [_, _]) => Value::Bool(lowered(0).starts_with(&lowered(1))),
        ("endswith", [_, _]) => Value::Bool(lowered(0).ends_with(&lowered(1))),
        ("format", [form, rest @ ..]) => Value::String(format(&text(form), rest).ok_or_else(unknown)?),
        ("join", [list, rest @ ..]) if rest.len() < 2 => {
            let separator = rest.first().map_or(",".to_owned(), text);
            let items = match list {
                Value::Array(items) => items.iter().map(text).collect(),
                other => vec![text(other)],
            };
            Value::String(items.join(&separator))
        }
        ("tojson", [value]) => Value::String(serde_json::to_string_pretty(value).map_err(|_| unknown())?),
        ("fromjson", [value]) => serde_json::from_str(&text(value)).map_err(|_| unknown())?,
        _ => return Err(unknown()),
    })
}

/// Replaces `{0}`; `{{` and `}}` are braces. `None` where the host would refuse the form.
fn format(form: &str, values: &[Value]) -> Option<String> {
    let mut result = String::new();
    let mut rest = form;
    while let Some(at) = rest.find(['{', '}']) {
        result.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            result.push_str(brace);
            rest = after;
            continue;
        }
        let (index, after) = rest.split_once('}').filter(|_| brace == "{")?;
        result.push_str(&text(values.get(index.parse::<usize>().ok()?)?));
        rest = after;
        if result.len() > 1 << 20 {
            return None;
        }
    }
    result.push_str(rest);
    Some(result)
}
