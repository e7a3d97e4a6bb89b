//! Variables: defaults, types, what the environment says, and validations.

use std::collections::BTreeMap;

use super::{Engine, Variable};
use crate::bake::convert::convert;
use crate::bake::csv;
use crate::bake::entries::truth;
use crate::bake::error::{Fault, Span};
use crate::bake::json;
use crate::bake::number::Number;
use crate::bake::syntax::Block;
use crate::bake::type_expression;
use crate::bake::value::{Type, Value};

impl<'a> Engine<'a> {
    /// Resolves all variables and returns them as lists show them.
    pub(super) fn variables(&mut self) -> Result<Vec<Variable>, Fault> {
        let blocks: Vec<(&'a str, &'a Block)> =
            self.variable_blocks.iter().map(|(name, block)| (*name, *block)).collect();
        let mut variables = Vec::new();
        for (name, block) in blocks {
            self.variable(name, block.labels[0].1)?;
            let text = |value: &Value| {
                convert(value, &Type::String).ok().and_then(|text| text.as_str().map(str::to_owned))
            };
            let description = match attribute(block, "description") {
                Some(attribute) => {
                    text(&self.value(&attribute.expression, &BTreeMap::new())?).unwrap_or_default()
                }
                None => String::new(),
            };
            variables.push(Variable {
                name: name.to_owned(),
                kind: declared(block)?.map(|kind| kind.written()).unwrap_or_default(),
                description,
                value: self
                    .globals
                    .get(name)
                    .and_then(|value| text(value).or_else(|| value.items().map(|_| self.shown(value)))),
            });
        }
        Ok(variables)
    }

