//! docker/build-push-action's inputs.

use pipeline::moving_in::{FoundSecret, FoundService, NotTaken};

use super::WorkflowError;
use super::document::{Step, Text};
use super::naming::Named;
use super::steps::Reader;

/// Inputs that have no place in the configuration, and what to do.
const REASONS: [(&str, &str); 21] = [
    ("add-hosts", "steps of a build have no names of hosts added"),
    ("allow", "steps of a build get no entitlements"),
    ("attests", "attestations are made by `plimsoll attest`, for the digest that was tested"),
    ("build-contexts", "only images of other services can stand in for a name (`needs`)"),
    ("builder", "what builds is `[defaults] engine`"),
    ("call", "checks of a Dockerfile are not part of a run"),
    ("cgroup-parent", "steps of a build are not limited by control groups"),
    ("network", "steps of a build have the network that the engine gives them"),
    ("no-cache", "say `--no-cache` when you run it"),
    ("no-cache-filters", "the cache is switched off for all steps (`--no-cache`) or none"),
    ("outputs", "images go to the registry by digest, and to archives under `.plimsoll/images`"),
    ("provenance", "attestations are made by `plimsoll attest`, for the digest that was tested"),
    ("pull", "there is no such switch: name base images by digest where they must not be old"),
    ("secret-envs", "it is no `id=VARIABLE`"),
    ("secret-files", "it is no `id=path`"),
    ("secrets", "it is no `id=value` of a secret or a variable"),
    ("shm-size", "steps of a build have the shared memory that the engine gives them"),
    ("ssh", "steps of a build get no SSH agent; give them a key as a secret"),
    ("ulimit", "steps of a build have the limits of whoever runs it"),
    (
        "annotations",
        "annotations of a build that no metadata step gives are written under [identity.annotations]",
    ),
    ("metadata-file", "what was built is in the ledger"),
];

/// Reads a step with docker/build-push-action.
pub(super) fn take(
    step: &Step,
    reader: &Reader<'_>,
    named: Named,
    runs: Vec<bool>,
    not_taken: &mut Vec<NotTaken>,
) -> Result<FoundService, WorkflowError> {
    let service = FoundService {
        line: step.line,
        images: named.images,
        naming: named.naming,
        runs,
        pushes: vec![false; reader.trials()],
        ..FoundService::default()
    };
    let mut taking = Taking { reader, service, not_taken };
    for (name, text) in step.with.iter().filter(|(_, text)| !text.text.trim().is_empty()) {
        taking.input(name, text)?;
    }
    let Taking { mut service, .. } = taking;
    for (pushes, runs) in service.pushes.iter_mut().zip(&service.runs) {
        *pushes &= runs;
    }
    Ok(service)
}

struct Taking<'a> {
    reader: &'a Reader<'a>,
    service: FoundService,
    not_taken: &'a mut Vec<NotTaken>,
}

