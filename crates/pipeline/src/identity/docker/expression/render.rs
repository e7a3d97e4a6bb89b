//! Nodes to text.

use super::value::{Arguments, Value, World};
use super::{Block, Call, Expression, Failure, MAX_OUTPUT, Node, Path, Program};

/// Helpers that every template has.
const HELPERS: [&str; 8] =
    ["helperMissing", "blockHelperMissing", "each", "if", "unless", "with", "lookup", "log"];

/// How many nodes a template may pass through; `each` in `each` multiplies.
const MAX_STEPS: usize = 100_000;

/// Renders `program` in `world`.
pub(super) fn render(program: &Program, world: &dyn World) -> Result<String, Failure> {
    let mut renderer = Renderer { world, output: 0, steps: 0 };
    let scope = Scope { this: Value::World, outer: None, names: Vec::new(), data: Data::default() };
    renderer.program(program, &scope)
}

struct Renderer<'a> {
    world: &'a dyn World,
    output: usize,
    steps: usize,
}

/// What names mean at some place of a template.
struct Scope<'a> {
    this: Value,
    outer: Option<&'a Scope<'a>>,
    /// Names that a block gave to what it passes on.
    names: Vec<(String, Value)>,
    data: Data,
}

/// The names with `@`.
#[derive(Clone, Default)]
struct Data {
    key: Option<Value>,
    index: Option<usize>,
    is_first: Option<bool>,
    is_last: Option<bool>,
}

/// How a tag's name is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A path that is looked up.
    Simple,
    /// A helper that is called.
    Helper,
    /// Either, as it turns out.
    Ambiguous,
}

