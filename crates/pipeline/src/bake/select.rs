//! Which targets are asked for, with what they inherit and what they are linked to.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{BakeError, Sources};
use super::overrides::{self, Overrides};
use super::path;
use super::print;
use super::resolve::{Group, Notice, Variable};
use super::target::Target;
use crate::suggest::did_you_mean;

/// What the files define: groups, targets, variables.
#[derive(Debug)]
pub struct Definition {
    pub(super) groups: Vec<Group>,
    pub(super) targets: Vec<Target>,
    pub(super) variables: Vec<Variable>,
    pub(super) notices: Vec<Notice>,
    pub(super) sources: Sources,
}

/// What is to be built.
#[derive(Debug)]
pub struct Bake {
    /// Groups that were asked for, by name; `default` holds what was asked for.
    pub groups: BTreeMap<String, Group>,
    /// Targets with all that they inherit, by name.
    pub targets: BTreeMap<String, Target>,
    pub(super) sources: Sources,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Targets and groups, or patterns of their names; none is `default`.
    pub targets: &'a [String],
    /// Overrides as `--set` has them.
    pub overrides: &'a [String],
    /// Turns pushing on or off for all targets.
    pub push: Option<bool>,
    /// Brings the images to the container daemon.
    pub load: bool,
    /// Runs every step.
    pub no_cache: bool,
    /// Looks for base images anew.
    pub pull: bool,
}

/// How deep groups may lie in each other, and how long chains of inheritance and of links may be.
const DEEPEST: usize = 100;

impl Definition {
    /// Returns the groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the targets as they are defined, without what they inherit.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns the variables in the order of their names.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns what has no effect.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Returns what is asked for, with overrides, inheritance and links.
    ///
    /// # Errors
    /// Something asked for is not defined, an override cannot be used, targets inherit or link in a circle.
    pub fn select(
        &self,
        request: &Request<'_>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Bake, BakeError> {
        let overrides = overrides::read(request.overrides, &self.targets, environment)?;
        let asked = self.asked(request.targets)?;
        let mut bake =
            Bake { groups: BTreeMap::new(), targets: BTreeMap::new(), sources: self.sources.clone() };
        for name in &asked {
            let (mut targets, mut groups) = (Vec::new(), Vec::new());
            self.expand(name, &mut targets, &mut groups, 0)?;
            for target in targets {
                let resolved = self.target(&target, &overrides, request)?;
                bake.targets.insert(target, resolved);
            }
            bake.groups.extend(groups.into_iter().map(|group| (group.name.clone(), group.clone())));
        }
        name_default(&asked, &mut bake.groups);
        for name in bake.targets.keys().cloned().collect::<Vec<_>>() {
            self.link(&name, &mut bake, &overrides, request, &mut Vec::new())?;
        }
        for target in bake.targets.values_mut() {
            print::clean_paths(target);
        }
        Ok(bake)
    }

    /// Returns the names asked for, with patterns replaced by what they match.
    fn asked(&self, given: &[String]) -> Result<Vec<String>, BakeError> {
        let default = ["default".to_owned()];
        let mut asked = Vec::new();
        for name in if given.is_empty() { &default } else { given } {
            let name = name.replace('.', "_");
            if !name.contains(['*', '?', '[', ']']) {
                asked.push(name);
                continue;
            }
            let names = self
                .groups
                .iter()
                .map(|group| &group.name)
                .chain(self.targets.iter().map(|target| &target.name));
            let found: Vec<String> = names.filter(|known| path::matches(&name, known)).cloned().collect();
            if found.is_empty() {
                return Err(self.no_target(&name));
            }
            asked.extend(found);
        }
        let mut seen = BTreeSet::new();
        asked.retain(|name| seen.insert(name.clone()));
        Ok(asked)
    }

    fn no_target(&self, name: &str) -> BakeError {
        let known = || {
            self.targets
                .iter()
                .map(|target| target.name.as_str())
                .chain(self.groups.iter().map(|group| group.name.as_str()))
        };
        let hint = match (did_you_mean(name, known()), known().count()) {
            (meant, _) if !meant.is_empty() => meant,
            (_, 0) => "; nothing is defined".to_owned(),
            _ => format!("; there are {}", known().take(30).collect::<Vec<_>>().join(", ")),
        };
        BakeError::NoTarget { name: name.to_owned(), hint }
    }

