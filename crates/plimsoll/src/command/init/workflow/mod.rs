//! A draft for what a workflow of GitHub builds: read, replayed, written.

mod text;

use std::collections::BTreeSet;
use std::path::Path;

use forge::github::workflow::{self, Surroundings, WorkflowError};
use pipeline::configuration::{Configuration, IdentityRules, Metadata, Prefix, PushEvent};
use pipeline::git::Checkout;
use pipeline::moving_in::{self, Chosen, Found, FoundService};
use serde_json::{Map, Value, json};

use super::{Draft, NotTaken, Service};
use crate::error::Error;
use crate::session::Session;

/// Reads `file`, finds rules that give the same tags, and writes them down.
///
/// # Errors
/// The file cannot be read, or is no workflow that builds images.
pub(super) fn draft(session: &Session, file: &Path, registry: Option<&Prefix>) -> Result<Draft, Error> {
    let bytes = std::fs::read(file).map_err(|source| Error::file("read", file, source))?;
    let (surroundings, assumed) = surroundings(session);
    let wrong = |source: WorkflowError| Error::Workflow { file: file.to_owned(), source };
    let found = workflow::read(&String::from_utf8_lossy(&bytes), &surroundings).map_err(wrong)?;
    if found.services.is_empty() {
        let message = format!("{} builds its images with a bake file alone", file.display());
        let hint = Some("read that one: plimsoll init --from bake FILE".to_owned());
        return Err(Error::Usage { message, hint });
    }
    let chosen: Vec<Chosen> =
        found.services.iter().map(|service| moving_in::choose(service, &found)).collect();
    let mut taken = Taken::new(&found, chosen, surroundings.repository);
    taken.remarks.extend(assumed);
    let text = text::configuration(&mut taken, file, registry);
    // What is written must read; what does not would be a defect of this room.
    Configuration::parse(&text, "plimsoll.toml")?;
    Ok(taken.draft(text))
}

/// Returns what the clone says of the repository, and what had to be assumed.
fn surroundings(session: &Session) -> (Surroundings, Option<String>) {
    let folder = &session.environment.folder;
    let checkout = Checkout::open(folder).ok();
    let origin = checkout.as_ref().and_then(Checkout::origin);
    let path =
        origin.as_deref().and_then(|url| url.split_once("://")?.1.split_once('/')).map(|(_, path)| path);
    let name = pipeline::configuration::folder_name(folder);
    let repository = path.map_or_else(|| format!("owner/{name}"), str::to_owned);
    let default_branch =
        checkout.as_ref().and_then(Checkout::default_branch).unwrap_or_else(|| "main".to_owned());
    let assumed = path.is_none().then(|| {
        format!("there is no remote `origin` that says the repository's name; {repository} is taken for it")
    });
    (Surroundings { repository, default_branch, now: session.environment.now }, assumed)
}

/// What is to be written, and told.
struct Taken<'a> {
    found: &'a Found,
    chosen: Vec<Chosen>,
    repository: String,
    not_taken: BTreeSet<pipeline::moving_in::NotTaken>,
    remarks: Vec<String>,
}

impl<'a> Taken<'a> {
    fn new(found: &'a Found, chosen: Vec<Chosen>, repository: String) -> Self {
        let mut not_taken: BTreeSet<_> = found.not_taken.iter().cloned().collect();
        not_taken.extend(chosen.iter().flat_map(|chosen| chosen.not_taken.iter().cloned()));
        let mut taken = Self { found, chosen, repository, not_taken, remarks: Vec::new() };
        for service in &found.services {
            for image in service.images.iter().skip(1) {
                let reason = "an image goes to one repository; copy it there afterwards with `plimsoll copy`";
                taken.refuse(service.line, format!("the image `{image}`"), reason);
            }
        }
        taken
    }

    fn refuse(&mut self, line: usize, what: String, reason: impl Into<String>) {
        self.not_taken.insert(pipeline::moving_in::NotTaken { line, what, reason: reason.into() });
    }

    /// Returns the rules of the file: those of the first image.
    fn rules(&self) -> &IdentityRules {
        &self.chosen[0].rules
    }

