//! `--set TARGET.KEY[.NAME][+]=VALUE`.

use std::collections::BTreeMap;

use super::entries::{self, Attestation, Cache, Entry, Output, Secret, Ssh, TwoForms, truth};
use super::error::BakeError;
use super::path;
use super::target::Target;

/// Overrides of one target, by key.
pub(super) type Overrides = BTreeMap<String, BTreeMap<String, Override>>;

/// What a key is set to.
#[derive(Clone, Debug, Default)]
pub(super) struct Override {
    text: String,
    value: String,
    values: Vec<String>,
    append: bool,
}

/// Keys that take several values.
const LISTS: [&str; 13] = [
    "output",
    "cache-to",
    "cache-from",
    "tags",
    "platform",
    "secrets",
    "ssh",
    "attest",
    "entitlements",
    "annotations",
    "no-cache-filter",
    "ulimits",
    "policy",
];

/// Reads the overrides; a pattern stands for all targets that it matches.
pub(super) fn read(
    given: &[String],
    targets: &[Target],
    environment: &BTreeMap<String, String>,
) -> Result<Overrides, BakeError> {
    let mut overrides = Overrides::new();
    for text in given {
        let refuse = |reason: String| BakeError::Override { text: text.clone(), reason };
        let (path, value) =
            text.split_once('=').map_or((text.as_str(), None), |(path, value)| (path, Some(value)));
        let (path, append) = path.strip_suffix('+').map_or((path, false), |path| (path, true));
        let mut keys = path.splitn(3, '.');
        let pattern = keys.next().unwrap_or_default();
        let Some(key) = keys.next() else {
            return Err(refuse("TARGET.KEY=VALUE is expected, such as app.args.MODE=debug".to_owned()));
        };
        let name = keys.next();
        if value.is_none() && key != "args" {
            return Err(refuse("a value is missing: TARGET.KEY=VALUE".to_owned()));
        }
        if matches!(key, "args" | "contexts" | "labels" | "extra-hosts") && name.is_none() {
            return Err(refuse(format!("{key} needs a name: TARGET.{key}.NAME=VALUE")));
        }
        let value = match value {
            Some(value) => value,
            None => match name.and_then(|name| environment.get(name)) {
                Some(value) => value,
                None => continue,
            },
        };
        let full = name.map_or_else(|| key.to_owned(), |name| format!("{key}.{name}"));
        for target in matching(pattern, targets).ok_or_else(|| {
            let known: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            refuse(format!("could not find any target matching '{pattern}'; there are {}", known.join(", ")))
        })? {
            let entry = overrides.entry(target).or_default().entry(full.clone()).or_default();
            entry.text.clone_from(text);
            match LISTS.contains(&key) {
                true => {
                    entry.append = append;
                    entry.values.push(value.to_owned());
                }
                false => entry.value = value.to_owned(),
            }
        }
    }
    Ok(overrides)
}

fn matching(pattern: &str, targets: &[Target]) -> Option<Vec<String>> {
    let names = || targets.iter().map(|target| target.name.clone());
    let exact: Vec<String> = names().filter(|name| name == pattern).collect();
    let found =
        if exact.is_empty() { names().filter(|name| path::matches(pattern, name)).collect() } else { exact };
    (!found.is_empty()).then_some(found)
}

impl Target {
    /// Applies the overrides of this target.
    pub(super) fn override_keys(&mut self, overrides: &BTreeMap<String, Override>) -> Result<(), BakeError> {
        // `push` and `load` change outputs, so they come after these.
        let late = |key: &str| matches!(key, "push" | "load");
        let (first, last): (Vec<_>, Vec<_>) = overrides.iter().partition(|(key, _)| !late(key));
        for (key, given) in first.into_iter().chain(last) {
            let refuse = |reason: String| BakeError::Override { text: given.text.clone(), reason };
            self.override_key(key, given).map_err(refuse)?;
        }
        Ok(())
    }

