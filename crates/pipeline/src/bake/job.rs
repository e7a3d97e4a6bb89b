//! Targets as builds: what the engine does for each, in the order of their links, and what it cannot do
//! for one, said with the place in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use builder::sandbox::{NamedLimit, Network};
use oci::{Annotations, Platform, Reference};

use super::entries::{Entry, Secret, Ssh};
use super::error::BakeError;
use super::path;
use super::select::Bake;
use super::target::Target;
use crate::place::Place;

/// One target to build.
#[derive(Clone, Debug)]
pub struct Job {
    /// The target.
    pub target: String,
    /// The folder that COPY reads, or its address.
    pub context: String,
    /// The Dockerfile.
    pub dockerfile: Dockerfile,
    /// The stage to build.
    pub stage: Option<String>,
    /// Values for ARG.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: Annotations,
    /// Annotations of each manifest.
    pub manifest_annotations: Annotations,
    /// Annotations of the index, where there is one.
    pub index_annotations: Annotations,
    /// Platforms, one at least.
    pub platforms: Vec<Platform>,
    /// What names in the Dockerfile stand for.
    pub bases: BTreeMap<String, NamedBase>,
    /// Names for the image.
    pub tags: Vec<Reference>,
    /// Where it goes besides the local store.
    pub destinations: Vec<Destination>,
    /// Whether every step runs.
    pub no_cache: bool,
    /// Secrets for steps.
    pub secrets: Vec<Secret>,
    /// Agents for steps.
    pub ssh: Vec<Ssh>,
    /// The network of steps that say none.
    pub network: Network,
    /// Further lines for `/etc/hosts` of steps.
    pub hosts: Vec<(IpAddr, String)>,
    /// Whether steps may ask for all rights.
    pub insecure: bool,
    /// Size of the `/dev/shm` of steps, in bytes.
    pub shared_memory: Option<u64>,
    /// Limits of the processes of steps.
    pub limits: Vec<NamedLimit>,
    /// Whether registries of base images are asked even where the local store has them.
    pub pull: bool,
    /// Stages of which every step runs.
    pub no_cache_filter: Vec<String>,
    /// Caches outside this machine to look steps up in, in the words of `--cache-from`.
    pub cache_from: Vec<String>,
    /// Caches outside this machine to put steps into, in the words of `--cache-to`.
    pub cache_to: Vec<String>,
    /// Whether nobody asked for it but another target.
    pub linked: bool,
}

impl Job {
    /// Whether its context is fetched from elsewhere.
    pub fn is_fetched(&self) -> bool {
        path::is_remote(&self.context)
    }
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dockerfile {
    /// In a file of this machine.
    File(String),
    /// In a context that is fetched, by its name there; `None` for the usual one.
    Fetched(Option<String>),
    /// In the definition itself.
    Text(String),
}

/// What a name in the Dockerfile stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedBase {
    /// The image of another target.
    Target(String),
    /// An image somewhere.
    Image(Place),
    /// A folder.
    Folder(String),
    /// A git repository or an archive at an address.
    Address(String),
}

/// Where an image goes besides the local store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// To the registries that its names say.
    Registry,
    /// Anywhere else, in the words of `--output`.
    Output(String),
}

/// Returns the builds of all targets, those first that others are linked to.
///
/// # Errors
/// The target, key and place of what the engine does not do.
pub fn jobs(bake: &Bake) -> Result<Vec<Job>, BakeError> {
    let mut jobs = Vec::new();
    let mut done = BTreeSet::new();
    while done.len() < bake.targets.len() {
        let before = done.len();
        for (name, target) in &bake.targets {
            let links = target.contexts.values().filter_map(|context| context.strip_prefix("target:"));
            if !done.contains(name) && links.into_iter().all(|link| done.contains(link)) {
                jobs.push(job(target).map_err(|(key, reason)| bake.at(target, key, reason))?);
                done.insert(name.clone());
            }
        }
        if done.len() == before {
            return Err(BakeError::Links("targets are linked in a circle".to_owned()));
        }
    }
    Ok(jobs)
}

