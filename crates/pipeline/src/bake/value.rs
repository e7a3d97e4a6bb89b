//! Values and types of the language. Source: HashiCorp HCL specification, "Types and Values".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::number::Number;

/// A value. Collections are shared, so that a copy costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing, of any type.
    Null,
    /// Nothing where a collection of this type is declared, which does not become text.
    NullOf(Type),
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(Arc<str>),
    /// Elements of one type.
    List(Type, Arc<Vec<Value>>),
    /// Distinct elements of one type, in order.
    Set(Type, Arc<Vec<Value>>),
    /// Elements of one type by name.
    Map(Type, Arc<BTreeMap<String, Value>>),
    /// Elements of their own types.
    Tuple(Arc<Vec<Value>>),
    /// Attributes of their own types by name.
    Object(Arc<BTreeMap<String, Value>>),
}

/// A type, or what a value has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Type {
    /// Any.
    Any,
    /// Text.
    String,
    /// Number.
    Number,
    /// Truth value.
    Bool,
    /// List of one type.
    List(Box<Type>),
    /// Set of one type.
    Set(Box<Type>),
    /// Map to one type.
    Map(Box<Type>),
    /// Tuple of types.
    Tuple(Vec<Type>),
    /// Attributes; the second part says whether it may be left out.
    Object(BTreeMap<String, (Type, bool)>),
}

impl Value {
    /// Whether it is nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::NullOf(_))
    }

    /// Returns text.
    pub(super) fn string(text: impl AsRef<str>) -> Self {
        Self::String(text.as_ref().into())
    }

    /// Returns a count.
    pub(super) fn count(count: usize) -> Self {
        Self::Number(Number::from(count))
    }

    /// Returns a tuple.
    pub(super) fn tuple(items: Vec<Value>) -> Self {
        Self::Tuple(Arc::new(items))
    }

    /// Returns a list of text.
    pub(super) fn strings(items: impl IntoIterator<Item = String>) -> Self {
        Self::List(Type::String, Arc::new(items.into_iter().map(Self::string).collect()))
    }

    /// Returns an object.
    pub(super) fn object(attributes: BTreeMap<String, Value>) -> Self {
        Self::Object(Arc::new(attributes))
    }

    /// Returns the text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of a list, set or tuple.
    pub(super) fn items(&self) -> Option<&[Value]> {
        match self {
            Self::List(_, items) | Self::Set(_, items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the elements of a map or object.
    pub(super) fn entries(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(_, entries) | Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the type; that of nothing is `Any`.
    pub(super) fn kind(&self) -> Type {
        match self {
            Self::Null => Type::Any,
            Self::NullOf(kind) => kind.clone(),
            Self::Bool(_) => Type::Bool,
            Self::Number(_) => Type::Number,
            Self::String(_) => Type::String,
            Self::List(kind, _) => Type::List(Box::new(kind.clone())),
            Self::Set(kind, _) => Type::Set(Box::new(kind.clone())),
            Self::Map(kind, _) => Type::Map(Box::new(kind.clone())),
            Self::Tuple(items) => Type::Tuple(items.iter().map(Value::kind).collect()),
            Self::Object(entries) => Type::Object(
                entries.iter().map(|(name, value)| (name.clone(), (value.kind(), false))).collect(),
            ),
        }
    }

    /// Whether both are of one type and the same; two nothings are.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a, x), Self::List(b, y)) | (Self::Set(a, x), Self::Set(b, y)) => {
                (a == b || x.is_empty() && y.is_empty()) && x == y
            }
            (Self::Map(a, x), Self::Map(b, y)) => a == b && x == y,
            _ if self.is_null() => other.is_null(),
            _ => self == other,
        }
    }

    /// A rough measure of how large the value is, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::String(text) => text.len() + 16,
            Self::List(_, items) | Self::Set(_, items) | Self::Tuple(items) => 16 + items.len() * 32,
            Self::Map(_, entries) | Self::Object(entries) => 16 + entries.len() * 64,
            _ => 16,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}

impl Type {
    /// Whether it is text, number or truth value.
    pub(super) fn is_primitive(&self) -> bool {
        matches!(self, Self::String | Self::Number | Self::Bool)
    }

    /// Returns the type as it is written in a definition.
    pub(super) fn written(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::String => "string".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::List(of) => format!("list({})", of.written()),
            Self::Set(of) => format!("set({})", of.written()),
            Self::Map(of) => format!("map({})", of.written()),
            Self::Tuple(of) => {
                format!("tuple([{}])", of.iter().map(Self::written).collect::<Vec<_>>().join(", "))
            }
            Self::Object(attributes) => {
                let attribute = |(name, (kind, optional)): (&String, &(Type, bool))| match optional {
                    true => format!("{name}=optional({})", kind.written()),
                    false => format!("{name}={}", kind.written()),
                };
                format!("object({{{}}})", attributes.iter().map(attribute).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any type"),
            Self::String => f.write_str("string"),
            Self::Number => f.write_str("number"),
            Self::Bool => f.write_str("bool"),
            Self::List(of) => write!(f, "list of {of}"),
            Self::Set(of) => write!(f, "set of {of}"),
            Self::Map(of) => write!(f, "map of {of}"),
            Self::Tuple(_) => f.write_str("tuple"),
            Self::Object(_) => f.write_str("object"),
        }
    }
}
