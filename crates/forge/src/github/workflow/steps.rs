//! From jobs, legs and steps to images.

use std::cell::Cell;
use std::collections::BTreeSet;

use pipeline::moving_in::{Found, FoundService, NotTaken, Phrase, Piece};
use regex::Regex;
use serde_json::Value;

use super::document::{Job, Step, Text, Workflow};
use super::filter::Triggers;
use super::naming::{self, Named as NamedImages};
use super::scope::StepScope;
use super::trials::{self, Named, Tried};
use super::{Surroundings, WorkflowError, build, matrix};
use crate::github::expression::{self, Template, is_true, text_of};

const METADATA: &str = "docker/metadata-action";
const BUILD: &str = "docker/build-push-action";
const BAKE: &[&str] = &["docker/bake-action", "docker/bake-action/subaction/list-targets"];
const UNNEEDED: &[&str] =
    &["docker/setup-qemu-action", "docker/setup-buildx-action", "docker/setup-docker-action"];

/// Takes over what a workflow says.
pub(super) fn take(
    workflow: &Workflow,
    text: &str,
    surroundings: &Surroundings,
) -> Result<Found, WorkflowError> {
    let triggers = Triggers::new(&workflow.on);
    let named = named(text, &triggers);
    let tried = trials::trials(&triggers, &named, surroundings);
    let inputs = inputs(&triggers);
    let mut taking =
        Taking { workflow, tried: &tried, inputs: &inputs, found: Found::default(), namings: Vec::new() };
    for job in &workflow.jobs {
        taking.job(job)?;
    }
    let mut found = taking.finish()?;
    found.branches = named.branches.into_iter().collect();
    found.trials = tried.iter().map(|tried| tried.trial.clone()).collect();
    found.not_taken.sort();
    found.not_taken.dedup();
    found.unneeded.dedup();
    Ok(found)
}

/// Returns the branches and tags that stand in filters and expressions.
fn named(text: &str, triggers: &Triggers<'_>) -> Named {
    let mut named = Named::default();
    let is_plain = |pattern: &&str| !pattern.contains(['*', '?', '+', '[', '!']);
    let filters =
        ["push", "pull_request", "pull_request_target"].map(|event| triggers.patterns(event, "branches"));
    named
        .branches
        .extend(filters.iter().flatten().filter(|pattern| is_plain(pattern)).map(|name| (*name).to_owned()));
    let find = |pattern: &str| -> Vec<String> {
        let pattern = Regex::new(pattern).expect("the pattern is a literal");
        pattern.captures_iter(text).take(50).map(|found| found[1].to_owned()).collect()
    };
    let branches = [
        r"refs/heads/([^'\s{}]+)'",
        r"(?:ref_name|head_ref|base_ref)\s*[!=]=\s*'([^'\s]+)'",
        r"\bbranch=([A-Za-z0-9._/-]+)",
        r"startsWith\(\s*github\.(?:ref_name|head_ref|base_ref)\s*,\s*'([^'\s]+)'",
    ];
    for name in branches.iter().flat_map(|pattern| find(pattern)) {
        if !name.ends_with(['/', '-', '.']) {
            named.branches.insert(name.clone());
        }
        if !text.contains(&format!("== 'refs/heads/{name}'")) {
            named.branches.insert(format!("{name}3_x"));
        }
    }
    for name in find(r"refs/tags/([^'\s{}]*)'") {
        named.tags.extend([format!("{name}16.31"), format!("{name}16.31.47")]);
    }
    named
}

/// Returns the inputs that have a value when nobody gives one.
fn inputs(triggers: &Triggers<'_>) -> Value {
    let mut known = serde_json::Map::new();
    for event in ["workflow_dispatch", "workflow_call"] {
        let inputs = triggers.get(event).and_then(|event| event.get("inputs"));
        for (name, input) in inputs.map(pipeline::yaml::Node::entries).unwrap_or_default() {
            let default = input.get("default").map(matrix::json);
            let is_given =
                event == "workflow_call" && input.get("required").and_then(|node| node.truth()) == Some(true);
            if let (Some(name), false) = (name.text(), default.is_none() && is_given) {
                known.insert(name.to_owned(), default.unwrap_or(Value::Null));
            }
        }
    }
    Value::Object(known)
}

/// A workflow while it is taken over.
struct Taking<'a> {
    workflow: &'a Workflow,
    tried: &'a [Tried],
    inputs: &'a Value,
    found: Found,
    /// Every metadata step so far, with its job and id.
    namings: Vec<(String, Option<String>, NamedImages)>,
}