type Wrong = (&'static str, String);

fn job(target: &Target) -> Result<Job, Wrong> {
    refuse(target)?;
    let context = target.context.clone().unwrap_or_else(|| ".".to_owned());
    if context.contains("://") && !path::is_remote(&context) {
        let reason =
            format!("{context} is none that can be fetched: a git repository or an archive at a URL");
        return Err(("context", reason));
    }
    let (manifest_annotations, index_annotations) = annotations(target)?;
    let tags =
        target.tags.iter().flatten().map(|tag| tag.parse().map_err(|error| ("tags", format!("{error}"))));
    let mut tags: Vec<Reference> = tags.collect::<Result<_, _>>()?;
    let destinations = destinations(target, &mut tags)?;
    let mut platforms = super::check::platforms(target).map_err(|reason| ("platforms", reason))?;
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(Job {
        target: target.name.clone(),
        dockerfile: dockerfile(target, &context)?,
        context,
        stage: target.stage.clone(),
        args: target.args.clone(),
        labels: target.labels.clone(),
        manifest_annotations,
        index_annotations,
        platforms,
        bases: bases(target)?,
        tags,
        destinations,
        no_cache: target.no_cache == Some(true),
        secrets: target.secrets.clone().unwrap_or_default(),
        ssh: target.ssh.clone().unwrap_or_default(),
        network: network(target)?,
        hosts: hosts(target)?,
        insecure: target.entitlements.iter().flatten().any(|one| one == "security.insecure"),
        shared_memory: target.shm_size.as_deref().and_then(super::compose::bytes).map(|bytes| bytes as u64),
        limits: limits(target)?,
        pull: target.pull == Some(true),
        no_cache_filter: target.no_cache_filter.clone().unwrap_or_default(),
        cache_from: target.cache_from.iter().flatten().map(Entry::words).collect(),
        cache_to: target.cache_to.iter().flatten().map(Entry::words).collect(),
        linked: target.linked,
    })
}

/// Refuses what the engine does not do; silence would be another image than the one asked for.
fn refuse(target: &Target) -> Result<(), Wrong> {
    let unsupported = |key: &'static str, what: &str| {
        Err((key, format!("{what} by this version; take the key out, or build this target elsewhere")))
    };
    match target.call.as_deref() {
        None | Some("build" | "") => {}
        Some(_) => return unsupported("call", "nothing but a build is done"),
    }
    match target.attest.iter().flatten().any(|attestation| !attestation.disabled) {
        true => unsupported("attest", "attestations are not made by bake"),
        false => Ok(()),
    }
}

fn network(target: &Target) -> Result<Network, Wrong> {
    match target.network.as_deref() {
        None | Some("" | "default" | "host") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(("network", format!("{other} is not known; default, none and host are"))),
    }
}

fn limits(target: &Target) -> Result<Vec<NamedLimit>, Wrong> {
    let parse = |limit: &String| limit.parse().map_err(|reason| ("ulimits", reason));
    target.ulimits.iter().flatten().map(parse).collect()
}

fn hosts(target: &Target) -> Result<Vec<(IpAddr, String)>, Wrong> {
    let mut hosts = Vec::new();
    for (name, addresses) in &target.extra_hosts {
        for address in addresses.split(',') {
            let parsed = address.trim().trim_matches(['[', ']']).parse();
            let parsed =
                parsed.map_err(|_| ("extra-hosts", format!("{name}: {address:?} is not an address")))?;
            hosts.push((parsed, name.clone()));
        }
    }
    Ok(hosts)
}