impl Taking<'_> {
    fn input(&mut self, name: &str, text: &Text) -> Result<(), WorkflowError> {
        match name {
            "context" => {
                self.service.context =
                    self.constant(name, text)?.and_then(|context| self.folder(text, context))
            }
            "file" => self.service.dockerfile = self.constant(name, text)?.map(|file| clean(&file)),
            "target" => self.service.target = self.constant(name, text)?.filter(|target| !target.is_empty()),
            "platforms" => self.platforms(text)?,
            "push" => self.pushes(text)?,
            "build-args" => self.arguments(text)?,
            "secrets" | "secret-envs" | "secret-files" => self.secrets(name, text),
            "cache-from" | "cache-to" => self.caches(name, text)?,
            "labels" => {
                let own = self.reader.phrases(Some(text))?;
                self.service
                    .naming
                    .labels
                    .extend(own.into_iter().filter(|phrase| !phrase.source().contains("steps.")));
            }
            "annotations" if text.text.contains("steps.") => {}
            "sbom" => self.service.sbom = text.text.trim() != "false",
            "provenance" if text.text.trim() == "false" => {}
            "outputs" => self.outputs(text)?,
            "load" | "tags" | "github-token" => {}
            other => self.refuse(text, &format!("`{other}`"), reason(other)),
        }
        Ok(())
    }

    fn constant(&mut self, name: &str, text: &Text) -> Result<Option<String>, WorkflowError> {
        match self.reader.constant(text)? {
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(reason) => {
                self.refuse(text, &format!("`{name}: {}`", text.text.trim()), &reason);
                Ok(None)
            }
        }
    }

    fn folder(&mut self, text: &Text, context: String) -> Option<String> {
        let inner = context.strip_prefix("{{defaultContext}}").map(|rest| rest.trim_start_matches(':'));
        let context = clean(inner.unwrap_or(&context));
        if context.contains("://") || context.contains("{{") {
            self.refuse(text, "`context`", "contexts are folders of the project, and this is an address");
            return None;
        }
        Some(context).filter(|context| context != ".")
    }

    fn platforms(&mut self, text: &Text) -> Result<(), WorkflowError> {
        if let Some(platforms) = self.constant("platforms", text)? {
            let platforms =
                platforms.split([',', '\n']).map(str::trim).filter(|platform| !platform.is_empty());
            self.service.platforms = platforms.map(str::to_owned).collect();
        }
        Ok(())
    }

    fn pushes(&mut self, text: &Text) -> Result<(), WorkflowError> {
        let answers = self.reader.condition(text)?;
        if let Some(Err(unknown)) = answers.iter().find(|answer| answer.is_err()) {
            let reason = format!("{unknown} is only known in a run; images are pushed in every event");
            self.refuse(text, &format!("`push: {}`", text.text.trim()), &reason);
        }
        self.service.pushes = answers.into_iter().map(|answer| answer.unwrap_or(true)).collect();
        Ok(())
    }

    /// Pushing by digest to put platforms together later is what a run does by itself.
    fn outputs(&mut self, text: &Text) -> Result<(), WorkflowError> {
        if text.text.contains("push-by-digest=true") || text.text.contains("push=true") {
            self.service.pushes = vec![true; self.reader.trials()];
            return Ok(());
        }
        self.refuse(text, "`outputs`", reason("outputs"));
        Ok(())
    }

    fn arguments(&mut self, text: &Text) -> Result<(), WorkflowError> {
        for entry in text.entries() {
            let Some((name, value)) = entry.text.split_once('=') else {
                self.refuse(
                    &entry,
                    &format!("the argument `{}`", entry.text),
                    "it has no value: arguments do not come from the environment",
                );
                continue;
            };
            let value = Text { text: value.to_owned(), line: entry.line };
            match self.reader.constant(&value)? {
                Ok(value) => {
                    drop(self.service.args.insert(name.trim().to_owned(), unquoted(&value).to_owned()))
                }
                Err(reason) => self.refuse(&entry, &format!("the argument `{}`", entry.text), &reason),
            }
        }
        Ok(())
    }

    /// A secret of the host comes in by a variable of the same name, which the workflow sets.
    fn secrets(&mut self, name: &str, text: &Text) {
        for entry in text.entries() {
            let Some((id, value)) = entry.text.split_once('=') else {
                self.refuse(&entry, &format!("`{}`", entry.text), reason(name));
                continue;
            };
            let (id, value) = (unquoted(id.trim()), unquoted(value.trim()));
            let found = match name {
                "secret-envs" => FoundSecret::Environment(value.to_owned()),
                "secret-files" => FoundSecret::File(value.to_owned()),
                _ => {
                    let named =
                        value.strip_prefix("${{").and_then(|value| value.trim().strip_prefix("secrets."));
                    let named = named.map_or(id, |name| name.trim_end_matches('}').trim());
                    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
                    let variable: String = named.chars().map(word).collect();
                    let reason = format!(
                        "set the variable {variable} to it where plimsoll runs: values of secrets stand in no file"
                    );
                    self.refuse(&entry, &format!("the value of the secret `{id}`"), &reason);
                    FoundSecret::Environment(variable)
                }
            };
            self.service.secrets.insert(id.to_owned(), found);
        }
    }

    fn caches(&mut self, name: &str, text: &Text) -> Result<(), WorkflowError> {
        for entry in text.entries() {
            let known = match self.reader.constant(&entry)? {
                Ok(known) => known,
                Err(reason) => {
                    self.refuse(&entry, &format!("`{name}: {}`", entry.text), &reason);
                    continue;
                }
            };
            let places = places(&known, name == "cache-from");
            if places.is_empty() {
                let reason =
                    "there is no such cache: ci, registry, image, s3 and local are known to [defaults.cache]";
                self.refuse(&entry, &format!("`{name}: {known}`"), reason);
            }
            let list = if name == "cache-from" {
                &mut self.service.cache_read
            } else {
                &mut self.service.cache_write
            };
            list.extend(places);
        }
        Ok(())
    }

    fn refuse(&mut self, text: &Text, what: &str, reason: &str) {
        self.not_taken.push(NotTaken { line: text.line, what: what.to_owned(), reason: reason.to_owned() });
    }
}

/// Returns a cache of BuildKit as places of ours.
fn places(cache: &str, is_read: bool) -> Vec<String> {
    let field =
        |name: &str| cache.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let braces = |text: &str| text.replace('{', "{{").replace('}', "}}");
    match field("type") {
        Some("gha") if is_read => vec!["ci:{branch}".to_owned(), "ci:{default}".to_owned()],
        Some("gha") => vec!["ci:{branch}".to_owned()],
        Some("registry") => {
            field("ref").map(|reference| format!("registry:{}", braces(reference))).into_iter().collect()
        }
        Some("local") => {
            let folder = field(if is_read { "src" } else { "dest" });
            folder.map(|folder| format!("local:{}", braces(folder))).into_iter().collect()
        }
        Some("inline") => vec!["image:{image}:{default}".to_owned()],
        None if is_read && !cache.contains('=') => vec![format!("registry:{}", braces(cache))],
        _ => Vec::new(),
    }
}

fn reason(name: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| *known == name);
    known.map_or("docker/build-push-action has no such input that is known here", |(_, reason)| reason)
}

fn clean(path: &str) -> String {
    let path = path.trim().trim_start_matches("./").trim_end_matches('/');
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cache: &str, read: &[&str], write: &[&str]) {
        assert_eq!(
            (places(cache, true), places(cache, false)),
            (
                read.iter().map(|place| (*place).to_owned()).collect(),
                write.iter().map(|place| (*place).to_owned()).collect()
            ),
            "{cache}"
        );
    }

    #[test]
    fn caches_of_the_neighbour() {
        check("type=gha,scope=api", &["ci:{branch}", "ci:{default}"], &["ci:{branch}"]);
        check("type=registry,ref=a/b:cache,mode=max", &["registry:a/b:cache"], &["registry:a/b:cache"]);
        check("a/b:cache", &["registry:a/b:cache"], &[]);
        check("type=local,src=/x,dest=/y", &["local:/x"], &["local:/y"]);
        check("type=azblob,name=x", &[], &[]);
    }

    #[test]
    fn every_input_has_a_reason_or_none_is_needed() {
        assert!(reason("ssh").contains("SSH"));
        assert!(reason("xyzzy").contains("no such input"));
        assert_eq!(
            (clean("./a/b/"), clean("./"), unquoted("\"a\"")),
            ("a/b".to_owned(), ".".to_owned(), "a")
        );
    }
}
