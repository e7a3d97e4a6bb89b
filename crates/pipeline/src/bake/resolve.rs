//! From the blocks of all files to groups and targets: names are computed when something asks for
//! them, so that their order in the files does not matter, and a circle is found.

mod blocks;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Fault, Sources, Span};
use super::evaluate::{Around, Evaluator, OwnFunction, Scope};
use super::syntax::{Attribute, Block, Body, Expression, Found};
use super::target::Target;
use super::value::Value;
use super::world::World;
use blocks::Resolved;

/// A group of targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Names of targets and groups.
    pub targets: Vec<String>,
}

/// A variable of the definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type as it is written; empty where none is.
    pub kind: String,
    /// What it is for.
    pub description: String,
    /// Its value; `None` where it is null, or neither text, number nor truth value.
    pub value: Option<String>,
}

/// Something in a file that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The file's name.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is said there and why it has no effect.
    pub message: String,
}

/// What the files define.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) groups: Vec<Group>,
    pub(super) targets: Vec<Target>,
    pub(super) variables: Vec<Variable>,
    pub(super) notices: Vec<Notice>,
}

/// Resolves the definitions of all files, in their order, over what compose files gave.
pub(super) fn resolve(
    bodies: &[Body],
    before: Outcome,
    sources: &Sources,
    world: &World<'_>,
) -> Result<Outcome, Fault> {
    let evaluator = Evaluator::new(world);
    let mut engine = Engine::new(bodies, &evaluator);
    engine.notice_unknown(bodies, sources);
    let variables = engine.variables()?;
    engine.validate_variables()?;
    engine.functions()?;
    let mut outcome = engine.blocks(before)?;
    engine.attributes()?;
    outcome.variables = variables;
    outcome.notices.append(&mut engine.notices);
    Ok(outcome)
}

struct Engine<'a> {
    evaluator: &'a Evaluator<'a>,
    variable_blocks: BTreeMap<&'a str, &'a Block>,
    function_blocks: BTreeMap<&'a str, &'a Block>,
    global_attributes: BTreeMap<&'a str, &'a Attribute>,
    own_functions: BTreeMap<String, OwnFunction>,
    globals: BTreeMap<String, Value>,
    variables_under_way: BTreeSet<String>,
    functions_under_way: BTreeSet<String>,
    /// Blocks of groups and targets in the order of the files.
    all_blocks: Vec<&'a Block>,
    /// What is known of them, in the same order.
    resolved: Vec<Resolved<'a>>,
    /// Where the blocks of a kind and name stand in `resolved`.
    named: BTreeMap<(&'a str, String), Vec<usize>>,
    /// Whether `target.name` may be looked at yet.
    blocks_known: bool,
    notices: Vec<Notice>,
    depth: u32,
}

/// How deep names may be defined by each other.
const DEEPEST: u32 = 120;

/// Names that a definition cannot define.
const RESERVED: [&str; 4] = ["group", "target", "BAKE_CMD_CONTEXT", "BAKE_LOCAL_PLATFORM"];

impl<'a> Engine<'a> {
    fn new(bodies: &'a [Body], evaluator: &'a Evaluator<'a>) -> Self {
        let mut engine = Self {
            evaluator,
            variable_blocks: BTreeMap::new(),
            function_blocks: BTreeMap::new(),
            global_attributes: BTreeMap::new(),
            own_functions: BTreeMap::new(),
            globals: BTreeMap::new(),
            variables_under_way: BTreeSet::new(),
            functions_under_way: BTreeSet::new(),
            all_blocks: Vec::new(),
            resolved: Vec::new(),
            named: BTreeMap::new(),
            blocks_known: false,
            notices: Vec::new(),
            depth: 0,
        };
        engine.globals.insert("BAKE_CMD_CONTEXT".to_owned(), Value::string("cwd://"));
        engine.globals.insert("BAKE_LOCAL_PLATFORM".to_owned(), Value::string(&evaluator.world.platform));
        for body in bodies {
            for attribute in
                body.attributes.iter().filter(|attribute| !RESERVED.contains(&attribute.name.as_str()))
            {
                engine.global_attributes.entry(&attribute.name).or_insert(attribute);
            }
            for block in &body.blocks {
                let label = block.labels.first().map(|(label, _)| label.as_str());
                match (block.kind.as_str(), label) {
                    ("group" | "target", _) => engine.all_blocks.push(block),
                    ("variable", Some(name)) if !RESERVED.contains(&name) => {
                        engine.variable_blocks.insert(name, block);
                    }
                    ("function", Some(name)) if !RESERVED.contains(&name) => {
                        engine.function_blocks.insert(name, block);
                    }
                    _ => {}
                }
            }
        }
        engine
    }

