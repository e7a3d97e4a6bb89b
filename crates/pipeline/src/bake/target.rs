//! A target: what its keys take, and how one target goes over another.

use std::collections::BTreeMap;

use super::convert::convert;
use super::entries::{self, Attestation, Cache, Entry, Output, Secret, Ssh};
use super::error::Span;
use super::value::{Type, Value};

/// Something to build.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    pub(super) inherits: Vec<String>,
    /// Annotations as they are written: `[types:]name=value`.
    pub annotations: Option<Vec<String>>,
    /// Attestations.
    pub attest: Option<Vec<Entry>>,
    /// The folder or address that COPY reads.
    pub context: Option<String>,
    /// Further contexts by name.
    pub contexts: BTreeMap<String, String>,
    /// The Dockerfile, from the context's folder.
    pub dockerfile: Option<String>,
    /// The Dockerfile's text.
    pub dockerfile_inline: Option<String>,
    /// Values for ARG.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Names for the image.
    pub tags: Option<Vec<String>>,
    /// Caches to read.
    pub cache_from: Option<Vec<Entry>>,
    /// Caches to write.
    pub cache_to: Option<Vec<Entry>>,
    /// The stage to build.
    pub stage: Option<String>,
    /// Secrets.
    pub secrets: Option<Vec<Secret>>,
    /// SSH agents.
    pub ssh: Option<Vec<Ssh>>,
    /// Platforms.
    pub platforms: Option<Vec<String>>,
    /// Where the result goes.
    pub outputs: Option<Vec<Entry>>,
    /// Whether base images are looked for anew.
    pub pull: Option<bool>,
    /// Whether every step runs.
    pub no_cache: Option<bool>,
    /// The network of steps.
    pub network: Option<String>,
    /// Stages of which every step runs.
    pub no_cache_filter: Option<Vec<String>>,
    /// Size of /dev/shm.
    pub shm_size: Option<String>,
    /// Limits of steps.
    pub ulimits: Option<Vec<String>>,
    /// What to do instead of a build, such as `check`.
    pub call: Option<String>,
    /// What the build may do that others may not.
    pub entitlements: Option<Vec<String>>,
    /// Addresses of further hosts.
    pub extra_hosts: BTreeMap<String, String>,
    /// Where each key was set last.
    pub(super) places: BTreeMap<&'static str, Span>,
    /// Whether it is there only because another target uses it.
    pub linked: bool,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    Truth,
    Texts,
    TextMap,
    Attestations,
    Caches,
    Outputs,
    Secrets,
    Agents,
}

/// The keys of a target.
const KEYS: [(&str, Shape); 26] = [
    ("description", Shape::Text),
    ("inherits", Shape::Texts),
    ("annotations", Shape::Texts),
    ("attest", Shape::Attestations),
    ("context", Shape::Text),
    ("contexts", Shape::TextMap),
    ("dockerfile", Shape::Text),
    ("dockerfile-inline", Shape::Text),
    ("args", Shape::TextMap),
    ("labels", Shape::TextMap),
    ("tags", Shape::Texts),
    ("cache-from", Shape::Caches),
    ("cache-to", Shape::Caches),
    ("target", Shape::Text),
    ("secret", Shape::Secrets),
    ("ssh", Shape::Agents),
    ("platforms", Shape::Texts),
    ("output", Shape::Outputs),
    ("pull", Shape::Truth),
    ("no-cache", Shape::Truth),
    ("network", Shape::Text),
    ("no-cache-filter", Shape::Texts),
    ("shm-size", Shape::Text),
    ("ulimits", Shape::Texts),
    ("call", Shape::Text),
    ("entitlements", Shape::Texts),
];

/// `extra-hosts` is like the others; it stands apart because arrays count.
const EXTRA_HOSTS: (&str, Shape) = ("extra-hosts", Shape::TextMap);

fn keys() -> impl Iterator<Item = (&'static str, Shape)> {
    KEYS.into_iter().chain([EXTRA_HOSTS])
}

/// Returns the names of all keys.
pub(super) fn key_names() -> impl Iterator<Item = &'static str> {
    keys().map(|(name, _)| name)
}