impl Renderer<'_> {
    fn program(&mut self, program: &Program, scope: &Scope<'_>) -> Result<String, Failure> {
        let mut output = String::new();
        for node in &program.body {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(Failure::new("the template takes too many steps"));
            }
            let text = self.node(node, scope)?;
            self.output += text.len();
            if self.output > MAX_OUTPUT {
                return Err(Failure::new("the template gives more than a mebibyte"));
            }
            output.push_str(&text);
        }
        Ok(output)
    }

    fn node(&mut self, node: &Node, scope: &Scope<'_>) -> Result<String, Failure> {
        match node {
            Node::Content(content) => Ok(content.value.clone()),
            Node::Comment { .. } => Ok(String::new()),
            Node::Mustache { call, is_escaped, .. } => {
                let value = self.call(call, scope)?;
                let text = value.print(self.world)?;
                Ok(if *is_escaped && !matches!(value, Value::Number(_) | Value::Bool(false)) {
                    escape(&text)
                } else {
                    text
                })
            }
            Node::Block(block) => self.block(block, scope),
            // There are no partials, so that what stands in the block is rendered instead.
            Node::PartialBlock(block) => match &block.program {
                Some(program) => self.program(program, scope),
                None => Ok(String::new()),
            },
            Node::Partial { name, .. } => Err(Failure::new(format!("the partial {name} could not be found"))),
        }
    }

    /// Evaluates a tag or a sub-expression.
    fn call(&mut self, call: &Call, scope: &Scope<'_>) -> Result<Value, Failure> {
        match kind(call, scope) {
            Kind::Simple => {
                let value = self.path(&call.path, scope);
                self.resolve(value)
            }
            Kind::Ambiguous => match self.path(&call.path, scope) {
                Value::Function(function) => self.world.call(function, Arguments { values: &[], hash: &[] }),
                value => Ok(value),
            },
            Kind::Helper => self.helper(call, None, scope),
        }
    }

    fn resolve(&self, value: Value) -> Result<Value, Failure> {
        match value {
            Value::Function(function) => self.world.call(function, Arguments { values: &[], hash: &[] }),
            value => Ok(value),
        }
    }

    fn block(&mut self, block: &Block, scope: &Scope<'_>) -> Result<String, Failure> {
        match kind(&block.call, scope) {
            Kind::Helper => self.helper(&block.call, Some(block), scope)?.print(self.world),
            Kind::Simple | Kind::Ambiguous => {
                let value = self.path(&block.call.path, scope);
                let value = self.resolve(value)?;
                self.block_of_value(value, block, scope)
            }
        }
    }

    /// Renders a block that no helper is for: its value says how often and in what.
    fn block_of_value(&mut self, value: Value, block: &Block, scope: &Scope<'_>) -> Result<String, Failure> {
        match value {
            Value::Bool(true) => self.side(&block.program, scope.this.clone(), None, scope),
            Value::Undefined | Value::Null | Value::Bool(false) => {
                self.side(&block.inverse, scope.this.clone(), None, scope)
            }
            Value::List(items) if items.is_empty() => {
                self.side(&block.inverse, scope.this.clone(), None, scope)
            }
            Value::List(_) => self.each(&value, block, scope),
            value => self.side(&block.program, value, None, scope),
        }
    }

    /// Renders one side of a block with `this` as what it is about.
    fn side(
        &mut self,
        program: &Option<Program>,
        this: Value,
        data: Option<Data>,
        scope: &Scope<'_>,
    ) -> Result<String, Failure> {
        let Some(program) = program else { return Ok(String::new()) };
        let passed = [Some(this.clone()), data.as_ref().and_then(|data| data.key.clone())];
        let names = program.parameters.iter().cloned().zip(passed.into_iter().flatten()).collect();
        let data = data.unwrap_or_else(|| scope.data.clone());
        self.program(program, &Scope { this, outer: Some(scope), names, data })
    }

    fn helper(&mut self, call: &Call, block: Option<&Block>, scope: &Scope<'_>) -> Result<Value, Failure> {
        let mut values = Vec::with_capacity(call.parameters.len());
        for parameter in &call.parameters {
            values.push(self.expression(parameter, scope)?);
        }
        let mut hash = Vec::with_capacity(call.hash.len());
        for (name, value) in &call.hash {
            let value = self.expression(value, scope)?;
            hash.retain(|(known, _)| known != name);
            hash.push((name.clone(), value));
        }
        let arguments = Arguments { values: &values, hash: &hash };
        let name = call.path.original.as_str();
        if call.path.is_simple() && !call.path.is_data && HELPERS.contains(&name) {
            return self.built_in(name, arguments, block, scope);
        }
        match self.path(&call.path, scope) {
            Value::Function(function) => self.world.call(function, arguments),
            value if value.is_truthy() => Err(Failure::new(format!("{name} is no helper"))),
            _ if values.is_empty() => match block {
                Some(block) if !call.hash.is_empty() => {
                    Ok(Value::text(&self.block_of_value(Value::Undefined, block, scope)?))
                }
                _ => Ok(Value::Undefined),
            },
            _ => Err(Failure::new(format!("missing helper: {name}"))),
        }
    }

    fn built_in(
        &mut self,
        name: &str,
        arguments: Arguments<'_>,
        block: Option<&Block>,
        scope: &Scope<'_>,
    ) -> Result<Value, Failure> {
        match (name, arguments.values) {
            ("lookup", [object, field]) => {
                if object.is_nothing() {
                    return Ok(object.clone());
                }
                Ok(object.property(&field.print(self.world)?, self.world))
            }
            ("lookup", _) => Err(Failure::new("lookup takes an object and a name")),
            ("log", _) | ("helperMissing", []) => Ok(Value::Undefined),
            ("helperMissing" | "blockHelperMissing", _) => {
                Err(Failure::new(format!("{name} cannot be called")))
            }
            (name, [value]) => {
                let block = block
                    .ok_or_else(|| Failure::new(format!("{name} opens a block: {{{{#{name} ...}}}}")))?;
                self.block_helper(name, value, arguments.hash, block, scope)
            }
            (name, _) => Err(Failure::new(format!("#{name} requires exactly one argument"))),
        }
    }

    fn block_helper(
        &mut self,
        name: &str,
        value: &Value,
        hash: &[(String, Value)],
        block: &Block,
        scope: &Scope<'_>,
    ) -> Result<Value, Failure> {
        let value = self.resolve(value.clone())?;
        let includes_zero = hash.iter().any(|(name, value)| name == "includeZero" && value.is_truthy());
        let is_nothing = (!includes_zero && !value.is_truthy()) || value.is_empty();
        let this = scope.this.clone();
        let text = match name {
            "if" if is_nothing => self.side(&block.inverse, this, None, scope),
            "unless" if !is_nothing => self.side(&block.inverse, this, None, scope),
            "if" | "unless" => self.side(&block.program, this, None, scope),
            "with" if value.is_empty() => self.side(&block.inverse, this, None, scope),
            "with" => self.side(&block.program, value, None, scope),
            _ => self.each(&value, block, scope),
        }?;
        Ok(Value::text(&text))
    }

    fn each(&mut self, value: &Value, block: &Block, scope: &Scope<'_>) -> Result<String, Failure> {
        let items: Vec<(Value, Value)> = match value {
            Value::List(items) => {
                items.iter().enumerate().map(|(at, item)| (Value::Number(at as f64), item.clone())).collect()
            }
            Value::World => {
                self.world.names().iter().map(|name| (Value::text(name), self.world.get(name))).collect()
            }
            _ => Vec::new(),
        };
        if items.is_empty() {
            return self.side(&block.inverse, scope.this.clone(), None, scope);
        }
        let last = items.len() - 1;
        let mut output = String::new();
        for (at, (key, item)) in items.into_iter().enumerate() {
            let data =
                Data { key: Some(key), index: Some(at), is_first: Some(at == 0), is_last: Some(at == last) };
            output.push_str(&self.side(&block.program, item, Some(data), scope)?);
        }
        Ok(output)
    }

    fn expression(&mut self, expression: &Expression, scope: &Scope<'_>) -> Result<Value, Failure> {
        match expression {
            Expression::Literal(value) => Ok(value.clone()),
            Expression::Path(path) => Ok(self.path(path, scope)),
            Expression::Call(call) => self.call(call, scope),
        }
    }

    /// Looks a path up, and calls nothing.
    fn path(&self, path: &Path, scope: &Scope<'_>) -> Value {
        let (start, rest) = if path.is_data {
            let Some((first, rest)) = path.parts.split_first() else { return Value::Undefined };
            (data(first, &scope.data), rest)
        } else {
            match path.parts.split_first().and_then(|(first, rest)| Some((named(path, first, scope)?, rest)))
            {
                Some((value, rest)) => (value, rest),
                None => (at_depth(scope, path.depth), path.parts.as_slice()),
            }
        };
        rest.iter().fold(start, |value, part| value.property(part, self.world))
    }
}