    fn notice_unknown(&mut self, bodies: &'a [Body], sources: &Sources) {
        let mut notice = |span: Span, message: String| {
            let (file, line) = sources.line(span);
            self.notices.push(Notice { file, line, message });
        };
        for block in bodies.iter().flat_map(|body| &body.blocks) {
            let name = block.labels.first().map_or("", |(label, _)| label);
            let known: Vec<&str> = match block.kind.as_str() {
                "target" => super::target::key_names().chain(["name", "matrix"]).collect(),
                "group" => vec!["targets", "description"],
                "variable" => vec!["type", "default", "description", "sensitive"],
                "function" => vec!["params", "variadic_params", "result"],
                other => {
                    notice(block.kind_span, format!("blocks of the kind {other} have no effect"));
                    continue;
                }
            };
            for inner in block.body.blocks.iter().filter(|inner| inner.kind != "validation") {
                let message = format!(
                    "the block {} in {} {name} has no effect; write {} = ...",
                    inner.kind, block.kind, inner.kind
                );
                notice(inner.kind_span, message);
            }
            for attribute in &block.body.attributes {
                if !known.contains(&attribute.name.as_str()) {
                    let meant = crate::suggest::did_you_mean(&attribute.name, known.iter().copied());
                    let message =
                        format!("the key {} of {} {name} has no effect{meant}", attribute.name, block.kind);
                    notice(attribute.name_span, message);
                }
            }
        }
    }

    fn value(&self, of: &Expression, local: &BTreeMap<String, Value>) -> Result<Value, Fault> {
        let globals = Scope::root(&self.globals);
        let scope = Scope { names: local, around: Some(&globals) };
        let around = Around { functions: &self.own_functions, globals: &self.globals };
        self.evaluator.value(of, scope, around)
    }

    /// Resolves everything that an expression uses. Names that are not defined are left to the
    /// computation, which may not need them.
    fn load(&mut self, of: &'a Expression, local: &BTreeMap<String, Value>) -> Result<(), Fault> {
        if self.depth >= DEEPEST {
            let detail = format!("names are defined by each other more than {DEEPEST} deep");
            return Err(Fault::new(of.span, "Too deep", detail));
        }
        self.depth += 1;
        let loaded = self.load_all(of, local);
        self.depth -= 1;
        loaded
    }

    fn load_all(&mut self, of: &'a Expression, local: &BTreeMap<String, Value>) -> Result<(), Fault> {
        let mut found = Found::default();
        of.uses(&mut Vec::new(), &mut found);
        for (name, span) in found.calls {
            self.function(name, span).or_else(|fault| if fault.undefined { Ok(()) } else { Err(fault) })?;
        }
        for used in found.variables {
            if local.contains_key(used.root) {
                continue;
            }
            let loaded = match self.blocks_known && matches!(used.root, "target" | "group") {
                true => self.block_of(&used),
                false => self.variable(used.root, used.span),
            };
            loaded.or_else(|fault| if fault.undefined { Ok(()) } else { Err(fault) })?;
        }
        Ok(())
    }

    fn functions(&mut self) -> Result<(), Fault> {
        let blocks: Vec<(&str, Span)> =
            self.function_blocks.iter().map(|(name, block)| (*name, block.labels[0].1)).collect();
        blocks.into_iter().try_for_each(|(name, span)| self.function(name, span))
    }

    fn function(&mut self, name: &str, span: Span) -> Result<(), Fault> {
        if self.own_functions.contains_key(name) || super::functions::find(name).is_some() {
            return Ok(());
        }
        let Some(block) = self.function_blocks.get(name).copied() else {
            let detail = format!("function {name:?} does not exist");
            return Err(Fault::new(span, "Invalid expression", detail).undefined_name());
        };
        let fault = |detail: String| Fault::new(block.labels[0].1, "Invalid function", detail);
        if !self.functions_under_way.insert(name.to_owned()) {
            return Err(fault(format!("function cycle not allowed for {name}")));
        }
        let attribute = |key: &str| block.body.attributes.iter().find(|attribute| attribute.name == key);
        let result =
            attribute("result").ok_or_else(|| fault(format!("empty result not allowed for {name}")))?;
        let parameters =
            attribute("params").ok_or_else(|| fault(format!("empty params not allowed for {name}")))?;
        let parameters = words(&parameters.expression)?;
        let rest = attribute("variadic_params").map(|rest| word(&rest.expression)).transpose()?;
        // Parameters hide variables of the same name.
        let local = parameters.iter().chain(&rest).map(|name| (name.clone(), Value::Null)).collect();
        self.load(&result.expression, &local)?;
        let own = OwnFunction { parameters, rest, result: result.expression.clone() };
        self.own_functions.insert(name.to_owned(), own);
        Ok(())
    }

    fn attributes(&mut self) -> Result<(), Fault> {
        let all: Vec<(&str, Span)> =
            self.global_attributes.iter().map(|(name, attribute)| (*name, attribute.name_span)).collect();
        all.into_iter().try_for_each(|(name, span)| self.variable(name, span))
    }
}

fn words(list: &Expression) -> Result<Vec<String>, Fault> {
    match &list.kind {
        super::syntax::Kind::Tuple(items) => items.iter().map(word).collect(),
        _ => Err(Fault::new(list.span, "Invalid expression", "A static list expression is required")),
    }
}

fn word(expression: &Expression) -> Result<String, Fault> {
    expression.as_keyword().map(str::to_owned).ok_or_else(|| {
        Fault::new(expression.span, "Invalid param element", "Each parameter name must be an identifier")
    })
}