    fn override_key(&mut self, path: &str, given: &Override) -> Result<(), String> {
        let (key, name) = path.split_once('.').unwrap_or((path, ""));
        let value = || Some(given.value.clone());
        match key {
            "args" | "contexts" | "labels" | "extra-hosts" => {
                self.map(key).insert(name.to_owned(), given.value.clone());
            }
            "context" => self.context = value(),
            "dockerfile" => self.dockerfile = value(),
            "dockerfile-inline" => self.dockerfile_inline = value(),
            "target" => self.stage = value(),
            "call" => self.call = value(),
            "shm-size" => self.shm_size = value(),
            "network" => self.network = value(),
            "no-cache" => self.no_cache = Some(truth(&given.value)?),
            "pull" => self.pull = Some(truth(&given.value)?),
            "push" => self.override_push(truth(&given.value)?),
            "load" => self.override_load(truth(&given.value)?),
            "tags" | "no-cache-filter" | "ulimits" => self.override_texts(key, given.append, given),
            "platform" => self.override_texts("platforms", given.append, given),
            "entitlements" | "annotations" => self.override_texts(key, true, given),
            _ => return self.override_entries(key, given),
        }
        Ok(())
    }

    fn override_texts(&mut self, key: &str, append: bool, given: &Override) {
        let Some(field) = self.texts(key) else { return };
        let texts = field.get_or_insert_default();
        if !append {
            texts.clear();
        }
        texts.extend(given.values.iter().cloned());
    }

    fn override_entries(&mut self, key: &str, given: &Override) -> Result<(), String> {
        let plain = |entries: Vec<Cache>| entries.into_iter().map(|entry| entry.0).collect::<Vec<Entry>>();
        match key {
            "cache-from" => lay(&mut self.cache_from, plain(parse(given)?), given.append),
            "cache-to" => lay(&mut self.cache_to, plain(parse(given)?), given.append),
            "output" => {
                let outputs: Vec<Output> = parse(given)?;
                lay(&mut self.outputs, outputs.into_iter().map(|entry| entry.0).collect(), given.append);
            }
            "attest" => {
                let attest: Vec<Attestation> = parse(given)?;
                lay(&mut self.attest, attest.into_iter().map(|entry| entry.0).collect(), true);
            }
            "secrets" | "secret" => lay::<Secret>(&mut self.secrets, parse(given)?, given.append),
            "ssh" => lay::<Ssh>(&mut self.ssh, parse(given)?, given.append),
            other => {
                let known = super::target::key_names().chain(["platform", "secrets", "push", "load"]);
                return Err(format!("unknown key: {other}{}", crate::suggest::did_you_mean(other, known)));
            }
        }
        Ok(())
    }

    /// Turns pushing on or off for all outputs; an image that is pushed is added where there is no output for it.
    pub(super) fn override_push(&mut self, push: bool) {
        let outputs = self.outputs.get_or_insert_default();
        if !push {
            outputs.retain(|output| output.kind != "registry");
        }
        for output in outputs.iter_mut().filter(|output| output.kind == "image") {
            output.attributes.insert("push".to_owned(), push.to_string());
        }
        if push && outputs.iter().all(|output| output.kind == "docker") {
            let attributes = BTreeMap::from([("push".to_owned(), "true".to_owned())]);
            outputs.push(Entry { kind: "image".to_owned(), attributes, disabled: false });
        }
    }

    /// Adds an output to the container daemon, unless one goes there or the result is no image.
    pub(super) fn override_load(&mut self, load: bool) {
        let outputs = self.outputs.get_or_insert_default();
        let keeps = |output: &Entry| match output.kind.as_str() {
            "docker" => output.attributes.contains_key("dest"),
            kind => matches!(kind, "image" | "registry" | "oci"),
        };
        if load && outputs.iter().all(keeps) {
            outputs.push(Entry { kind: "docker".to_owned(), ..Entry::default() });
        }
    }
}

fn parse<T: TwoForms>(given: &Override) -> Result<Vec<T>, String> {
    let filled = given.values.iter().filter(|text| !text.is_empty());
    Ok(filled.map(|text| T::read(text)).collect::<Result<Vec<_>, _>>()?.concat())
}

fn lay<T: Clone>(field: &mut Option<Vec<T>>, entries: Vec<T>, append: bool) {
    match (append, field) {
        (true, Some(known)) => known.extend(entries),
        (_, field) => *field = Some(entries),
    }
}

/// Keeps the trait in use for attestations of compose files.
pub(super) fn parse_text<T: TwoForms>(text: &str) -> Result<Vec<T>, String> {
    entries::read_all::<T>(&super::value::Value::strings([text.to_owned()])).map(Option::unwrap_or_default)
}