/// Returns what a block named `first`, where some block around did.
fn named(path: &Path, first: &str, scope: &Scope<'_>) -> Option<Value> {
    if path.is_scoped || path.depth > 0 || path.is_literal {
        return None;
    }
    let mut at = Some(scope);
    while let Some(scope) = at {
        if let Some((_, value)) = scope.names.iter().find(|(name, _)| name == first) {
            return Some(value.clone());
        }
        at = scope.outer;
    }
    None
}

/// Returns what is `depth` different things further out.
fn at_depth(scope: &Scope<'_>, depth: usize) -> Value {
    let mut at = scope;
    for _ in 0..depth {
        loop {
            let Some(outer) = at.outer else { return Value::Undefined };
            let is_same = outer.this.is_same(&at.this);
            at = outer;
            if !is_same {
                break;
            }
        }
    }
    at.this.clone()
}

fn data(name: &str, data: &Data) -> Value {
    let or_nothing = |value: Option<Value>| value.unwrap_or(Value::Undefined);
    match name {
        "root" => Value::World,
        "key" => or_nothing(data.key.clone()),
        "index" => or_nothing(data.index.map(|index| Value::Number(index as f64))),
        "first" => or_nothing(data.is_first.map(Value::Bool)),
        "last" => or_nothing(data.is_last.map(Value::Bool)),
        _ => Value::Undefined,
    }
}

fn kind(call: &Call, scope: &Scope<'_>) -> Kind {
    let path = &call.path;
    let is_simple = path.is_simple();
    if is_simple && !path.is_data && named(path, &path.parts[0], scope).is_some() {
        return Kind::Simple;
    }
    let is_helper = !call.parameters.is_empty() || !call.hash.is_empty();
    let is_known = is_simple && !path.is_data && HELPERS.contains(&path.parts[0].as_str());
    match (is_helper || is_known, is_simple) {
        (true, _) => Kind::Helper,
        (false, true) => Kind::Ambiguous,
        (false, false) => Kind::Simple,
    }
}

/// Escapes as HTML does, with the three characters more that the neighbour escapes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            '`' => escaped.push_str("&#x60;"),
            '=' => escaped.push_str("&#x3D;"),
            other => escaped.push(other),
        }
    }
    escaped
}
