//! From expressions to values. What is computed is counted, so that no definition runs for ever or
//! grows without bound.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::access::{attribute, index, pairs};
use super::convert::{convert, unify};
use super::error::{Fault, Span};
use super::functions;
use super::operate;
use super::syntax::{Expression, For, Kind};
use super::value::{Type, Value};
use super::world::World;
use crate::suggest::did_you_mean;

/// How much may be computed: one for each expression looked at and for each byte of a value made.
const BUDGET: u64 = 4_000_000;

/// How deep computations may lie in each other, over all functions that call each other.
const DEEPEST: u32 = 300;

/// Names that can be seen, and those around them.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) names: &'a BTreeMap<String, Value>,
    pub(super) around: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// Returns a scope with nothing around it.
    pub(super) fn root(names: &'a BTreeMap<String, Value>) -> Self {
        Self { names, around: None }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.names.get(name).or_else(|| self.around.and_then(|around| around.find(name)))
    }

    fn all(&self) -> Vec<&str> {
        let mut names = self.around.map(Scope::all).unwrap_or_default();
        names.extend(self.names.keys().map(String::as_str));
        names
    }
}

/// A function that the definition defines.
#[derive(Clone, Debug)]
pub(super) struct OwnFunction {
    /// Names of its parameters.
    pub(super) parameters: Vec<String>,
    /// The name for further arguments.
    pub(super) rest: Option<String>,
    /// What it computes.
    pub(super) result: Expression,
}

/// What computes expressions.
pub(super) struct Evaluator<'a> {
    pub(super) world: &'a World<'a>,
    spent: Cell<u64>,
    depth: Cell<u32>,
}

/// The functions of the definition and the variables that they see.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) functions: &'a BTreeMap<String, OwnFunction>,
    pub(super) globals: &'a BTreeMap<String, Value>,
}

/// The name under which a splat keeps the element that it looks at; no identifier is like it.
const EACH: &str = "*";

impl<'a> Evaluator<'a> {
    pub(super) fn new(world: &'a World<'a>) -> Self {
        Self { world, spent: Cell::new(0), depth: Cell::new(0) }
    }

    /// Takes `amount` from what may be computed.
    pub(super) fn spend(&self, amount: usize, span: Span) -> Result<(), Fault> {
        self.spent.set(self.spent.get().saturating_add(amount as u64 + 1));
        match self.spent.get() > BUDGET {
            true => Err(Fault::new(
                span,
                "Too much",
                "the definition computes too much, or its values grow too large",
            )),
            false => Ok(()),
        }
    }

    /// Computes an expression.
    pub(super) fn value(
        &self,
        of: &Expression,
        scope: Scope<'_>,
        around: Around<'_>,
    ) -> Result<Value, Fault> {
        Job { evaluator: self, around }.value(of, scope)
    }
}

/// One computation.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) evaluator: &'a Evaluator<'a>,
    pub(super) around: Around<'a>,
}

