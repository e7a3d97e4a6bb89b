//! Groups and targets: matrices, names, and attributes that look at those of other targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::variables::attribute;
use super::{Engine, Group, Outcome};
use crate::bake::convert::convert;
use crate::bake::error::{Fault, Span};
use crate::bake::syntax::{Attribute, Block, Use};
use crate::bake::target::{self, Target};
use crate::bake::value::{Type, Value};

/// More targets than this from one matrix are refused.
const LARGEST_MATRIX: usize = 4096;

/// A block and what is known of it.
pub(super) struct Resolved<'a> {
    block: &'a Block,
    instances: Vec<Instance>,
}

/// One of the targets that a block with a matrix stands for; without a matrix there is one.
#[derive(Default)]
struct Instance {
    local: BTreeMap<String, Value>,
    done: BTreeSet<&'static str>,
    under_way: BTreeSet<String>,
    values: BTreeMap<&'static str, Value>,
    target: Target,
}

impl<'a> Engine<'a> {
    /// Resolves all groups and targets.
    pub(super) fn blocks(&mut self, before: Outcome) -> Result<Outcome, Fault> {
        self.blocks_known = true;
        let mut outcome = before;
        let mut renamed: Vec<(String, Vec<String>)> = Vec::new();
        for block in self.all_blocks.clone() {
            let names = self.name(block)?;
            if block.kind == "target" {
                let label = &block.labels[0].0;
                match renamed.iter_mut().find(|(known, _)| known == label) {
                    Some((_, known)) => known.extend(names),
                    None => renamed.push((label.clone(), names)),
                }
            }
        }
        for at in 0..self.resolved.len() {
            self.resolve_block(at, None)?;
            self.collect(at, &mut outcome)?;
        }
        for (label, mut names) in renamed {
            let mut seen = BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            if names.len() != 1 || names[0] != label {
                outcome.groups.push(Group { name: label, description: String::new(), targets: names });
            }
        }
        Ok(outcome)
    }

    /// Computes the names of the targets that a block stands for.
    fn name(&mut self, block: &'a Block) -> Result<Vec<String>, Fault> {
        let [(label, label_span)] = &block.labels[..] else {
            let span = block.labels.get(1).map_or(block.kind_span, |(_, span)| *span);
            return Err(Fault::new(span, "Invalid block", format!("a {} has one name", block.kind)));
        };
        let kind = if block.kind == "group" { "group" } else { "target" };
        check_name(label, *label_span)?;
        self.globals
            .entry(kind.to_owned())
            .or_insert_with(|| Value::Map(Type::Map(Box::new(Type::String)), Arc::default()));
        let mut instances = self.instances(block, *label_span)?;
        let mut names = Vec::new();
        let own_name = attribute(block, "name");
        for instance in &mut instances {
            let name = match own_name {
                None => label.clone(),
                Some(_) if kind == "group" => {
                    return Err(Fault::new(*label_span, "Invalid name", "name is not supported for groups"));
                }
                Some(_) if attribute(block, "matrix").is_none() => {
                    return Err(Fault::new(*label_span, "Invalid name", "name requires matrix")
                        .hint("leave out `name`, or add a matrix"));
                }
                Some(own_name) => {
                    self.load(&own_name.expression, &instance.local)?;
                    let value = self.value(&own_name.expression, &instance.local)?;
                    let text = convert(&value, &Type::String).ok();
                    let text = text.as_ref().and_then(Value::as_str).ok_or_else(|| {
                        Fault::new(own_name.expression.span, "Invalid name", "a name is text")
                    })?;
                    check_name(text, *label_span)?;
                    text.to_owned()
                }
            };
            if names.contains(&name) {
                return Err(Fault::new(*label_span, "Invalid name", format!("duplicate name {name:?}"))
                    .hint("let `name` hold every value of the matrix"));
            }
            instance.target.name.clone_from(&name);
            names.push(name);
        }
        for name in &names {
            self.named.entry((kind, name.clone())).or_default().push(self.resolved.len());
        }
        self.resolved.push(Resolved { block, instances });
        Ok(names)
    }

    fn instances(&mut self, block: &'a Block, label_span: Span) -> Result<Vec<Instance>, Fault> {
        let Some(matrix) = attribute(block, "matrix") else { return Ok(vec![Instance::default()]) };
        if block.kind == "group" {
            return Err(Fault::new(label_span, "Invalid name", "matrix is not supported for groups"));
        }
        self.load(&matrix.expression, &BTreeMap::new())?;
        let value = self.value(&matrix.expression, &BTreeMap::new())?;
        let fault = |detail: &str| Fault::new(label_span, "Invalid name", detail);
        let axes = value.entries().ok_or_else(|| fault("matrix must be a map"))?;
        let mut locals = vec![BTreeMap::new()];
        for (name, values) in axes {
            let values = values.items().ok_or_else(|| fault("matrix values must be a list"))?;
            if locals.len().saturating_mul(values.len()) > LARGEST_MATRIX {
                return Err(fault(&format!("the matrix has more than {LARGEST_MATRIX} combinations")));
            }
            let with = |value: &Value| {
                let one = |local: &BTreeMap<String, Value>| {
                    let mut local = local.clone();
                    local.insert(name.clone(), value.clone());
                    local
                };
                locals.iter().map(one).collect::<Vec<_>>()
            };
            locals = values.iter().flat_map(with).collect();
        }
        Ok(locals.into_iter().map(|local| Instance { local, ..Instance::default() }).collect())
    }