    fn expand<'a>(
        &'a self,
        name: &str,
        targets: &mut Vec<String>,
        groups: &mut Vec<&'a Group>,
        depth: usize,
    ) -> Result<(), BakeError> {
        let Some(group) = self.groups.iter().find(|group| group.name == name) else {
            if !targets.iter().any(|known| known == name) {
                targets.push(name.to_owned());
            }
            return Ok(());
        };
        if groups.iter().any(|known| known.name == group.name) || depth > DEEPEST {
            // A group that names itself, as one of the same name as a target does, means the target.
            if group.targets.iter().any(|inner| inner == name) && !targets.iter().any(|known| known == name) {
                targets.push(name.to_owned());
            }
            return Ok(());
        }
        groups.push(group);
        group.targets.iter().try_for_each(|inner| self.expand(inner, targets, groups, depth + 1))
    }

    /// Returns a target with what it inherits and what the command line says.
    fn target(&self, name: &str, overrides: &Overrides, request: &Request<'_>) -> Result<Target, BakeError> {
        let mut target = self.inherit(name, overrides, &mut BTreeMap::new(), &mut Vec::new())?;
        if request.no_cache {
            target.no_cache = Some(true);
        }
        if request.pull {
            target.pull = Some(true);
        }
        if let Some(push) = request.push {
            target.override_push(push);
        }
        if request.load {
            target.override_load(true);
        }
        target.name = name.to_owned();
        target.inherits.clear();
        target.context.get_or_insert_with(|| ".".to_owned());
        if target.dockerfile.as_deref().is_none_or(str::is_empty) {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    fn inherit(
        &self,
        name: &str,
        overrides: &Overrides,
        known: &mut BTreeMap<String, Target>,
        under_way: &mut Vec<String>,
    ) -> Result<Target, BakeError> {
        if let Some(target) = known.get(name) {
            return Ok(target.clone());
        }
        if under_way.iter().any(|other| other == name) {
            let circle = format!("{} -> {name}", under_way.join(" -> "));
            return Err(BakeError::Links(format!("targets inherit from each other in a circle: {circle}")));
        }
        if under_way.len() > DEEPEST {
            return Err(BakeError::Links(format!("{name} inherits more than {DEEPEST} deep")));
        }
        let own =
            self.targets.iter().find(|target| target.name == name).ok_or_else(|| self.no_target(name))?;
        under_way.push(name.to_owned());
        let mut target = Target::default();
        for parent in &own.inherits {
            target.merge(&self.inherit(parent, overrides, known, under_way)?);
        }
        under_way.pop();
        target.merge(own);
        if let Some(overrides) = overrides.get(name) {
            target.override_keys(overrides)?;
        }
        target.normalize();
        known.insert(name.to_owned(), target.clone());
        Ok(target)
    }

    /// Adds the targets that a target uses as contexts.
    fn link(
        &self,
        name: &str,
        bake: &mut Bake,
        overrides: &Overrides,
        request: &Request<'_>,
        visited: &mut Vec<String>,
    ) -> Result<(), BakeError> {
        if visited.len() > DEEPEST {
            return Err(BakeError::Links(format!("{name} is linked more than {DEEPEST} deep")));
        }
        visited.push(name.to_owned());
        let contexts = bake.targets[name].contexts.clone();
        for linked in contexts.values().filter_map(|context| context.strip_prefix("target:")) {
            if linked == name {
                return Err(BakeError::Links(format!("target {name} cannot link to itself")));
            }
            if visited.iter().any(|known| known == linked) {
                return Err(BakeError::Links(format!("infinite loop from {name} to {linked}")));
            }
            if !bake.targets.contains_key(linked) {
                let bare = Request { push: None, load: false, ..request.clone() };
                let mut target = self.target(linked, overrides, &bare)?;
                let output = super::entries::Entry { kind: "cacheonly".to_owned(), ..Default::default() };
                target.outputs = Some(vec![output]);
                target.linked = true;
                bake.targets.insert(linked.to_owned(), target);
            }
            self.link(linked, bake, overrides, request, visited)?;
            check_platforms(name, linked, bake)?;
            let granted = bake.targets[linked].entitlements.clone().unwrap_or_default();
            let own = bake.targets.get_mut(name).expect("it is being linked");
            for entitlement in granted {
                let entitlements = own.entitlements.get_or_insert_default();
                if !entitlements.contains(&entitlement) {
                    entitlements.push(entitlement);
                }
            }
        }
        visited.pop();
        Ok(())
    }
}

fn check_platforms(name: &str, linked: &str, bake: &Bake) -> Result<(), BakeError> {
    let platforms = |name: &str| bake.targets[name].platforms.clone().unwrap_or_default();
    let (own, other) = (platforms(name), platforms(linked));
    if own.len() > 1 && other.len() > 1 && !own.iter().all(|platform| other.contains(platform)) {
        let (own, other) = (own.join(" "), other.join(" "));
        return Err(BakeError::Links(format!(
            "target {linked} can't be used by {name} because its platforms [{own}] are not a subset of [{other}]"
        )));
    }
    Ok(())
}

/// Lets the group `default` hold what was asked for.
fn name_default(asked: &[String], groups: &mut BTreeMap<String, Group>) {
    for name in asked {
        if name == "default" && groups.contains_key("default") {
            continue;
        }
        let default = groups.entry("default".to_owned()).or_default();
        default.name = "default".to_owned();
        default.targets.push(name.clone());
    }
    if let Some(default) = groups.get_mut("default") {
        default.targets.sort();
        default.targets.dedup();
    }
}