    fn shown(&self, value: &Value) -> String {
        let arguments = vec![(value.clone(), Span::default())];
        let encoded =
            crate::bake::functions::call("jsonencode", arguments, Span::default(), self.evaluator.world);
        encoded.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Resolves one variable or global attribute.
    pub(super) fn variable(&mut self, name: &str, span: Span) -> Result<(), Fault> {
        if self.globals.contains_key(name) {
            return Ok(());
        }
        let attribute_expression = self.global_attributes.get(name).map(|attribute| &attribute.expression);
        let block = self.variable_blocks.get(name).copied();
        if attribute_expression.is_none() && block.is_none() {
            let detail = format!("variable {name:?} does not exist");
            return Err(Fault::new(span, "Invalid expression", detail).undefined_name());
        }
        if !self.variables_under_way.insert(name.to_owned()) {
            return Err(Fault::new(
                span,
                "Invalid expression",
                format!("variable cycle not allowed for {name}"),
            )
            .hint("let one of the variables have a value of its own"));
        }
        let kind = block.map(declared).transpose()?.flatten();
        let default = attribute_expression.or_else(|| {
            block.and_then(|block| attribute(block, "default")).map(|attribute| &attribute.expression)
        });
        let mut value = None;
        if let Some(default) = default {
            self.load(default, &BTreeMap::new())?;
            let computed = self.value(default, &BTreeMap::new())?;
            let converted = convert(&computed, kind.as_ref().unwrap_or(&Type::Any));
            value = Some(converted.map_err(|reason| {
                let written = kind.as_ref().map(Type::written).unwrap_or_default();
                let detail = format!("the default of {name} does not go with its type {written}: {reason}");
                Fault::new(default.span, "Invalid value", detail)
            })?);
        }
        let given = block.and_then(|_| self.given(name, kind.as_ref()));
        let value = match given {
            Some((text, is_json)) => {
                let read = from_text(&text, is_json, kind.as_ref(), value.as_ref());
                read.map_err(|reason| {
                    Fault::new(span, "Invalid value", format!("failed to parse {name}: {reason}"))
                })?
            }
            None => value.unwrap_or_else(|| nothing(kind.as_ref())),
        };
        self.globals.insert(name.to_owned(), value);
        Ok(())
    }

    /// Returns what the command line or the environment gives, and whether it is JSON.
    fn given(&self, name: &str, kind: Option<&Type>) -> Option<(String, bool)> {
        let world = self.evaluator.world;
        let as_json = kind.and_then(|_| world.variable(&format!("{name}_JSON")));
        // A variable that is itself called NAME_JSON is not the JSON form of NAME.
        let as_json = as_json.filter(|_| !self.variable_blocks.contains_key(format!("{name}_JSON").as_str()));
        match as_json {
            Some(text) => Some((text.to_owned(), true)),
            None => world.variable(name).map(|text| (text.to_owned(), false)),
        }
    }

    /// Holds all variables against their validations.
    pub(super) fn validate_variables(&mut self) -> Result<(), Fault> {
        let blocks: Vec<&'a Block> = self.variable_blocks.values().copied().collect();
        for validation in
            blocks.iter().flat_map(|block| &block.body.blocks).filter(|block| block.kind == "validation")
        {
            self.validate(validation)?;
        }
        Ok(())
    }

    fn validate(&mut self, validation: &'a Block) -> Result<(), Fault> {
        let condition = attribute(validation, "condition");
        let (value, span) = match condition {
            Some(condition) => {
                self.load(&condition.expression, &BTreeMap::new())?;
                (self.value(&condition.expression, &BTreeMap::new())?, condition.expression.span)
            }
            None => (Value::Null, validation.body.end),
        };
        let detail = match convert(&value, &Type::Bool) {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(Value::Bool(false)) => {
                let message = attribute(validation, "error_message");
                let text =
                    message.map(|message| self.value(&message.expression, &BTreeMap::new())).transpose()?;
                let text =
                    text.and_then(|text| text.as_str().map(str::to_owned)).filter(|text| !text.is_empty());
                let text =
                    text.unwrap_or_else(|| "This check failed, but has an invalid error message".to_owned());
                return Err(Fault::new(span, "Validation failed", text));
            }
            Ok(_) => "Condition expression must return either true or false, not null".to_owned(),
            Err(reason) => format!("Invalid condition result value: {reason}"),
        };
        Err(Fault::new(span, "Invalid condition result", detail))
    }
}

/// Returns what a variable is that has no value: empty text, or nothing where a type is declared.
fn nothing(kind: Option<&Type>) -> Value {
    match kind {
        None => Value::string(""),
        Some(Type::Any) => Value::Null,
        Some(kind) if kind.is_primitive() => Value::Null,
        Some(kind) => Value::NullOf(kind.clone()),
    }
}

pub(super) fn attribute<'a>(block: &'a Block, name: &str) -> Option<&'a crate::bake::syntax::Attribute> {
    block.body.attributes.iter().find(|attribute| attribute.name == name)
}

fn declared(block: &Block) -> Result<Option<Type>, Fault> {
    attribute(block, "type").map(|attribute| type_expression::read(&attribute.expression)).transpose()
}

/// Reads a text of the command line or the environment as a value of the variable's type, or of that of its default.
fn from_text(
    text: &str,
    is_json: bool,
    kind: Option<&Type>,
    default: Option<&Value>,
) -> Result<Value, String> {
    if is_json {
        let value = json::read_value(text).map_err(|fault| fault.detail)?;
        return convert(&value, kind.unwrap_or(&Type::Any));
    }
    let inferred = default.map(Value::kind).unwrap_or(Type::String);
    match kind.unwrap_or(&inferred) {
        Type::String | Type::Any => Ok(Value::string(text)),
        Type::Bool => truth(text).map(Value::Bool),
        Type::Number => {
            let number = Number::parse(text).or_else(|| text.parse().ok().and_then(Number::float));
            number.map(Value::Number).ok_or_else(|| "a number is required".to_owned())
        }
        kind @ (Type::List(_) | Type::Set(_) | Type::Tuple(_)) => {
            let fields = csv::fields(text)?;
            let items = Value::tuple(fields.into_iter().map(Value::string).collect());
            match inferred == *kind && default.is_some() && matches!(kind, Type::Tuple(_)) {
                true => Err("the variable has a list as default and no type; give it one, such as type = list(string)".to_owned()),
                false => convert(&items, kind),
            }
        }
        kind => {
            Err(format!("unsupported type {kind}; give it as JSON in a variable whose name ends in _JSON"))
        }
    }
}