    /// Resolves what an expression looks at: `target.name.key`.
    pub(super) fn block_of(&mut self, used: &Use<'_>) -> Result<(), Fault> {
        let kind = if used.root == "group" { "group" } else { "target" };
        let Some(name) = used.path.first() else {
            let detail = format!("cannot access {kind} as a variable");
            return Err(
                Fault::new(used.span, "Invalid expression", detail).hint(format!("write {kind}.NAME.KEY"))
            );
        };
        let blocks = self.named.get(&(kind, (*name).to_owned())).cloned().unwrap_or_default();
        let key = used.path.get(1).copied();
        blocks.into_iter().try_for_each(|at| self.resolve_block(at, key))
    }

    /// Resolves a block, or one of its keys.
    fn resolve_block(&mut self, at: usize, only: Option<&str>) -> Result<(), Fault> {
        let block = self.resolved[at].block;
        for number in 0..self.resolved[at].instances.len() {
            let instance = &mut self.resolved[at].instances[number];
            if let Some(key) = only {
                let Some(key) = known(&block.kind, key).filter(|key| !instance.done.contains(key)) else {
                    self.publish(at, number);
                    continue;
                };
                if !instance.under_way.insert(key.to_owned()) {
                    let name = &instance.target.name;
                    let detail = format!("reference cycle not allowed for {}.{name}.{key}", block.kind);
                    return Err(Fault::new(block.labels[0].1, "Invalid expression", detail));
                }
            }
            for attribute in &block.body.attributes {
                let wanted = only.is_none_or(|key| key == attribute.name);
                if let Some(key) = known(&block.kind, &attribute.name).filter(|_| wanted) {
                    self.resolve_key(at, number, key, attribute)?;
                }
            }
            let done = only.and_then(|key| known(&block.kind, key));
            self.resolved[at].instances[number].done.extend(done);
            self.publish(at, number);
        }
        Ok(())
    }

    fn resolve_key(
        &mut self,
        at: usize,
        number: usize,
        key: &'static str,
        attribute: &'a Attribute,
    ) -> Result<(), Fault> {
        if self.resolved[at].instances[number].values.contains_key(key) {
            return Ok(());
        }
        let local = self.resolved[at].instances[number].local.clone();
        self.load(&attribute.expression, &local)?;
        let value = self.value(&attribute.expression, &local)?;
        let instance = &mut self.resolved[at].instances[number];
        let set = match key {
            "targets" => convert(&value, &Type::List(Box::new(Type::String))),
            key => instance.target.set(key, &value, attribute.name_span),
        };
        let value = set.map_err(|reason| {
            let detail = format!("Unsuitable value for {}: {reason}", attribute.name);
            Fault::new(attribute.expression.span, "Unsuitable value type", detail)
        })?;
        instance.values.insert(key, value);
        instance.done.insert(key);
        Ok(())
    }

    /// Lets expressions see what is known of a target.
    fn publish(&mut self, at: usize, number: usize) {
        let resolved = &self.resolved[at];
        let instance = &resolved.instances[number];
        let kind = &resolved.block.kind;
        let keys = known_keys(kind)
            .map(|key| (key.to_owned(), instance.values.get(key).cloned().unwrap_or(Value::Null)));
        let mut entries: BTreeMap<String, Value> = keys.collect();
        entries.insert("name".to_owned(), Value::string(&instance.target.name));
        let mut all = self.globals.get(kind).and_then(Value::entries).cloned().unwrap_or_default();
        all.insert(instance.target.name.clone(), Value::object(entries));
        self.globals.insert(kind.clone(), Value::object(all));
    }

    /// Adds what a block gave to the outcome: targets go over earlier ones of their name, groups take their place.
    fn collect(&mut self, at: usize, outcome: &mut Outcome) -> Result<(), Fault> {
        let resolved = &mut self.resolved[at];
        for instance in &mut resolved.instances {
            if resolved.block.kind == "group" {
                let Some(targets) = instance.values.get("targets") else {
                    let detail = "The argument \"targets\" is required, but no definition was found";
                    return Err(Fault::new(resolved.block.body.end, "Missing required argument", detail));
                };
                let targets = targets.items().unwrap_or_default().iter().filter_map(Value::as_str);
                let group = Group {
                    name: instance.target.name.clone(),
                    description: instance.target.description.clone(),
                    targets: targets.map(str::to_owned).collect(),
                };
                match outcome.groups.iter_mut().find(|known| known.name == group.name) {
                    Some(known) => *known = group,
                    None => outcome.groups.push(group),
                }
                continue;
            }
            let target = std::mem::take(&mut instance.target);
            match outcome.targets.iter_mut().find(|known| known.name == target.name) {
                Some(known) => known.merge(&target),
                None => outcome.targets.push(target),
            }
        }
        Ok(())
    }
}

fn known_keys(kind: &str) -> Box<dyn Iterator<Item = &'static str>> {
    match kind {
        "group" => Box::new(["targets", "description"].into_iter()),
        _ => Box::new(target::key_names()),
    }
}

fn known(kind: &str, key: &str) -> Option<&'static str> {
    match (kind, key) {
        ("group", "targets") => Some("targets"),
        ("group", "description") => Some("description"),
        ("group", _) => None,
        (_, key) => target::known_key(key),
    }
}

/// Checks the name of a target or group.
fn check_name(name: &str, span: Span) -> Result<(), Fault> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    match !name.is_empty() && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(Fault::new(
            span,
            "Invalid name",
            format!("{name:?}: only letters, digits, _ and - are allowed"),
        )),
    }
}
