//! What a definition says, before anything is computed: blocks, attributes, expressions.

use super::error::Span;
use super::value::Value;

/// The inside of a file or block.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    /// Names with expressions, in the order of the file.
    pub(super) attributes: Vec<Attribute>,
    /// Blocks in the order of the file.
    pub(super) blocks: Vec<Block>,
    /// The bracket that closes it, or the end of the file.
    pub(super) end: Span,
}

/// `name = expression`.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    /// Its name.
    pub(super) name: String,
    /// Where the name stands.
    pub(super) name_span: Span,
    /// Its expression.
    pub(super) expression: Expression,
}

/// `kind "label" { ... }`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// What kind of block, such as `target`.
    pub(super) kind: String,
    /// Where that word stands.
    pub(super) kind_span: Span,
    /// Its labels and where they stand.
    pub(super) labels: Vec<(String, Span)>,
    /// What is in it.
    pub(super) body: Body,
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    /// What it is.
    pub(super) kind: Kind,
    /// Where.
    pub(super) span: Span,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A value as it is written.
    Literal(Value),
    /// Parts of text, one after the other.
    Template(Vec<Expression>),
    /// A variable.
    Variable(String),
    /// `of.name`.
    Attribute(Box<Expression>, String),
    /// `of[key]`.
    Index(Box<Expression>, Box<Expression>),
    /// `of.*...` or `of[*]...`: the second is computed for each element, which is [`Kind::Each`].
    Splat(Box<Expression>, Box<Expression>),
    /// The element that a splat looks at.
    Each,
    /// `name(arguments)`; the last is spread where `spread` says so.
    Call {
        /// The function.
        name: String,
        /// What it is given.
        arguments: Vec<Expression>,
        /// Whether the last is followed by `...`.
        spread: bool,
    },
    /// `[a, b]`.
    Tuple(Vec<Expression>),
    /// `{a = b}`.
    Object(Vec<(Expression, Expression)>),
    /// `[for ...]` or `{for ...}`.
    For(Box<For>),
    /// The text of all elements of a `for` in a template.
    Join(Box<For>),
    /// `condition ? yes : no`.
    Conditional(Box<[Expression; 3]>),
    /// An operation on two.
    Binary(Operator, Box<[Expression; 2]>),
    /// `-a`.
    Negate(Box<Expression>),
    /// `!a`.
    Not(Box<Expression>),
}

/// A comprehension.
#[derive(Clone, Debug)]
pub(super) struct For {
    /// The name for the key, where one is given.
    pub(super) key: Option<String>,
    /// The name for the element.
    pub(super) value: String,
    /// What is gone through.
    pub(super) collection: Expression,
    /// The key of each result; none makes a tuple.
    pub(super) result_key: Option<Expression>,
    /// Each result.
    pub(super) result: Expression,
    /// Whether results of one key are gathered (`...`).
    pub(super) group: bool,
    /// Which elements count.
    pub(super) condition: Option<Expression>,
}

/// An operation on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

/// A use of a variable: its name and what is taken of it at once.
#[derive(Clone, Debug)]
pub(super) struct Use<'a> {
    /// The variable.
    pub(super) root: &'a str,
    /// Names taken of it: `a.b.c` has `b`, `c`.
    pub(super) path: Vec<&'a str>,
    /// Where.
    pub(super) span: Span,
}

impl Expression {
    /// Returns a literal.
    pub(super) fn literal(value: Value, span: Span) -> Self {
        Self { kind: Kind::Literal(value), span }
    }

    /// Returns the name where the expression is nothing but one.
    pub(super) fn as_keyword(&self) -> Option<&str> {
        match &self.kind {
            Kind::Variable(name) => Some(name),
            Kind::Literal(Value::Bool(true)) => Some("true"),
            Kind::Literal(Value::Bool(false)) => Some("false"),
            Kind::Literal(Value::Null) => Some("null"),
            _ => None,
        }
    }

    /// Gathers the variables that are used and not bound inside, and the functions that are called.
    pub(super) fn uses<'a>(&'a self, bound: &mut Vec<&'a str>, found: &mut Found<'a>) {
        match &self.kind {
            Kind::Literal(_) | Kind::Each => {}
            Kind::Variable(_) | Kind::Attribute(..) | Kind::Index(..) => self.traversal(bound, found),
            Kind::Template(parts) | Kind::Tuple(parts) => {
                parts.iter().for_each(|part| part.uses(bound, found));
            }
            Kind::Splat(of, each) => {
                of.uses(bound, found);
                each.uses(bound, found);
            }
            Kind::Call { name, arguments, .. } => {
                found.calls.push((name, self.span));
                arguments.iter().for_each(|argument| argument.uses(bound, found));
            }
            Kind::Object(entries) => entries.iter().for_each(|(key, value)| {
                key.uses(bound, found);
                value.uses(bound, found);
            }),
            Kind::For(of) | Kind::Join(of) => of.uses(bound, found),
            Kind::Conditional(parts) => parts.iter().for_each(|part| part.uses(bound, found)),
            Kind::Binary(_, parts) => parts.iter().for_each(|part| part.uses(bound, found)),
            Kind::Negate(of) | Kind::Not(of) => of.uses(bound, found),
        }
    }

    fn traversal<'a>(&'a self, bound: &mut Vec<&'a str>, found: &mut Found<'a>) {
        let mut path = Vec::new();
        let mut at = self;
        loop {
            match &at.kind {
                Kind::Variable(root) => {
                    if !bound.contains(&root.as_str()) {
                        path.reverse();
                        found.variables.push(Use { root, path, span: self.span });
                    }
                    return;
                }
                Kind::Attribute(of, name) => {
                    path.push(name.as_str());
                    at = of;
                }
                Kind::Index(of, key) => {
                    path.clear();
                    key.uses(bound, found);
                    at = of;
                }
                _ => return at.uses(bound, found),
            }
        }
    }
}

impl For {
    fn uses<'a>(&'a self, bound: &mut Vec<&'a str>, found: &mut Found<'a>) {
        self.collection.uses(bound, found);
        let depth = bound.len();
        bound.extend(self.key.as_deref());
        bound.push(&self.value);
        let inside = [Some(&self.result), self.result_key.as_ref(), self.condition.as_ref()];
        inside.into_iter().flatten().for_each(|expression| expression.uses(bound, found));
        bound.truncate(depth);
    }
}

/// What expressions use.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// Variables.
    pub(super) variables: Vec<Use<'a>>,
    /// Functions, and the calls.
    pub(super) calls: Vec<(&'a str, Span)>,
}
