//! Values of expressions, and the world they look into.

use std::rc::Rc;

use super::Failure;
use crate::identity::docker::number;

/// A value, with the conversions that JavaScript makes.
#[derive(Clone, Debug)]
pub(in super::super) enum Value {
    /// `undefined`: nothing was there.
    Undefined,
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Text.
    Text(Rc<str>),
    /// An array.
    List(Rc<Vec<Value>>),
    /// A function of the world.
    Function(Function),
    /// The world itself, as `this` at the top gives it.
    World,
    /// An object that nothing of interest is in.
    Object,
}

/// A function of the world, by its name.
pub(in super::super) type Function = &'static str;

/// What a function is called with.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Arguments<'a> {
    /// Parameters by place.
    pub(in super::super) values: &'a [Value],
    /// Parameters by name.
    pub(in super::super) hash: &'a [(String, Value)],
}

/// What names mean at the top of a template.
pub(in super::super) trait World {
    /// Returns what `name` means, `Undefined` where it means nothing.
    fn get(&self, name: &str) -> Value;

    /// Calls a function that [`World::get`] gave.
    ///
    /// # Errors
    /// The arguments do not fit.
    fn call(&self, function: Function, arguments: Arguments<'_>) -> Result<Value, Failure>;

    /// Returns all names, in their order.
    fn names(&self) -> &'static [&'static str];

    /// Returns the whole world as text.
    fn print(&self) -> String {
        "[object Object]".to_owned()
    }

    /// Returns how many arguments a function is written with.
    fn arity(&self, _function: Function) -> usize {
        0
    }
}

impl Value {
    /// Returns text as a value.
    pub(in super::super) fn text(text: &str) -> Self {
        Self::Text(Rc::from(text))
    }

    /// Whether it is `undefined` or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Undefined | Self::Null)
    }

    /// Whether it counts as true.
    pub(in super::super) fn is_truthy(&self) -> bool {
        match self {
            Self::Undefined | Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Text(text) => !text.is_empty(),
            Self::List(_) | Self::Function(_) | Self::World | Self::Object => true,
        }
    }

    /// Whether `#if` takes it for nothing: false, and not zero, or an empty list.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Number(number) if *number == 0.0 => false,
            other => !other.is_truthy(),
        }
    }

    /// Returns it as text; nothing gives no text.
    ///
    /// # Errors
    /// A function's text is its source in the neighbour's bundle, which nobody can want.
    pub(in super::super) fn print(&self, world: &dyn World) -> Result<String, Failure> {
        Ok(match self {
            Self::Undefined | Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => number::format(*value),
            Self::Text(text) => text.to_string(),
            Self::List(items) => {
                let items: Result<Vec<String>, Failure> =
                    items.iter().map(|item| item.print(world)).collect();
                items?.join(",")
            }
            Self::World => world.print(),
            Self::Object => "[object Object]".to_owned(),
            Self::Function(name) => {
                return Err(Failure::new(format!(
                    "{name} is looked up and not called; write {{{{{name}}}}}"
                )));
            }
        })
    }

    /// Returns the property `name` that the value itself has.
    pub(super) fn property(&self, name: &str, world: &dyn World) -> Self {
        match self {
            Self::World => world.get(name),
            Self::List(items) if name == "length" => Self::Number(items.len() as f64),
            Self::List(items) => index(name).and_then(|at| items.get(at).cloned()).unwrap_or(Self::Undefined),
            Self::Text(text) if name == "length" => Self::Number(text.encode_utf16().count() as f64),
            Self::Text(text) => {
                let character = index(name).and_then(|at| text.chars().nth(at));
                character.map_or(Self::Undefined, |character| Self::text(character.encode_utf8(&mut [0; 4])))
            }
            Self::Function(function) if name == "length" => Self::Number(world.arity(function) as f64),
            Self::Function(function) if name == "name" => Self::text(function),
            Self::Null => Self::Null,
            _ => Self::Undefined,
        }
    }

    /// Whether two values are the same thing, as far as scopes ask.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined | Self::Null, Self::Undefined | Self::Null) | (Self::World, Self::World) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Returns the index that a property's name is: digits without leading zeros.
fn index(name: &str) -> Option<usize> {
    let index: usize = name.parse().ok()?;
    (index.to_string() == name).then_some(index)
}