/// Returns the key's name as it is known here.
pub(super) fn known_key(name: &str) -> Option<&'static str> {
    key_names().find(|known| *known == name)
}

impl Target {
    /// Returns the targets that this one inherits from, as it is defined.
    pub fn inherited(&self) -> impl Iterator<Item = &str> {
        self.inherits.iter().map(String::as_str)
    }

    /// Whether the context is fetched through SSH, for which an agent is needed that nobody names.
    pub fn needs_agent(&self) -> bool {
        let named = self.ssh.as_ref().is_some_and(|agents| !agents.is_empty());
        !named && self.context.as_deref().is_some_and(super::path::is_git_ssh)
    }

    /// Returns where a key was set, for messages.
    pub(super) fn place(&self, key: &str) -> Option<Span> {
        self.places.get(key).copied()
    }

    /// Sets a key to what an expression gave; returns the value that other expressions see.
    pub(super) fn set(&mut self, key: &str, value: &Value, span: Span) -> Result<Value, String> {
        let Some((key, shape)) = keys().find(|(name, _)| *name == key) else {
            return Err(format!("unknown key {key}"));
        };
        self.places.insert(key, span);
        match shape {
            Shape::Text => self.set_text(key, convert(value, &Type::String)?),
            Shape::Truth => {
                let value = convert(value, &Type::Bool)?;
                let truth = if let Value::Bool(truth) = value { Some(truth) } else { None };
                *(if key == "pull" { &mut self.pull } else { &mut self.no_cache }) = truth;
                Ok(value)
            }
            Shape::Texts => self.set_texts(key, convert(value, &Type::List(Box::new(Type::String)))?),
            Shape::TextMap => self.set_map(key, convert(value, &Type::Map(Box::new(Type::String)))?),
            _ => self.set_entries(key, shape, value),
        }
    }

    fn set_text(&mut self, key: &str, value: Value) -> Result<Value, String> {
        let text = value.as_str().map(str::to_owned);
        let field = match key {
            "context" => &mut self.context,
            "dockerfile" => &mut self.dockerfile,
            "dockerfile-inline" => &mut self.dockerfile_inline,
            "target" => &mut self.stage,
            "network" => &mut self.network,
            "shm-size" => &mut self.shm_size,
            "call" => &mut self.call,
            _ => {
                self.description = text.unwrap_or_default();
                return Ok(Value::string(&self.description));
            }
        };
        *field = text;
        Ok(value)
    }

    pub(super) fn texts(&mut self, key: &str) -> Option<&mut Option<Vec<String>>> {
        match key {
            "annotations" => Some(&mut self.annotations),
            "tags" => Some(&mut self.tags),
            "platforms" => Some(&mut self.platforms),
            "no-cache-filter" => Some(&mut self.no_cache_filter),
            "ulimits" => Some(&mut self.ulimits),
            "entitlements" => Some(&mut self.entitlements),
            _ => None,
        }
    }

    fn set_texts(&mut self, key: &str, value: Value) -> Result<Value, String> {
        let items = value.items();
        if items.is_some_and(|items| items.iter().any(Value::is_null)) {
            return Err("an element is null: string required".to_owned());
        }
        let texts = items.map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        match self.texts(key) {
            Some(field) => *field = texts,
            None => self.inherits = texts.unwrap_or_default(),
        }
        Ok(value)
    }

    pub(super) fn map(&mut self, key: &str) -> &mut BTreeMap<String, String> {
        match key {
            "contexts" => &mut self.contexts,
            "args" => &mut self.args,
            "labels" => &mut self.labels,
            _ => &mut self.extra_hosts,
        }
    }

    fn set_map(&mut self, key: &str, value: Value) -> Result<Value, String> {
        let entries = value.entries().into_iter().flatten();
        if key == "contexts" && entries.clone().any(|(_, value)| value.is_null()) {
            return Err("a context is null: string required".to_owned());
        }
        let given = entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        *self.map(key) = given.collect();
        Ok(value)
    }

