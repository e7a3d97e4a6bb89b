//! A service to a target: each key of `build` and of its extension `x-bake`.

use std::collections::BTreeMap;

use super::limits::{bytes, hosts, size, ulimits};
use super::project::Project;
use super::tree::{Branch, Tree};
use crate::bake::entries::{Attestation, Cache, Entry, Output, Secret, Ssh, TwoForms};
use crate::bake::error::{Fault, Sources, Span};
use crate::bake::overrides::parse_text;
use crate::bake::path;
use crate::bake::resolve::Notice;
use crate::bake::target::Target;
use crate::suggest::did_you_mean;

/// Keys of `build`.
const KEYS: [&str; 25] = [
    "context",
    "dockerfile",
    "dockerfile_inline",
    "args",
    "ssh",
    "labels",
    "cache_from",
    "cache_to",
    "no_cache",
    "additional_contexts",
    "network",
    "provenance",
    "sbom",
    "pull",
    "target",
    "shm_size",
    "extra_hosts",
    "isolation",
    "privileged",
    "secrets",
    "tags",
    "ulimits",
    "platforms",
    "entitlements",
    "x-bake",
];

/// Keys that say nothing to a build here.
const WITHOUT_EFFECT: [&str; 3] = ["isolation", "privileged", "entitlements"];

/// Returns the target of a service; `None` where it has no `build`.
pub(super) fn target(
    project: &Project,
    name: &str,
    service: &Tree,
    sources: &Sources,
    notices: &mut Vec<Notice>,
) -> Result<Option<Target>, Fault> {
    let filled = |key: &str| service.get(key).filter(|tree| !tree.is_nothing());
    let image = filled("image").map(|image| image.text(&format!("services.{name}.image"))).transpose()?;
    let Some(build) = filled("build") else {
        return match image {
            Some(_) => Ok(None),
            None => Err(Fault::new(
                service.span,
                "Invalid compose file",
                format!("service {name:?} has neither an image nor a build context specified"),
            )
            .hint("give it `image` or `build`")),
        };
    };
    let mut target = Target { name: name.replace('.', "_"), ..Target::default() };
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if target.name.is_empty() || !target.name.chars().all(allowed) {
        return Err(Fault::new(
            service.span,
            "Invalid name",
            format!("invalid service name {name:?}: only letters, digits, . _ and - are allowed"),
        ));
    }
    let builder = Builder { project, service: name, path: format!("services.{name}.build") };
    match &build.value {
        Branch::Scalar(context, _) => builder.set_context(&mut target, context, build.span),
        Branch::Map(entries) => {
            for (key, span, tree) in entries {
                if !KEYS.contains(&key.as_str()) && !key.starts_with("x-") {
                    let meant = did_you_mean(key, KEYS);
                    let detail = format!("{} additional properties '{key}' not allowed{meant}", builder.path);
                    return Err(Fault::new(*span, "Invalid compose file", detail));
                }
                if WITHOUT_EFFECT.contains(&key.as_str()) {
                    let (file, line) = sources.line(*span);
                    notices.push(Notice {
                        file,
                        line,
                        message: format!("the key {key} of service {name} has no effect"),
                    });
                }
                if !tree.is_nothing() || matches!(key.as_str(), "args") {
                    builder.set(&mut target, key, *span, tree, service)?;
                }
            }
            if let Some(extension) = build.get("x-bake").filter(|extension| !extension.is_nothing()) {
                builder.extend(&mut target, extension)?;
            }
        }
        _ => return Err(build.must_be(&builder.path, "a string or a mapping")),
    }
    if target.tags.as_ref().is_none_or(Vec::is_empty) {
        target.tags = image.map(|image| vec![image]);
        let place = service.entries().iter().find(|(key, ..)| key == "image").map(|(_, span, _)| *span);
        target.places.extend(place.map(|span| ("tags", span)));
    }
    Ok(Some(target))
}

struct Builder<'a> {
    project: &'a Project,
    service: &'a str,
    path: String,
}

