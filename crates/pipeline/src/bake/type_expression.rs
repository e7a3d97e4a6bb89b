//! Types as they are written: `string`, `list(number)`, `object({a = string, b = optional(bool)})`.

use std::collections::BTreeMap;

use super::error::Fault;
use super::syntax::{Expression, Kind};
use super::value::{Type, Value};

/// Reads a type.
pub(super) fn read(expression: &Expression) -> Result<Type, Fault> {
    let fault = |detail: &str| {
        let fault = Fault::new(expression.span, "Invalid type specification", detail);
        Err(fault.hint("types are string, number, bool, any, list(TYPE), set(TYPE), map(TYPE), tuple([TYPE]), object({NAME = TYPE})"))
    };
    match &expression.kind {
        Kind::Variable(name) => match name.as_str() {
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "bool" => Ok(Type::Bool),
            "any" => Ok(Type::Any),
            "list" | "set" | "map" => fault(&format!(
                "The {name} type constructor requires one argument specifying the element type"
            )),
            "object" => fault(
                "The object type constructor requires one argument specifying the attribute types and values as a map",
            ),
            "tuple" => fault(
                "The tuple type constructor requires one argument specifying the element types as a list",
            ),
            _ => fault(&format!("The keyword {name:?} is not a valid type specification")),
        },
        Kind::Call { name, arguments, .. } => match (name.as_str(), &arguments[..]) {
            ("list", [of]) => Ok(Type::List(Box::new(read(of)?))),
            ("set", [of]) => Ok(Type::Set(Box::new(read(of)?))),
            ("map", [of]) => Ok(Type::Map(Box::new(read(of)?))),
            ("tuple", [Expression { kind: Kind::Tuple(items), .. }]) => {
                Ok(Type::Tuple(items.iter().map(read).collect::<Result<_, _>>()?))
            }
            ("object", [Expression { kind: Kind::Object(entries), .. }]) => object(entries),
            _ => fault(&format!("{name} is not used like this")),
        },
        _ => fault("A type is either a keyword or a type constructor call"),
    }
}

fn object(entries: &[(Expression, Expression)]) -> Result<Type, Fault> {
    let mut attributes = BTreeMap::new();
    for (key, value) in entries {
        let Kind::Literal(Value::String(name)) = &key.kind else {
            return Err(Fault::new(
                key.span,
                "Invalid type specification",
                "attribute names are plain words",
            ));
        };
        let (kind, optional) = match &value.kind {
            Kind::Call { name, arguments, .. } if name == "optional" && !arguments.is_empty() => {
                (read(&arguments[0])?, true)
            }
            _ => (read(value)?, false),
        };
        attributes.insert(name.to_string(), (kind, optional));
    }
    Ok(Type::Object(attributes))
}