    fn set_entries(&mut self, key: &str, shape: Shape, value: &Value) -> Result<Value, String> {
        match shape {
            Shape::Attestations => {
                let read = entries::read_all::<Attestation>(value)?;
                let shown = shown(&read);
                self.attest = read.map(|entries| entries.into_iter().map(|entry| entry.0).collect());
                Ok(shown)
            }
            Shape::Caches => {
                let read = entries::read_all::<Cache>(value)?;
                let shown = shown(&read);
                let field = if key == "cache-to" { &mut self.cache_to } else { &mut self.cache_from };
                *field = read.map(|entries| entries.into_iter().map(|entry| entry.0).collect());
                Ok(shown)
            }
            Shape::Outputs => {
                let read = entries::read_all::<Output>(value)?;
                let shown = shown(&read);
                self.outputs = read.map(|entries| entries.into_iter().map(|entry| entry.0).collect());
                Ok(shown)
            }
            Shape::Secrets => {
                self.secrets = entries::read_all(value)?;
                Ok(shown(&self.secrets))
            }
            _ => {
                self.ssh = entries::read_all(value)?;
                Ok(shown(&self.ssh))
            }
        }
    }

    /// Lays another target over this one: what it says wins, or is added.
    pub(super) fn merge(&mut self, other: &Target) {
        over(&mut self.context, &other.context);
        over(&mut self.dockerfile, &other.dockerfile);
        over(&mut self.dockerfile_inline, &other.dockerfile_inline);
        over(&mut self.tags, &other.tags);
        over(&mut self.stage, &other.stage);
        over(&mut self.call, &other.call);
        over(&mut self.platforms, &other.platforms);
        over(&mut self.cache_to, &other.cache_to);
        over(&mut self.outputs, &other.outputs);
        over(&mut self.pull, &other.pull);
        over(&mut self.no_cache, &other.no_cache);
        over(&mut self.network, &other.network);
        over(&mut self.shm_size, &other.shm_size);
        for (own, more) in [
            (&mut self.args, &other.args),
            (&mut self.contexts, &other.contexts),
            (&mut self.labels, &other.labels),
            (&mut self.extra_hosts, &other.extra_hosts),
        ] {
            own.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        add(&mut self.annotations, &other.annotations);
        add(&mut self.attest, &other.attest);
        add(&mut self.secrets, &other.secrets);
        add(&mut self.ssh, &other.ssh);
        add(&mut self.cache_from, &other.cache_from);
        add(&mut self.no_cache_filter, &other.no_cache_filter);
        add(&mut self.ulimits, &other.ulimits);
        add(&mut self.entitlements, &other.entitlements);
        if !other.description.is_empty() {
            self.description.clone_from(&other.description);
        }
        self.inherits.extend(other.inherits.iter().cloned());
        self.places.extend(other.places.iter().map(|(key, span)| (*key, *span)));
        self.normalize_entries();
    }

    fn normalize_entries(&mut self) {
        if let Some(attest) = &mut self.attest {
            entries::one_of_each_type(attest);
        }
        self.secrets.iter_mut().for_each(entries::without_doubles);
        self.ssh.iter_mut().for_each(entries::without_doubles);
        let fields = [&mut self.cache_from, &mut self.cache_to, &mut self.outputs];
        fields.into_iter().flatten().for_each(entries::without_doubles);
    }

    /// Leaves out what is double or empty, as the neighbour prints it.
    pub(super) fn normalize(&mut self) {
        self.normalize_entries();
        if self.network.as_deref() == Some("host") {
            self.entitlements.get_or_insert_default().push("network.host".to_owned());
        }
        for key in ["annotations", "tags", "platforms", "no-cache-filter", "ulimits", "entitlements"] {
            if let Some(Some(texts)) = self.texts(key) {
                let mut seen = std::collections::BTreeSet::new();
                texts.retain(|text| !text.is_empty() && seen.insert(text.clone()));
            }
        }
        self.contexts.retain(|_, value| !value.is_empty());
    }
}

fn shown<T: entries::TwoForms>(entries: &Option<Vec<T>>) -> Value {
    entries.as_ref().map_or(Value::Null, |entries| entries::list_value(entries))
}

fn over<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
    if other.is_some() {
        own.clone_from(other);
    }
}

fn add<T: Clone>(own: &mut Option<Vec<T>>, other: &Option<Vec<T>>) {
    if let Some(more) = other {
        own.get_or_insert_default().extend(more.iter().cloned());
    }
}
