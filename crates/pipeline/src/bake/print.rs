//! What `bake --print` shows: the document that the neighbour prints, key for key.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entries::{Entry, Secret, Ssh};
use super::path;
use super::resolve::Group;
use super::select::Bake;
use super::target::Target;

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Printed {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    group: BTreeMap<String, PrintedGroup>,
    target: BTreeMap<String, PrintedTarget>,
}

#[derive(Debug, Serialize)]
struct PrintedGroup {
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    targets: Option<Vec<String>>,
}

type Texts = Option<Vec<String>>;
type Map = BTreeMap<String, String>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PrintedTarget {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    contexts: Map,
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfile_inline: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: Map,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: Map,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_from: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_to: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Vec<Secret>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh: Option<Vec<Ssh>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platforms: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_cache: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_cache_filter: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ulimits: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entitlements: Texts,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra_hosts: Map,
}

impl Bake {
    /// Returns the document of `--print`.
    pub fn printed(&self) -> Printed {
        Printed {
            group: self.groups.iter().map(|(name, group)| (name.clone(), printed_group(group))).collect(),
            target: self
                .targets
                .iter()
                .map(|(name, target)| (name.clone(), printed_target(target)))
                .collect(),
        }
    }
}

fn printed_group(group: &Group) -> PrintedGroup {
    let targets = Some(group.targets.clone()).filter(|targets| !targets.is_empty());
    PrintedGroup { description: group.description.clone(), targets }
}

fn printed_target(target: &Target) -> PrintedTarget {
    let escaped = |map: &Map| map.iter().map(|(name, value)| (name.clone(), escape(value))).collect();
    PrintedTarget {
        description: Some(target.description.clone()).filter(|text| !text.is_empty()),
        annotations: filled(&target.annotations).map(|texts| texts.iter().map(|text| escape(text)).collect()),
        attest: filled(&target.attest),
        context: target.context.clone(),
        contexts: target.contexts.clone(),
        dockerfile: target.dockerfile.clone(),
        dockerfile_inline: target.dockerfile_inline.as_deref().map(escape),
        args: escaped(&target.args),
        labels: escaped(&target.labels),
        tags: filled(&target.tags),
        cache_from: filled(&target.cache_from),
        cache_to: filled(&target.cache_to),
        target: target.stage.clone(),
        secret: filled(&target.secrets),
        ssh: filled(&target.ssh),
        platforms: filled(&target.platforms),
        output: filled(&target.outputs),
        pull: target.pull,
        no_cache: target.no_cache,
        network: target.network.clone(),
        no_cache_filter: filled(&target.no_cache_filter),
        shm_size: target.shm_size.clone(),
        ulimits: filled(&target.ulimits),
        call: target.call.clone(),
        entitlements: filled(&target.entitlements),
        extra_hosts: escaped(&target.extra_hosts),
    }
}

fn filled<T: Clone>(list: &Option<Vec<T>>) -> Option<Vec<T>> {
    list.clone().filter(|list| !list.is_empty())
}

/// Lets what is printed be read again as a definition.
fn escape(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// Writes a context's folder the shortest way.
pub(super) fn clean_paths(target: &mut Target) {
    let Some(context) = &mut target.context else { return };
    if let Some(local) = context.strip_prefix("cwd://") {
        *context = path::clean(local);
    } else if !path::is_remote(context) {
        *context = path::clean(context);
    }
}