    /// Returns the rules that an image has of its own, where it may.
    fn own_rules(&mut self, at: usize) -> Option<IdentityRules> {
        let (first, own) = (self.rules().clone(), self.chosen[at].rules.clone());
        if own == first {
            return None;
        }
        let with_rules_of_own = IdentityRules { tag: own.tag.clone(), latest: own.latest, ..first.clone() };
        if own == with_rules_of_own && own.metadata == Metadata::Native {
            return Some(own);
        }
        let service = &self.found.services[at];
        let (line, name) = (service.line, service.name.clone());
        let reason = format!(
            "[identity] has one way to name images, and it is that of `{}`",
            self.found.services[0].name
        );
        self.refuse(line, format!("the way `{name}` is named"), reason);
        None
    }

    /// Returns the kinds of events that push, where not all do.
    fn push_events(&mut self) -> Option<Vec<PushEvent>> {
        let mut pushes = vec![false; self.found.trials.len()];
        for service in &self.found.services {
            let of_service = |at: usize| service.pushes.get(at).copied().unwrap_or(true);
            pushes.iter_mut().enumerate().for_each(|(at, pushes)| *pushes |= of_service(at));
        }
        let (events, mixed) = moving_in::push_events(&self.found.trials, &pushes);
        let line = self.found.services[0].line;
        for kind in mixed {
            let reason = "it pushes in some events of this kind only, and the configuration goes by kind: all of them push";
            self.refuse(line, format!("the condition to push on `{}`", text::push_event(kind)), reason);
        }
        (events.len() < 6).then_some(events)
    }

    fn draft(mut self, text: String) -> Draft {
        self.remark();
        let services =
            self.found.services.iter().map(|service| (service.name.clone(), shown(service))).collect();
        let not_taken = self
            .not_taken
            .iter()
            .map(|not| NotTaken { line: not.line, what: not.what.clone(), reason: not.reason.clone() })
            .collect();
        let mut details = Map::new();
        details.insert("replay".to_owned(), self.replay());
        let unneeded = self.found.unneeded.iter().map(|(line, what)| json!({ "line": line, "what": what }));
        details.insert("unneeded".to_owned(), unneeded.collect());
        Draft { text, services, not_taken, remarks: self.remarks, details }
    }

    /// Says how the replay came out, once for images that are named alike.
    fn remark(&mut self) {
        let mut remarks = Vec::new();
        for (service, chosen) in self.found.services.iter().zip(&self.chosen) {
            let name = &service.name;
            remarks.push(match (&chosen.kept_because, chosen.differences.first()) {
                (None, _) => format!("{name}: {} events replayed with both engines, and the tags are the same in all", chosen.compared),
                (Some(why), None) => format!(
                    "{name}: tags are kept as docker/metadata-action's strings, the same in {} replayed events, because {why}",
                    chosen.compared
                ),
                (Some(why), Some(first)) => format!(
                    "{name}: in {} of {} replayed events the tags are others; for a {} they are {} and were {}. Rules by kind of event do not fit because {why}",
                    chosen.differences.len(),
                    chosen.compared,
                    first.trial,
                    text::listed(&first.found),
                    text::listed(&first.expected)
                ),
            });
            if let Some((trial, reason)) = chosen.refused.first() {
                remarks.push(format!(
                    "{name}: {} events were left out in which the workflow fails or names a tag that no registry takes, such as a {trial}: {reason}",
                    chosen.refused.len()
                ));
            }
        }
        let unneeded: Vec<String> =
            self.found.unneeded.iter().map(|(line, what)| format!("{what} (line {line})")).collect();
        if !unneeded.is_empty() {
            remarks.push(format!("no longer needed: {}", unneeded.join(", ")));
        }
        self.remarks.extend(remarks);
    }

    fn replay(&self) -> Value {
        let both = self.found.services.iter().zip(&self.chosen);
        let of_service = both.map(|(service, chosen)| {
            let engine = if chosen.kept_because.is_none() { "native" } else { "docker" };
            let refused: Vec<Value> = chosen
                .refused
                .iter()
                .map(|(trial, reason)| json!({ "event": trial, "reason": reason }))
                .collect();
            let answer = json!({
                "engine": engine, "compared": chosen.compared, "refused": refused,
                "differences": chosen.differences, "kept_because": chosen.kept_because
            });
            (service.name.clone(), answer)
        });
        Value::Object(of_service.collect())
    }
}

fn shown(service: &FoundService) -> Service {
    let context = service.context.clone().unwrap_or_else(|| ".".to_owned());
    let beside = Path::new(&context).join("Dockerfile");
    let beside = if context == "." { "Dockerfile".into() } else { beside };
    Service { dockerfile: service.dockerfile.clone().map_or(beside, Into::into), context: context.into() }
}