impl Builder<'_> {
    fn set(
        &self,
        target: &mut Target,
        key: &str,
        span: Span,
        tree: &Tree,
        service: &Tree,
    ) -> Result<(), Fault> {
        let path = format!("{}.{key}", self.path);
        let text = || tree.text(&path);
        let mut place = |known: &'static str| {
            target.places.insert(known, span);
        };
        match key {
            "context" => self.set_context(target, &text()?, span),
            "dockerfile" => {
                place("dockerfile");
                target.dockerfile = Some(text()?).filter(|text| !text.is_empty());
            }
            "dockerfile_inline" => {
                place("dockerfile-inline");
                target.dockerfile_inline = Some(text()?).filter(|text| !text.is_empty());
            }
            "target" => {
                place("target");
                target.stage = Some(text()?).filter(|text| !text.is_empty());
            }
            "network" => {
                place("network");
                target.network = Some(text()?).filter(|text| !text.is_empty());
            }
            "args" => {
                place("args");
                target.args = self.args(tree, &path, service)?;
            }
            "labels" => {
                place("labels");
                let pairs = tree.pairs(&path)?;
                target.labels =
                    pairs.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
            }
            "tags" => {
                place("tags");
                target.tags = Some(tree.texts(&path)?);
            }
            "platforms" => {
                place("platforms");
                target.platforms = Some(tree.texts(&path)?);
            }
            "additional_contexts" => {
                place("contexts");
                target.contexts = self.contexts(tree, &path)?;
            }
            "cache_from" | "cache_to" => {
                let (known, field) = match key {
                    "cache_to" => ("cache-to", &mut target.cache_to),
                    _ => ("cache-from", &mut target.cache_from),
                };
                target.places.insert(known, span);
                let caches: Vec<Cache> = entries(&tree.texts(&path)?, tree)?;
                *field = Some(caches.into_iter().map(|cache| cache.0).collect::<Vec<_>>())
                    .filter(|caches| !caches.is_empty());
            }
            _ => self.set_more(target, key, span, tree, &path)?,
        }
        Ok(())
    }

    fn set_more(
        &self,
        target: &mut Target,
        key: &str,
        span: Span,
        tree: &Tree,
        path: &str,
    ) -> Result<(), Fault> {
        match key {
            "no_cache" => {
                target.places.insert("no-cache", span);
                target.no_cache = Some(tree.truth(path)?).filter(|truth| *truth);
            }
            "pull" => {
                target.places.insert("pull", span);
                target.pull = Some(tree.truth(path)?).filter(|truth| *truth);
            }
            "sbom" | "provenance" => {
                target.places.insert("attest", span);
                let attestations = attestation(key, &tree.text(path)?, tree)?;
                let attest = target.attest.get_or_insert_default();
                // The neighbour puts the bill of materials first, whatever the order in the file.
                let at = if key == "sbom" { 0 } else { attest.len() };
                attest.splice(at..at, attestations);
            }
            "shm_size" => {
                target.places.insert("shm-size", span);
                let bytes =
                    bytes(&tree.text(path)?).ok_or_else(|| tree.must_be(path, "a size such as 128m"))?;
                target.shm_size = (bytes > 0.0).then(|| size(bytes));
            }
            "extra_hosts" => {
                target.places.insert("extra-hosts", span);
                target.extra_hosts = hosts(tree, path)?;
            }
            "ulimits" => {
                target.places.insert("ulimits", span);
                target.ulimits = Some(ulimits(tree, path)?);
            }
            "ssh" => {
                target.places.insert("ssh", span);
                let pairs = tree.pairs(path)?;
                let agent =
                    |(id, path): (String, Option<String>)| Ssh { id, paths: path.into_iter().collect() };
                let mut agents: Vec<Ssh> = pairs.into_iter().map(agent).collect();
                agents.sort();
                target.ssh = Some(agents);
            }
            "secrets" => {
                target.places.insert("secret", span);
                target.secrets = Some(self.secrets(tree, path)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn set_context(&self, target: &mut Target, context: &str, span: Span) {
        target.places.insert("context", span);
        target.context = Some(self.local(context)).filter(|_| !context.is_empty());
    }

    /// Writes a path the shortest way; addresses stay as they are.
    fn local(&self, path: &str) -> String {
        if path.contains("://") || path::is_remote(path) || path.starts_with("service:") {
            return path.to_owned();
        }
        match (
            path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')),
            &self.project.home,
        ) {
            (Some(rest), Some(home)) => path::clean(&format!("{home}{rest}")),
            _ => path::clean(path),
        }
    }

    /// Arguments without a value take it from the service's environment, then from that of the process.
    fn args(&self, tree: &Tree, path: &str, service: &Tree) -> Result<BTreeMap<String, String>, Fault> {
        let mut known = self.project.files.get(self.service).cloned().unwrap_or_default();
        if let Some(environment) = service.get("environment") {
            for (name, value) in environment.pairs(&format!("services.{}.environment", self.service))? {
                let value = value.or_else(|| self.project.environment.get(&name).cloned());
                known.extend(value.map(|value| (name, value)));
            }
        }
        let resolved = tree.pairs(path)?.into_iter().filter_map(|(name, value)| {
            let value = value.or_else(|| known.get(&name).cloned());
            let value = value.or_else(|| self.project.environment.get(&name).cloned());
            Some((name, value?))
        });
        Ok(resolved.collect())
    }

    fn contexts(&self, tree: &Tree, path: &str) -> Result<BTreeMap<String, String>, Fault> {
        let pairs = tree.pairs(path)?.into_iter();
        Ok(pairs.map(|(name, value)| (name, linked(&self.local(&value.unwrap_or_default())))).collect())
    }

    fn secrets(&self, tree: &Tree, path: &str) -> Result<Vec<Secret>, Fault> {
        let Branch::List(items) = &tree.value else { return Err(tree.must_be(path, "a list")) };
        let mut secrets = Vec::new();
        for item in items {
            let source = match item.get("source") {
                Some(source) => source.text(&format!("{path}.source"))?,
                None => item.text(path)?,
            };
            let undefined = || {
                Fault::new(
                    item.span,
                    "Invalid compose file",
                    format!("service {:?} refers to undefined build secret {source}", self.service),
                )
                .hint(format!("define it under secrets: {source}: {{ file: ... }}"))
            };
            let defined = self.project.secrets.get(&source).ok_or_else(undefined)?;
            if defined.get("external").is_some_and(|external| external.truth("external").unwrap_or(true)) {
                return Err(Fault::new(
                    item.span,
                    "Invalid compose file",
                    format!("unsupported external secret {source}"),
                ));
            }
            let take = |key: &str| {
                defined.get(key).map(|tree| tree.text(&format!("secrets.{source}.{key}"))).transpose()
            };
            let file = take("file")?.map(|file| self.local(&file)).unwrap_or_default();
            secrets.push(Secret {
                id: source.clone(),
                file,
                variable: take("environment")?.unwrap_or_default(),
            });
        }
        Ok(secrets)
    }

    /// Adds what `x-bake` says.
    fn extend(&self, target: &mut Target, extension: &Tree) -> Result<(), Fault> {
        for (key, span, tree) in extension.entries() {
            let path = format!("{}.x-bake.{key}", self.path);
            let words = || match &tree.value {
                Branch::Scalar(text, _) => Ok(text.split_whitespace().map(str::to_owned).collect()),
                _ => tree.texts(&path),
            };
            match key.as_str() {
                "tags" => add_words(&mut target.tags, words()?),
                "platforms" => add_words(&mut target.platforms, words()?),
                "no-cache-filter" => add_words(&mut target.no_cache_filter, words()?),
                "cache-from" => add(
                    &mut target.cache_from,
                    entries::<Cache>(&words()?, tree)?.into_iter().map(|entry| entry.0),
                ),
                "cache-to" => add(
                    &mut target.cache_to,
                    entries::<Cache>(&words()?, tree)?.into_iter().map(|entry| entry.0),
                ),
                "output" => add(
                    &mut target.outputs,
                    entries::<Output>(&words()?, tree)?.into_iter().map(|entry| entry.0),
                ),
                "secret" => add(&mut target.secrets, entries::<Secret>(&words()?, tree)?.into_iter()),
                "ssh" => {
                    add(&mut target.ssh, entries::<Ssh>(&words()?, tree)?.into_iter());
                    target.ssh.iter_mut().for_each(|agents| agents.sort());
                }
                "pull" => target.pull = Some(tree.truth(&path)?),
                "no-cache" => target.no_cache = Some(tree.truth(&path)?),
                "contexts" => {
                    for (name, value) in tree.pairs(&path)? {
                        target.contexts.entry(name).or_insert_with(|| linked(&value.unwrap_or_default()));
                    }
                }
                _ => {}
            }
            if let Some(known) = crate::bake::target::known_key(key) {
                target.places.insert(known, *span);
            }
        }
        Ok(())
    }
}

/// A service as a context is the target made of it.
fn linked(context: &str) -> String {
    match context.strip_prefix("service:").or_else(|| context.strip_prefix("target:")) {
        Some(name) => format!("target:{}", name.replace('.', "_")),
        None => context.to_owned(),
    }
}

fn entries<T: TwoForms>(texts: &[String], tree: &Tree) -> Result<Vec<T>, Fault> {
    let read = texts.iter().map(|text| parse_text::<T>(text)).collect::<Result<Vec<_>, _>>();
    Ok(read.map_err(|reason| Fault::new(tree.span, "Invalid compose file", reason))?.concat())
}

fn attestation(kind: &str, text: &str, tree: &Tree) -> Result<Vec<Entry>, Fault> {
    let written = match crate::bake::entries::truth(text) {
        Ok(truth) => format!("type={kind},disabled={}", !truth),
        Err(_) => format!("type={kind},{text}"),
    };
    Ok(entries::<Attestation>(&[written], tree)?.into_iter().map(|attestation| attestation.0).collect())
}

fn add<T>(field: &mut Option<Vec<T>>, more: impl Iterator<Item = T>) {
    field.get_or_insert_default().extend(more);
}

fn add_words(field: &mut Option<Vec<String>>, more: Vec<String>) {
    let texts = field.get_or_insert_default();
    for text in more {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
}