fn dockerfile(target: &Target, context: &str) -> Result<Dockerfile, Wrong> {
    if let Some(text) = &target.dockerfile_inline {
        return Ok(Dockerfile::Text(text.clone()));
    }
    let given = target.dockerfile.as_deref();
    let name = given.unwrap_or("Dockerfile");
    if let Some(local) = name.strip_prefix("cwd://") {
        return Ok(Dockerfile::File(path::clean(local)));
    }
    if path::is_remote(name) || name.contains("://") {
        let reason = format!("{name} is an address; a Dockerfile lies in the context, or here (cwd://FILE)");
        return Err(("dockerfile", reason));
    }
    Ok(match name {
        _ if path::is_remote(context) => {
            Dockerfile::Fetched(given.filter(|name| *name != "Dockerfile").map(str::to_owned))
        }
        name if name.starts_with('/') => Dockerfile::File(name.to_owned()),
        name => Dockerfile::File(path::clean(&format!("{context}/{name}"))),
    })
}

fn bases(target: &Target) -> Result<BTreeMap<String, NamedBase>, Wrong> {
    let base = |(name, context): (&String, &String)| {
        let image = |place: String| {
            let place: Place =
                place.parse().map_err(|error: crate::place::InvalidPlace| ("contexts", error.to_string()))?;
            Ok((name.clone(), NamedBase::Image(place)))
        };
        if let Some(target) = context.strip_prefix("target:") {
            return Ok((name.clone(), NamedBase::Target(target.to_owned())));
        }
        if let Some(reference) = context.strip_prefix("docker-image://") {
            return image(reference.to_owned());
        }
        if let Some(layout) = context.strip_prefix("oci-layout://") {
            return image(format!("oci:{layout}"));
        }
        if path::is_remote(context) {
            return Ok((name.clone(), NamedBase::Address(context.clone())));
        }
        if context.contains("://") && !context.starts_with("cwd://") {
            let reason = format!(
                "{name} = {context:?} is not known; folders, addresses of repositories and archives, target:, \
                 docker-image:// and oci-layout:// are"
            );
            return Err(("contexts", reason));
        }
        Ok((name.clone(), NamedBase::Folder(context.trim_start_matches("cwd://").to_owned())))
    };
    target.contexts.iter().map(base).collect()
}

/// Annotations without a type are those of the manifests, as with the neighbour.
fn annotations(target: &Target) -> Result<(Annotations, Annotations), Wrong> {
    let (mut manifest, mut index) = (Annotations::new(), Annotations::new());
    for text in target.annotations.iter().flatten() {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let (types, name) = name.split_once(':').unwrap_or(("manifest", name));
        for kind in types.split(',') {
            let into = match kind {
                "manifest" => &mut manifest,
                "index" => &mut index,
                other => {
                    return Err((
                        "annotations",
                        format!(
                            "{other}: only annotations of manifest and index are written by this version"
                        ),
                    ));
                }
            };
            into.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok((manifest, index))
}

fn destinations(target: &Target, tags: &mut Vec<Reference>) -> Result<Vec<Destination>, Wrong> {
    let mut destinations = Vec::new();
    for output in target.outputs.iter().flatten() {
        let is_pushed = output.attributes.get("push").is_some_and(|push| push == "true");
        if output.kind == "registry" || output.kind == "image" && is_pushed {
            destinations.push(Destination::Registry);
        }
        // Also of what needs nothing to be done: what is wrong with it is to be said.
        destinations.push(Destination::Output(output.without("name").words()));
        add_names(output, tags)?;
    }
    if destinations.contains(&Destination::Registry) {
        if let Some(local) = tags.iter().find(|tag| tag.repository().registry().is_local()) {
            return Err(("tags", format!("{local} names no registry to push to")));
        }
        if tags.is_empty() {
            return Err(("output", "a tag is needed to push: there is no name to push to".to_owned()));
        }
    }
    destinations.sort();
    destinations.dedup();
    Ok(destinations)
}

fn add_names(output: &Entry, tags: &mut Vec<Reference>) -> Result<(), Wrong> {
    let names = output.attributes.get("name").map(String::as_str).unwrap_or_default();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let name = name.parse().map_err(|error| ("output", format!("{error}")))?;
        if !tags.contains(&name) {
            tags.push(name);
        }
    }
    Ok(())
}
