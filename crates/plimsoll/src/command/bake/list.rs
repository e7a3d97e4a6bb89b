//! `bake --list`: what a definition offers.

use std::fmt;

use pipeline::bake::Definition;
use serde::Serialize;

use super::List;
use crate::error::Error;
use crate::session::Session;

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Listed {
    Targets(Vec<Target>),
    Variables(Vec<Variable>),
}

#[derive(Debug, Serialize)]
struct Target {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    group: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Variable {
    name: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    value: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

/// Lists targets or variables.
pub(super) fn show(session: &Session, definition: &Definition, list: List) -> Result<(), Error> {
    let listed = match list {
        List::Targets => Listed::Targets(targets(definition)),
        List::Variables => Listed::Variables(variables(definition)),
    };
    session.ui.answer("bake-list", &listed)
}

fn targets(definition: &Definition) -> Vec<Target> {
    let group = |group: &pipeline::bake::Group| Target {
        name: group.name.clone(),
        description: group.description.clone(),
        group: true,
        targets: group.targets.clone(),
    };
    let target = |target: &pipeline::bake::Target| Target {
        name: target.name.clone(),
        description: target.description.clone(),
        group: false,
        targets: Vec::new(),
    };
    let mut all: Vec<Target> = definition.groups().iter().map(group).collect();
    all.extend(definition.targets().iter().map(target));
    // Names that start with _ are there to be inherited.
    all.retain(|target| !target.name.starts_with('_'));
    all.sort_by(|a, b| (a.name != "default", &a.name).cmp(&(b.name != "default", &b.name)));
    all
}

fn variables(definition: &Definition) -> Vec<Variable> {
    let variable = |variable: &pipeline::bake::Variable| Variable {
        name: variable.name.clone(),
        kind: variable.kind.clone(),
        value: variable.value.clone(),
        description: variable.description.clone(),
    };
    definition.variables().iter().map(variable).collect()
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 3]> = match self {
            Self::Targets(targets) => targets
                .iter()
                .map(|target| [target.name.clone(), target.targets.join(", "), target.description.clone()])
                .collect(),
            Self::Variables(variables) => variables
                .iter()
                .map(|variable| {
                    let value = variable.value.as_deref().unwrap_or("<null>");
                    let kind = if variable.kind.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", variable.kind)
                    };
                    [format!("{}{kind}", variable.name), value.to_owned(), variable.description.clone()]
                })
                .collect(),
        };
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [name, value, description] in &rows {
            let line = format!("{name:first$}  {value:second$}  {description}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
