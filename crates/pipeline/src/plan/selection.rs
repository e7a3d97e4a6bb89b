//! Which services a run is about.

use std::collections::BTreeSet;

use super::PlanError;
use crate::configuration::{Configuration, Name};

/// Returns the services named, and what they need; all of them where none is named.
pub(super) fn select(
    configuration: &Configuration,
    selection: &[String],
) -> Result<BTreeSet<Name>, PlanError> {
    let services = &configuration.service;
    if selection.is_empty() {
        return Ok(services.keys().cloned().collect());
    }
    let mut waiting = Vec::new();
    for asked in selection {
        let name = services.keys().find(|name| name.as_str() == asked);
        waiting.push(name.ok_or_else(|| unknown(configuration, asked))?.clone());
    }
    let mut selected = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        waiting
            .extend(services[&name].needs.0.values().filter(|needed| !selected.contains(*needed)).cloned());
        selected.insert(name);
    }
    Ok(selected)
}

fn unknown(configuration: &Configuration, asked: &str) -> PlanError {
    let known: Vec<&str> = configuration.service.keys().map(Name::as_str).collect();
    let hint = match crate::suggest::closest(asked, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", known.join(", ")),
    };
    PlanError::UnknownService { name: asked.to_owned(), hint }
}