impl Job<'_> {
    pub(super) fn value(&self, of: &Expression, scope: Scope<'_>) -> Result<Value, Fault> {
        let depth = &self.evaluator.depth;
        if depth.get() > DEEPEST {
            return Err(Fault::new(
                of.span,
                "Too deep",
                format!("computations lie in each other more than {DEEPEST} deep"),
            ));
        }
        depth.set(depth.get() + 1);
        let value = self.compute(of, scope);
        depth.set(depth.get() - 1);
        let value = value?;
        self.evaluator.spend(value.size() / 16, of.span)?;
        Ok(value)
    }

    fn compute(&self, of: &Expression, scope: Scope<'_>) -> Result<Value, Fault> {
        match &of.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Template(parts) => self.template(parts, scope),
            Kind::Variable(name) => variable(name, of.span, scope),
            Kind::Each => Ok(scope.find(EACH).cloned().unwrap_or(Value::Null)),
            Kind::Attribute(inner, name) => attribute(&self.value(inner, scope)?, name, of.span),
            Kind::Index(inner, key) => {
                let (inner, key_value) = (self.value(inner, scope)?, self.value(key, scope)?);
                index(&inner, &key_value, key.span)
            }
            Kind::Splat(inner, each) => self.splat(inner, each, scope),
            Kind::Call { name, arguments, spread } => self.call(name, arguments, *spread, of.span, scope),
            Kind::Tuple(items) => {
                Ok(Value::tuple(items.iter().map(|item| self.value(item, scope)).collect::<Result<_, _>>()?))
            }
            Kind::Object(entries) => self.object(entries, scope),
            Kind::For(of) => self.comprehension(of, scope),
            Kind::Join(of) => self.join(of, scope),
            Kind::Conditional(parts) => self.conditional(parts, of.span, scope),
            Kind::Binary(operator, sides) => {
                let left = self.value(&sides[0], scope)?;
                if let Some(known) = operate::decided(*operator, &left) {
                    return Ok(known);
                }
                let right = self.value(&sides[1], scope)?;
                operate::binary(*operator, (&left, sides[0].span), (&right, sides[1].span), of.span)
            }
            Kind::Negate(inner) => operate::negate(&self.value(inner, scope)?, inner.span),
            Kind::Not(inner) => operate::not(&self.value(inner, scope)?, inner.span),
        }
    }

    fn template(&self, parts: &[Expression], scope: Scope<'_>) -> Result<Value, Fault> {
        let mut text = String::new();
        for part in parts {
            let value = self.value(part, scope)?;
            if value.is_null() {
                let detail =
                    "The expression result is null. Cannot include a null value in a string template";
                return Err(Fault::new(part.span, "Invalid template interpolation value", detail)
                    .hint("give it a value, or choose another with coalesce(VALUE, \"\")"));
            }
            let converted = convert(&value, &Type::String).map_err(|reason| {
                let detail = format!("Cannot include the given value in a string template: {reason}");
                Fault::new(part.span, "Invalid template interpolation value", detail)
            })?;
            text += converted.as_str().unwrap_or_default();
            self.evaluator.spend(text.len(), part.span)?;
        }
        Ok(Value::string(text))
    }

    fn splat(&self, of: &Expression, each: &Expression, scope: Scope<'_>) -> Result<Value, Fault> {
        let source = self.value(of, scope)?;
        let items = match &source {
            Value::Null | Value::NullOf(_) => Vec::new(),
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => items.to_vec(),
            single => vec![single.clone()],
        };
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let names = BTreeMap::from([(EACH.to_owned(), item)]);
            results.push(self.value(each, Scope { names: &names, around: Some(&scope) })?);
        }
        match source {
            Value::List(..) | Value::Set(..) => {
                let results = Value::tuple(results);
                Ok(convert(&results, &Type::List(Box::new(Type::Any))).unwrap_or(results))
            }
            _ => Ok(Value::tuple(results)),
        }
    }

    fn object(&self, entries: &[(Expression, Expression)], scope: Scope<'_>) -> Result<Value, Fault> {
        let mut made = BTreeMap::new();
        for (key, value) in entries {
            let name = self.value(key, scope)?;
            let name = match convert(&name, &Type::String) {
                Ok(Value::String(name)) => name,
                Ok(_) => {
                    return Err(Fault::new(key.span, "Null value as key", "Can't use a null value as a key"));
                }
                Err(reason) => {
                    let detail = format!("Can't use this value as a key: {reason}");
                    return Err(Fault::new(key.span, "Incorrect key type", detail));
                }
            };
            made.insert(name.to_string(), self.value(value, scope)?);
        }
        Ok(Value::object(made))
    }

    fn conditional(&self, parts: &[Expression; 3], span: Span, scope: Scope<'_>) -> Result<Value, Fault> {
        let condition = self.value(&parts[0], scope)?;
        let Ok(Value::Bool(condition)) = convert(&condition, &Type::Bool) else {
            let detail = "The condition is no bool: it must be true or false";
            return Err(Fault::new(parts[0].span, "Incorrect condition type", detail));
        };
        let (chosen, other) = if condition { (&parts[1], &parts[2]) } else { (&parts[2], &parts[1]) };
        let chosen = self.value(chosen, scope)?;
        // The other side only says which type both share; what is wrong in it does not matter.
        let Ok(other) = self.value(other, scope) else { return Ok(chosen) };
        let Some(kind) = unify([chosen.kind(), other.kind()].into_iter()) else {
            let detail =
                format!("The results are {} and {}: both must have one type", chosen.kind(), other.kind());
            return Err(Fault::new(span, "Inconsistent conditional result types", detail));
        };
        Ok(convert(&chosen, &kind).unwrap_or(chosen))
    }

    /// Goes through a collection and hands over key, element and the scope that has both.
    fn each(
        &self,
        of: &For,
        scope: Scope<'_>,
        mut take: impl FnMut(Scope<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let collection = self.value(&of.collection, scope)?;
        let pairs = pairs(&collection, of.collection.span)?;
        for (key, value) in pairs {
            let mut names = BTreeMap::from([(of.value.clone(), value)]);
            names.extend(of.key.clone().map(|name| (name, key)));
            let inner = Scope { names: &names, around: Some(&scope) };
            if let Some(condition) = &of.condition {
                let counts = self.value(condition, inner)?;
                match convert(&counts, &Type::Bool) {
                    Ok(Value::Bool(true)) => {}
                    Ok(Value::Bool(false)) => continue,
                    _ => {
                        return Err(Fault::new(
                            condition.span,
                            "Invalid 'for' condition",
                            "The 'if' clause value is invalid: a bool is required",
                        ));
                    }
                }
            }
            take(inner)?;
        }
        Ok(())
    }

    fn comprehension(&self, of: &For, scope: Scope<'_>) -> Result<Value, Fault> {
        let Some(result_key) = &of.result_key else {
            let mut items = Vec::new();
            self.each(of, scope, |inner| {
                items.push(self.value(&of.result, inner)?);
                Ok(())
            })?;
            return Ok(Value::tuple(items));
        };
        let mut made: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        self.each(of, scope, |inner| {
            let key = self.value(result_key, inner)?;
            let Ok(Value::String(key)) = convert(&key, &Type::String) else {
                return Err(Fault::new(
                    result_key.span,
                    "Invalid object key",
                    "The key expression produced an invalid result: string required",
                ));
            };
            let results = made.entry(key.to_string()).or_default();
            if !of.group && !results.is_empty() {
                let detail = format!("Two different items produced the key {key:?} in this 'for' expression");
                return Err(Fault::new(result_key.span, "Duplicate object key", detail)
                    .hint("put ... after the value to gather the values of one key in a list"));
            }
            results.push(self.value(&of.result, inner)?);
            Ok(())
        })?;
        let entry = |(key, mut values): (String, Vec<Value>)| match of.group {
            true => (key, Value::tuple(values)),
            false => (key, values.pop().unwrap_or(Value::Null)),
        };
        Ok(Value::object(made.into_iter().map(entry).collect()))
    }

    fn join(&self, of: &For, scope: Scope<'_>) -> Result<Value, Fault> {
        let mut text = String::new();
        self.each(of, scope, |inner| {
            let value = self.value(&of.result, inner)?;
            text += value.as_str().unwrap_or_default();
            self.evaluator.spend(text.len(), of.result.span)
        })?;
        Ok(Value::string(text))
    }

    fn call(
        &self,
        name: &str,
        arguments: &[Expression],
        spread: bool,
        span: Span,
        scope: Scope<'_>,
    ) -> Result<Value, Fault> {
        if let Some(value) = self.special(name, arguments, span, scope) {
            return value;
        }
        let own = self.around.functions.get(name);
        if own.is_none() && functions::find(name).is_none() {
            let mut known: Vec<&str> = functions::names().collect();
            known.extend(self.around.functions.keys().map(String::as_str));
            let detail = format!("There is no function named {name:?}{}", did_you_mean(name, known));
            return Err(Fault::new(span, "Call to unknown function", detail).undefined_name());
        }
        let mut values = Vec::new();
        for (number, argument) in arguments.iter().enumerate() {
            let value = self.value(argument, scope)?;
            match (spread && number + 1 == arguments.len(), value.items()) {
                (true, Some(items)) => values.extend(items.iter().map(|item| (item.clone(), argument.span))),
                (true, None) => {
                    let detail =
                        "The expanding argument (indicated by ...) must be of a tuple, list, or set type";
                    return Err(Fault::new(argument.span, "Invalid expanding argument value", detail));
                }
                (false, _) => values.push((value, argument.span)),
            }
        }
        match own {
            Some(own) => self.own(name, own, values, span),
            None => functions::call(name, values, span, self.evaluator.world),
        }
    }

    /// Functions whose arguments are not computed before the call.
    fn special(
        &self,
        name: &str,
        arguments: &[Expression],
        span: Span,
        scope: Scope<'_>,
    ) -> Option<Result<Value, Fault>> {
        let fault = |detail: &str| {
            Err(Fault::new(
                span,
                "Error in function call",
                format!("Call to function {name:?} failed: {detail}"),
            ))
        };
        match (name, arguments) {
            ("try", []) => Some(fault("at least one argument is required")),
            ("try", many) => {
                let value = many.iter().find_map(|argument| self.value(argument, scope).ok());
                Some(value.map_or_else(|| fault("no expression succeeded"), Ok))
            }
            ("can", [one]) => Some(Ok(Value::Bool(self.value(one, scope).is_ok()))),
            ("can", _) => Some(fault("exactly one argument is required")),
            ("convert", [one, kind]) => Some(super::type_expression::read(kind).and_then(|kind| {
                let value = self.value(one, scope)?;
                convert(&value, &kind).map_err(|reason| {
                    Fault::new(
                        span,
                        "Error in function call",
                        format!("Call to function \"convert\" failed: {reason}"),
                    )
                })
            })),
            ("convert", _) => Some(fault("a value and a type are required")),
            _ => None,
        }
    }

    fn own(
        &self,
        name: &str,
        own: &OwnFunction,
        values: Vec<(Value, Span)>,
        span: Span,
    ) -> Result<Value, Fault> {
        let fault = |detail: String| {
            Fault::new(span, "Error in function call", format!("Call to function {name:?} failed: {detail}"))
        };
        let needed = own.parameters.len();
        if values.len() < needed || values.len() > needed && own.rest.is_none() {
            return Err(fault(format!("it takes {needed} arguments, not {}", values.len())));
        }
        if let Some((_, span)) = values.iter().find(|(value, _)| value.is_null()) {
            return Err(Fault::new(*span, "Invalid function argument", "argument must not be null"));
        }
        let mut values = values.into_iter().map(|(value, _)| value);
        let mut names: BTreeMap<String, Value> =
            own.parameters.iter().cloned().zip(values.by_ref()).collect();
        if let Some(rest) = &own.rest {
            names.insert(rest.clone(), Value::tuple(values.collect()));
        }
        let globals = Scope::root(self.around.globals);
        self.value(&own.result, Scope { names: &names, around: Some(&globals) })
    }
}

fn variable(name: &str, span: Span, scope: Scope<'_>) -> Result<Value, Fault> {
    scope.find(name).cloned().ok_or_else(|| {
        let meant = did_you_mean(name, scope.all());
        let hint = format!("define it: variable {name:?} {{ default = ... }}{meant}");
        Fault::new(span, "Unknown variable", format!("There is no variable named {name:?}"))
            .hint(hint)
            .undefined_name()
    })
}