/// What texts of a step are read with.
pub(super) struct Reader<'a> {
    tried: &'a [Tried],
    leg: &'a Value,
    inputs: &'a Value,
    env: Vec<&'a [(String, Text)]>,
}

impl<'a> Taking<'a> {
    fn job(&mut self, job: &'a Job) -> Result<(), WorkflowError> {
        if let Some(calls) = &job.calls {
            let reason = "it is another workflow: read its file with `plimsoll init --from workflow`";
            self.not_taken(calls.line, format!("`uses: {}`", calls.text), reason);
        }
        let is_docker = |step: &Step| matches!(step.action.as_deref(), Some(action) if action == METADATA || action == BUILD || BAKE.contains(&action));
        if !job.steps.iter().any(is_docker) {
            return Ok(());
        }
        let legs = matrix::legs(job.matrix.as_ref()).unwrap_or_else(|reason| {
            let line = job.matrix.as_ref().map_or(job.line, |node| node.line);
            self.not_taken(line, format!("the matrix of job `{}`", job.id), &reason);
            vec![Value::Object(serde_json::Map::new())]
        });
        for leg in &legs {
            for step in &job.steps {
                self.step(job, step, leg)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, job: &'a Job, step: &'a Step, leg: &Value) -> Result<(), WorkflowError> {
        let reader = Reader {
            tried: self.tried,
            leg,
            inputs: self.inputs,
            env: vec![&step.env, &job.env, &self.workflow.env],
        };
        match step.action.as_deref() {
            Some(METADATA) => {
                let named = naming::take(step, &reader, &mut self.found.not_taken)?;
                self.namings.push((job.id.clone(), step.id.clone(), named));
            }
            Some(BUILD) => {
                let runs = self.runs(job, step, &reader)?;
                let naming = self.naming_for(job, step, &reader)?;
                let service = build::take(step, &reader, naming, runs, &mut self.found.not_taken)?;
                self.add(FoundService { job: job.id.clone(), ..service }, leg);
            }
            Some(action) if BAKE.contains(&action) => {
                let reason =
                    "what it builds is in the bake file: read that with `plimsoll init --from bake FILE`";
                self.not_taken(step.line, step.title(), reason);
            }
            Some(action) if UNNEEDED.contains(&action) => {
                let unneeded = (step.line, action.to_owned());
                if !self.found.unneeded.contains(&unneeded) {
                    self.found.unneeded.push(unneeded);
                }
            }
            Some("docker/login-action") => {
                let reason =
                    "keep the step, or use `plimsoll login`: credentials are read from Docker's file";
                self.not_taken(step.line, step.title(), reason);
            }
            Some("actions/checkout") => {}
            Some(_) | None if step.action.is_some() || step.is_script => {
                let reason = "it stays in the workflow; what tests the image can become a [suite]";
                self.not_taken(step.line, step.title(), reason);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns in which trials a step runs.
    fn runs(&mut self, job: &Job, step: &Step, reader: &Reader<'_>) -> Result<Vec<bool>, WorkflowError> {
        let mut runs = vec![true; self.tried.len()];
        for condition in [&job.condition, &step.condition].into_iter().flatten() {
            let answers = reader.condition(condition)?;
            let what = format!("`if: {}`", condition.text.trim());
            if let Some(Err(unknown)) = answers.iter().find(|answer| answer.is_err()) {
                let reason = format!(
                    "{unknown} is only known in a run; `paths` of a service tells what makes it change"
                );
                self.not_taken(condition.line, what, &reason);
            } else if answers.contains(&Ok(false)) {
                let reason = "images are built in every event that plimsoll is run for: keep the condition in the workflow";
                self.not_taken(condition.line, what, reason);
            }
            for (runs, answer) in runs.iter_mut().zip(answers) {
                *runs &= answer.unwrap_or(true);
            }
        }
        Ok(runs)
    }

    /// Returns the tags of a build: of the steps it names, else its own, else those of the job's last
    /// metadata step, else of any job's (where images are put together in another job).
    fn naming_for(&self, job: &Job, step: &Step, reader: &Reader<'_>) -> Result<NamedImages, WorkflowError> {
        let of_id = |id: &str| {
            let known = self.namings.iter().rev();
            known
                .filter(|(of, named, _)| *of == job.id && named.as_deref() == Some(id))
                .map(|(.., named)| named)
                .next()
        };
        for input in ["tags", "labels", "annotations"].iter().filter_map(|name| step.input(name)) {
            for id in step_ids(input)? {
                if let Some(named) = of_id(&id) {
                    return Ok(named.clone());
                }
            }
        }
        if let Some(tags) = step.input("tags") {
            return naming::of_references(tags, reader);
        }
        let last = self.namings.iter().rev().find(|(of, ..)| *of == job.id);
        let any = || self.namings.first().or(None);
        match last.or_else(any) {
            Some((.., named)) => Ok(named.clone()),
            None => self.first_metadata(reader),
        }
    }

    /// Returns the first metadata step of a job that comes later in the file.
    fn first_metadata(&self, reader: &Reader<'_>) -> Result<NamedImages, WorkflowError> {
        let steps = self.workflow.jobs.iter().flat_map(|job| job.steps.iter().map(move |step| (job, step)));
        let Some((job, step)) = steps.into_iter().find(|(_, step)| step.action.as_deref() == Some(METADATA))
        else {
            return Ok(NamedImages::default());
        };
        let reader = Reader { env: vec![&step.env, &job.env, &self.workflow.env], ..*reader };
        naming::take(step, &reader, &mut Vec::new())
    }

    /// Adds an image, or joins it with one that is the same: another platform, or a build for tests.
    fn add(&mut self, mut service: FoundService, leg: &Value) {
        let source = |service: &FoundService| {
            (
                service.context.clone(),
                service.dockerfile.clone(),
                service.target.clone(),
                service.args.clone(),
            )
        };
        for known in &mut self.found.services {
            let is_same = source(known) == source(&service)
                && known.naming == service.naming
                && known.images == service.images;
            let one_is_test = known.job == service.job
                && source(known) == source(&service)
                && (never(&known.pushes) != never(&service.pushes));
            if is_same || one_is_test {
                let tests = if never(&known.pushes) { known.line } else { service.line };
                if one_is_test && !is_same {
                    self.found.unneeded.push((
                        tests,
                        "a second build for tests: the digest that was built is tested".to_owned(),
                    ));
                }
                return join(known, service);
            }
        }
        let taken: BTreeSet<&str> = self.found.services.iter().map(|service| service.name.as_str()).collect();
        service.name = free_name(&service, leg, &taken);
        self.found.services.push(service);
    }

    fn not_taken(&mut self, line: usize, what: String, reason: &str) {
        self.found.not_taken.push(NotTaken { line, what, reason: reason.to_owned() });
    }

    fn finish(mut self) -> Result<Found, WorkflowError> {
        if self.found.services.is_empty() {
            for (job, _, named) in std::mem::take(&mut self.namings) {
                let service = FoundService {
                    images: named.images,
                    naming: named.naming,
                    line: named.line,
                    job,
                    ..FoundService::default()
                };
                let what = "what the image is built of".to_owned();
                self.not_taken(
                    service.line,
                    what,
                    "no step with docker/build-push-action says it; `.` and `Dockerfile` are taken",
                );
                self.add(service, &Value::Null);
            }
        }
        let is_bake = |step: &Step| matches!(step.action.as_deref(), Some(action) if BAKE.contains(&action));
        let has_bake = self.workflow.jobs.iter().flat_map(|job| &job.steps).any(is_bake);
        if self.found.services.is_empty() && !has_bake {
            return Err(WorkflowError::NoImage);
        }
        Ok(self.found)
    }
}

fn never(pushes: &[bool]) -> bool {
    !pushes.is_empty() && pushes.iter().all(|pushes| !pushes)
}

fn join(known: &mut FoundService, other: FoundService) {
    for platform in other.platforms {
        if !known.platforms.contains(&platform) {
            known.platforms.push(platform);
        }
    }
    if never(&known.pushes) && !never(&other.pushes) {
        (known.images, known.naming, known.line) = (other.images, other.naming, other.line);
        known.cache_read.extend(other.cache_read);
        known.cache_write.extend(other.cache_write);
        known.runs.clone_from(&other.runs);
    } else if !never(&other.pushes) {
        known.runs.iter_mut().zip(&other.runs).for_each(|(runs, other)| *runs |= other);
    }
    known.pushes.iter_mut().zip(&other.pushes).for_each(|(pushes, other)| *pushes |= other);
    known.secrets.extend(other.secrets);
}

/// Returns the ids of the steps whose outputs a text names.
fn step_ids(text: &Text) -> Result<Vec<String>, WorkflowError> {
    let template = parse(text)?;
    let paths = template.expressions().flat_map(expression::Expression::paths).collect::<Vec<_>>();
    let id = |path: &String| Some(path.strip_prefix("steps.")?.split('.').next()?.to_owned());
    Ok(paths.iter().filter_map(id).collect())
}

fn parse(text: &Text) -> Result<Template, WorkflowError> {
    Template::parse(&text.text).map_err(|source| {
        // Expressions seldom go over lines: the first line that is none alone is the one.
        let lines = text.text.lines().enumerate();
        let wrong = lines.filter(|(_, line)| Template::parse(line).is_err()).map(|(at, _)| at).next();
        WorkflowError::Expression { line: text.line + wrong.unwrap_or(0), source }
    })
}

/// Names an image for its repository, else for its job; then for what tells it from the others.
fn free_name(service: &FoundService, leg: &Value, taken: &BTreeSet<&str>) -> String {
    let image = service.images.first().and_then(|image| image.rsplit('/').next()).map(slug);
    let base = image.filter(|name| !name.is_empty()).unwrap_or_else(|| slug(&service.job));
    let base = if base.is_empty() { "image".to_owned() } else { base };
    let folder = service.context.as_deref().and_then(|context| context.rsplit('/').next()).map(slug);
    let values = leg.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()).map(slug);
    let more = service.target.iter().map(|target| slug(target)).chain(values).chain(folder);
    let more = more.filter(|word| !word.is_empty() && *word != base);
    let candidates = more.map(|word| format!("{base}-{word}")).collect::<Vec<_>>();
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(candidates).chain(numbered);
    names.find(|name| name.len() < 64 && !taken.contains(name.as_str())).unwrap_or(base)
}

fn slug(text: &str) -> String {
    let mut slug = pipeline::identity::slug(text);
    slug.truncate(50);
    slug.trim_end_matches('-').to_owned()
}

impl Reader<'_> {
    fn scope<'b>(&'b self, tried: &'b Tried) -> StepScope<'b> {
        StepScope {
            github: &tried.github,
            matrix: self.leg,
            inputs: self.inputs,
            env: self.env.clone(),
            depth: Cell::new(0),
        }
    }

    /// Reads a text, and evaluates what is computed in it for every trial.
    pub(super) fn phrase(&self, text: &Text) -> Result<Phrase, WorkflowError> {
        let template = parse(text)?;
        let pieces = template.pieces.iter().map(|piece| match piece {
            expression::Piece::Text(text) => Piece::Text(text.clone()),
            expression::Piece::Expression(expression) => self.computed(expression),
        });
        Ok(Phrase { line: text.line, pieces: pieces.collect() })
    }

    fn computed(&self, expression: &expression::Expression) -> Piece {
        let value = |tried: &Tried| match expression.evaluate(&self.scope(tried)) {
            Ok(value) => Ok(text_of(&value)),
            Err(unknown) => Err(unknown.what),
        };
        let values: Vec<Result<String, String>> = self.tried.iter().map(value).collect();
        match values.first() {
            Some(Ok(first)) if values.iter().all(|value| value.as_ref() == Ok(first)) => {
                Piece::Text(first.clone())
            }
            _ => Piece::Computed { source: expression.source().to_owned(), values },
        }
    }

    /// Reads a list with an entry a line.
    pub(super) fn phrases(&self, text: Option<&Text>) -> Result<Vec<Phrase>, WorkflowError> {
        text.map(Text::entries).unwrap_or_default().iter().map(|entry| self.phrase(entry)).collect()
    }

    /// Returns a text that is the same in all trials, or why there is none.
    pub(super) fn constant(&self, text: &Text) -> Result<Result<String, String>, WorkflowError> {
        let phrase = self.phrase(text)?;
        Ok(phrase.constant(self.tried.len().max(1)).ok_or_else(|| match phrase.unknown() {
            Some(unknown) => format!("{unknown} is only known in a run"),
            None => "it depends on the event, and the configuration goes by kind of event for tags alone"
                .to_owned(),
        }))
    }

    /// Evaluates a condition in all trials.
    pub(super) fn condition(&self, text: &Text) -> Result<Vec<Result<bool, String>>, WorkflowError> {
        let template = Template::parse_condition(&text.text)
            .map_err(|source| WorkflowError::Expression { line: text.line, source })?;
        let value = |tried: &Tried| -> Result<bool, String> {
            let scope = self.scope(tried);
            match template.pieces.as_slice() {
                [expression::Piece::Expression(only)] => {
                    only.evaluate(&scope).map(|value| is_true(&value)).map_err(|unknown| unknown.what)
                }
                _ => template
                    .render(&scope)
                    .map(|text| !matches!(text.trim(), "" | "false"))
                    .map_err(|unknown| unknown.what),
            }
        };
        Ok(self.tried.iter().map(value).collect())
    }

    /// Returns how many trials there are.
    pub(super) fn trials(&self) -> usize {
        self.tried.len()
    }

    /// Returns a variable of the step, its job or the workflow, where nothing in it is computed.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let mut layers = self.env.iter().flat_map(|layer| layer.iter());
        layers.find(|(key, _)| key == name).map(|(_, text)| text.text.as_str())
    }
}
