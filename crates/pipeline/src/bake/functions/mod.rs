//! The functions that every definition can call: those of the neighbour, by the same names.
//!
//! A function says what it takes, so that conversion, nulls and counts are checked in one place. Two
//! are missing on purpose: `bcrypt` gives another result each time and `rsadecrypt` needs a private
//! key in the definition; both are errors that say so.

mod arithmetic;
mod collection;
mod digest;
mod encoding;
mod format;
mod network;
mod pattern;
mod set;
mod text;
mod time;
mod version;

use super::convert::convert;
use super::error::{Fault, Span};
use super::number::Number;
use super::value::{Type, Value};
use super::world::World;
use crate::suggest::did_you_mean;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Any,
    /// Anything, null too.
    Nullable,
    Text,
    Number,
    Truth,
    Texts,
    List,
    Set,
}

impl Want {
    fn kind(self) -> Type {
        let any = || Box::new(Type::Any);
        match self {
            Self::Any | Self::Nullable => Type::Any,
            Self::Text => Type::String,
            Self::Number => Type::Number,
            Self::Truth => Type::Bool,
            Self::Texts => Type::List(Box::new(Type::String)),
            Self::List => Type::List(any()),
            Self::Set => Type::Set(any()),
        }
    }
}

/// A parameter: its name and what it takes.
type Parameter = (&'static str, Want);

/// A function.
struct Function {
    name: &'static str,
    parameters: &'static [Parameter],
    rest: Option<Parameter>,
    run: fn(&Call<'_>) -> Result<Value, Wrong>,
}

/// A function is given what it cannot use.
#[derive(Debug)]
struct Wrong {
    /// Which argument, where it is one.
    argument: Option<usize>,
    reason: String,
}

impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Self { argument: None, reason }
    }
}

impl From<&str> for Wrong {
    fn from(reason: &str) -> Self {
        Self::from(reason.to_owned())
    }
}

/// Returns what is wrong with one argument.
fn wrong(argument: usize, reason: impl Into<String>) -> Wrong {
    Wrong { argument: Some(argument), reason: reason.into() }
}

/// A call with its arguments, converted to what the parameters take.
struct Call<'a> {
    arguments: Vec<Value>,
    world: &'a World<'a>,
}

impl Call<'_> {
    fn text(&self, at: usize) -> &str {
        self.arguments.get(at).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, at: usize) -> Number {
        match self.arguments.get(at) {
            Some(Value::Number(number)) => *number,
            _ => Number::from(0usize),
        }
    }

    fn truth(&self, at: usize) -> bool {
        self.arguments.get(at) == Some(&Value::Bool(true))
    }

    fn whole(&self, at: usize) -> Result<i64, Wrong> {
        self.number(at).as_i64().ok_or_else(|| wrong(at, "a whole number is required"))
    }

    fn items(&self, at: usize) -> &[Value] {
        self.arguments.get(at).and_then(Value::items).unwrap_or_default()
    }

    fn texts(&self, at: usize) -> Result<Vec<&str>, Wrong> {
        let text = |item: &Value| item.as_str().map(str::len).is_some();
        match self.items(at).iter().all(text) {
            true => Ok(self.items(at).iter().filter_map(Value::as_str).collect()),
            false => Err(wrong(at, "an element is null")),
        }
    }
}

/// Tables of functions, one for each kind.
const TABLES: [&[Function]; 11] = [
    arithmetic::FUNCTIONS,
    collection::FUNCTIONS,
    digest::FUNCTIONS,
    encoding::FUNCTIONS,
    format::FUNCTIONS,
    network::FUNCTIONS,
    pattern::FUNCTIONS,
    set::FUNCTIONS,
    text::FUNCTIONS,
    time::FUNCTIONS,
    version::FUNCTIONS,
];

fn all() -> impl Iterator<Item = &'static Function> {
    TABLES.into_iter().flatten()
}

/// Returns the names of all functions, those without computed arguments too.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|function| function.name).chain(["try", "can", "convert"])
}

/// Returns the name where there is such a function.
pub(super) fn find(name: &str) -> Option<&'static str> {
    names().find(|known| *known == name)
}

/// Calls a function.
pub(super) fn call(
    name: &str,
    arguments: Vec<(Value, Span)>,
    span: Span,
    world: &World<'_>,
) -> Result<Value, Fault> {
    let Some(function) = all().find(|function| function.name == name) else {
        let detail = format!("There is no function named {name:?}{}", did_you_mean(name, names()));
        return Err(Fault::new(span, "Call to unknown function", detail));
    };
    let needed = function.parameters.len();
    if arguments.len() < needed {
        let missing = function.parameters[arguments.len()].0;
        let detail = format!("Function {name:?} expects {needed} argument(s). Missing value for {missing:?}");
        return Err(Fault::new(span, "Not enough function arguments", detail));
    }
    if arguments.len() > needed && function.rest.is_none() {
        let detail = format!("Function {name:?} expects only {needed} argument(s)");
        return Err(Fault::new(arguments[needed].1, "Too many function arguments", detail));
    }
    let mut values = Vec::with_capacity(arguments.len());
    for (at, (value, place)) in arguments.iter().enumerate() {
        let (label, want) = function.parameters.get(at).copied().or(function.rest).expect("counted before");
        let invalid = |reason: &str| {
            let detail = format!("Invalid value for {label:?} parameter: {reason}");
            Fault::new(*place, "Invalid function argument", detail)
        };
        if value.is_null() && want != Want::Nullable {
            return Err(invalid("argument must not be null"));
        }
        values.push(convert(value, &want.kind()).map_err(|reason| invalid(&reason))?);
    }
    let result = (function.run)(&Call { arguments: values, world });
    result.map_err(|wrong| match wrong.argument.and_then(|at| Some((at, arguments.get(at)?.1))) {
        Some((at, place)) => {
            let label = function.parameters.get(at).copied().or(function.rest).map_or("", |(label, _)| label);
            let detail = format!("Invalid value for {label:?} parameter: {}", wrong.reason);
            Fault::new(place, "Invalid function argument", detail)
        }
        None => {
            let detail = format!("Call to function {name:?} failed: {}", wrong.reason);
            Fault::new(span, "Error in function call", detail)
        }
    })
}

/// Returns a function without further parameters.
const fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    run: fn(&Call<'_>) -> Result<Value, Wrong>,
) -> Function {
    Function { name, parameters, rest: None, run }
}

/// Returns a function that takes any number of further arguments.
const fn variadic(
    name: &'static str,
    parameters: &'static [Parameter],
    rest: Parameter,
    run: fn(&Call<'_>) -> Result<Value, Wrong>,
) -> Function {
    Function { name, parameters, rest: Some(rest), run }
}
