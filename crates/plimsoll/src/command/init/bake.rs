//! A draft for what a bake file builds: each target that `default` means, or each there is, becomes a
//! service. The draft is checked by loading it and planning with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use oci::{Reference, Registry};
use pipeline::bake::{Bake, Definition, Request, Target};
use pipeline::configuration::{Configuration, Prefix};
use pipeline::plan::{PlanFacts, plan};

use super::{Draft, NotTaken, Service, quoted};
use crate::command::bake::definition;
use crate::env::Environment;
use crate::error::Error;
use crate::session::Session;

/// Reads `file`.
///
/// # Errors
/// The file cannot be read, builds nothing, or what is made of it is no configuration.
pub(super) fn draft(session: &Session, file: &Path, registry: Option<&Prefix>) -> Result<Draft, Error> {
    // The draft must not depend on who makes it: variables have their defaults.
    let environment = Environment { variables: BTreeMap::new(), ..session.environment.clone() };
    let plain = Session::new(environment, session.global.clone(), session.ui.clone());
    let definition = definition::read(&plain, &[file.to_owned()], &[])?;
    let bake = select(&definition)?;
    let mut drafting = Drafting { bake: &bake, draft: Draft::default() };
    let services = drafting.services();
    let text = drafting.configuration(registry, &services);
    let mut draft = Draft { text, ..drafting.draft };
    draft.not_taken.sort_by(|a, b| (a.line, &a.what).cmp(&(b.line, &b.what)));
    let variables: Vec<&str> = definition.variables().iter().map(|variable| variable.name.as_str()).collect();
    if !variables.is_empty() {
        draft.remarks.push(format!("variables have their defaults: {}", variables.join(", ")));
    }
    check(session, &draft)?;
    Ok(draft)
}

/// Chooses the targets: those of `default`, or all that are not there to be inherited from alone.
fn select(definition: &Definition) -> Result<Bake, Error> {
    let default = ["default".to_owned()];
    let has_default =
        definition.groups().iter().any(|group| group.name == "default" && !group.targets.is_empty())
            || definition.targets().iter().any(|target| target.name == "default");
    let inherited: BTreeSet<&str> = definition.targets().iter().flat_map(Target::inherited).collect();
    let own = |target: &&Target| !target.name.starts_with('_') && !inherited.contains(target.name.as_str());
    let all: Vec<String> =
        definition.targets().iter().filter(own).map(|target| target.name.clone()).collect();
    let targets = if has_default { &default[..] } else { &all[..] };
    if targets.is_empty() {
        return Err(Error::usage("the file has no target that could be built"));
    }
    Ok(definition.select(&Request { targets, ..Request::default() }, &BTreeMap::new())?)
}

struct Drafting<'a> {
    bake: &'a Bake,
    draft: Draft,
}

/// A target with the name that its service has.
struct Named<'a> {
    name: String,
    target: &'a Target,
    /// Repository and tag names of the image.
    tags: Vec<Reference>,
}

impl<'a> Drafting<'a> {
    fn leave(&mut self, target: &Target, key: &str, what: String, reason: &str) {
        let (_, line) = self.bake.line(target, key);
        self.draft.not_taken.push(NotTaken { line, what, reason: reason.to_owned() });
    }

    fn services(&mut self) -> Vec<Named<'a>> {
        let mut taken = BTreeSet::new();
        let mut services = Vec::new();
        for target in self.bake.targets.values() {
            let mut name = service_name(&target.name);
            while !taken.insert(name.clone()) {
                name.push('2');
            }
            let mut tags = Vec::new();
            for tag in target.tags.iter().flatten() {
                match tag.parse::<Reference>() {
                    Ok(tag) => tags.push(tag),
                    Err(error) => self.leave(
                        target,
                        "tags",
                        format!("the tag {tag:?} of {}", target.name),
                        &error.to_string(),
                    ),
                }
            }
            services.push(Named { name, target, tags });
        }
        services
    }

    fn configuration(&mut self, given: Option<&Prefix>, services: &[Named<'a>]) -> String {
        let mut text = String::from(
            "# What `plimsoll run` builds, tests and ships, as the bake or compose file had it.\n",
        );
        text.push_str("# `plimsoll schema config` prints all keys, `plimsoll plan` shows what would happen.\nschema = 1\n\n");
        let registry = given.map(ToString::to_string).or_else(|| common_prefix(services));
        match &registry {
            Some(registry) => {
                let _ = writeln!(text, "# Images go to {{registry}}/{{service}}.\nregistry = {}", quoted(registry));
            }
            None => text.push_str("# Images go to {registry}/{service}; without it to a registry inside the local store.\n# registry = \"ghcr.io/acme\"\n"),
        }
        text += &self.rules(services);
        let names: BTreeMap<&str, &str> =
            services.iter().map(|service| (service.target.name.as_str(), service.name.as_str())).collect();
        for service in services {
            text += &self.service(service, registry.as_deref(), &names);
        }
        text
    }

    /// Tags that all services have become the rule of the default branch.
    fn rules(&mut self, services: &[Named<'a>]) -> String {
        let names = |service: &Named<'_>| -> BTreeSet<String> {
            service.tags.iter().filter_map(|tag| tag.tag_or_latest()).map(|tag| tag.to_string()).collect()
        };
        let tagged: Vec<&Named<'_>> = services.iter().filter(|service| !service.tags.is_empty()).collect();
        let Some(first) = tagged.first().map(|service| names(service)) else { return String::new() };
        if tagged.iter().all(|service| names(service) == first) {
            self.draft.remarks.push(
                "tags are given on the default branch; other events have no rule yet ([[identity.tag]])"
                    .to_owned(),
            );
            let tags: Vec<String> = first.iter().map(|tag| quoted(tag)).collect();
            return format!("\n[[identity.tag]]\non = \"default-branch\"\ntags = [{}]\n", tags.join(", "));
        }
        for service in tagged {
            let tags: Vec<String> = names(service).into_iter().collect();
            let what = format!("the tags {} of {}", tags.join(", "), service.target.name);
            self.leave(
                service.target,
                "tags",
                what,
                "services have different ones; tags follow from the event, see [[identity.tag]]",
            );
        }
        String::new()
    }

    fn service(
        &mut self,
        service: &Named<'a>,
        registry: Option<&str>,
        names: &BTreeMap<&str, &str>,
    ) -> String {
        let target = service.target;
        let mut text = format!("\n[service.{}]\n", service.name);
        let context = PathBuf::from(target.context.as_deref().unwrap_or("."));
        let dockerfile = context.join(target.dockerfile.as_deref().unwrap_or("Dockerfile"));
        let dockerfile = clean(&dockerfile);
        let context = clean(&context);
        let _ = writeln!(text, "context = {}\ndockerfile = {}", quoted(&context), quoted(&dockerfile));
        if let Some(stage) = &target.stage {
            let _ = writeln!(text, "target = {}", quoted(stage));
        }
        if let Some(image) = self.image(service, registry) {
            let _ = writeln!(text, "image = {}", quoted(&image));
        }
        if let Some(platforms) = target.platforms.as_ref().filter(|platforms| !platforms.is_empty()) {
            let platforms: Vec<String> = platforms.iter().map(|platform| quoted(platform)).collect();
            let _ = writeln!(text, "platforms = [{}]", platforms.join(", "));
        }
        table(&mut text, "args", target.args.iter().map(|(name, value)| (name.as_str(), quoted(value))));
        let needs: Vec<(&str, String)> = target
            .contexts
            .iter()
            .filter_map(|(name, context)| {
                Some((name.as_str(), quoted(names.get(context.strip_prefix("target:")?)?)))
            })
            .collect();
        table(&mut text, "needs", needs.into_iter());
        let secret = |secret: &pipeline::bake::Secret| match (secret.variable.as_str(), secret.file.as_str())
        {
            ("", "") => format!("{{ env = {} }}", quoted(&secret.id)),
            ("", file) => format!("{{ file = {} }}", quoted(file)),
            (variable, _) => format!("{{ env = {} }}", quoted(variable)),
        };
        let secrets = target.secrets.iter().flatten().map(|one| (one.id.as_str(), secret(one)));
        table(&mut text, "secrets", secrets);
        self.leave_rest(target);
        self.draft
            .services
            .insert(service.name.clone(), Service { context: context.into(), dockerfile: dockerfile.into() });
        text
    }

    /// Returns the repository where it is not what the registry and the service's name give.
    fn image(&mut self, service: &Named<'a>, registry: Option<&str>) -> Option<String> {
        let first = service.tags.first()?.repository();
        let others = service.tags.iter().map(Reference::repository).filter(|other| *other != first);
        for other in others.collect::<BTreeSet<_>>() {
            let what = format!("the name {other} of {}", service.target.name);
            self.leave(
                service.target,
                "tags",
                what,
                "a service has one repository; copy the image there after the run",
            );
        }
        let usual = registry.map(|registry| format!("{registry}/{}", service.name));
        let full = first.to_string();
        (usual.as_deref() != Some(full.as_str())
            && !first.registry().is_docker_hub()
            && !first.registry().is_local())
        .then_some(full)
    }

    fn leave_rest(&mut self, target: &Target) {
        let name = &target.name;
        for (context, value) in &target.contexts {
            if !value.starts_with("target:") {
                let reason =
                    "only images of services can be named; write the image into the Dockerfile's FROM";
                self.leave(target, "contexts", format!("the context {context} = {value} of {name}"), reason);
            }
        }
        let some =
            |list: &Option<Vec<pipeline::bake::Entry>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let texts = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let rest = [
            ("dockerfile-inline", target.dockerfile_inline.is_some(), "write it into a file"),
            (
                "labels",
                !target.labels.is_empty(),
                "labels follow from the commit; further ones go under [identity.labels]",
            ),
            ("annotations", texts(&target.annotations), "labels are repeated as annotations"),
            ("attest", some(&target.attest), "see `sbom` and [sign]"),
            ("cache-from", some(&target.cache_from), "see [defaults.cache]"),
            ("cache-to", some(&target.cache_to), "see [defaults.cache]"),
            (
                "output",
                some(&target.outputs) && !target.linked,
                "images go to the registry; see [handoff] for archives",
            ),
            ("ssh", target.ssh.as_ref().is_some_and(|agents| !agents.is_empty()), "steps get no SSH agent"),
            ("network", target.network.is_some(), "say it in the Dockerfile: RUN --network=..."),
            ("shm-size", target.shm_size.is_some(), "there is no such key"),
            ("ulimits", texts(&target.ulimits), "there is no such key"),
            ("extra-hosts", !target.extra_hosts.is_empty(), "there is no such key"),
            ("no-cache", target.no_cache.is_some(), "say it when you build: --no-cache"),
            ("no-cache-filter", texts(&target.no_cache_filter), "say it when you build: --no-cache"),
            ("pull", target.pull.is_some(), "base images are pinned, or looked up for each run"),
            ("call", target.call.is_some(), "services are built"),
            ("entitlements", texts(&target.entitlements), "steps get no further rights"),
        ];
        for (key, is_set, reason) in rest {
            if is_set {
                self.leave(target, key, format!("the key {key} of {name}"), reason);
            }
        }
    }
}

fn table<'a>(text: &mut String, key: &str, entries: impl Iterator<Item = (&'a str, String)>) {
    let entries: Vec<String> = entries.map(|(name, value)| format!("{} = {value}", quoted(name))).collect();
    if !entries.is_empty() {
        let _ = writeln!(text, "{key} = {{ {} }}", entries.join(", "));
    }
}

/// Returns the name in the form that repositories allow.
fn service_name(target: &str) -> String {
    let mapped = target.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let mapped: String = mapped.collect();
    let words: Vec<&str> = mapped.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "image".to_owned() } else { words.join("-") }
}

/// Returns what stands in front of the last part of all repositories, where it is the same.
fn common_prefix(services: &[Named<'_>]) -> Option<String> {
    let prefix = |service: &Named<'_>| {
        let repository = service.tags.first()?.repository();
        let (before, _) = repository.path().rsplit_once('/')?;
        let registry = repository.registry();
        (!registry.is_local()).then(|| format!("{registry}/{before}"))
    };
    let mut prefixes = services.iter().filter(|service| !service.tags.is_empty()).map(prefix);
    let first = prefixes.next()??;
    prefixes.all(|other| other.as_deref() == Some(first.as_str())).then_some(first)
}

fn clean(path: &Path) -> String {
    let parts: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    if parts.as_os_str().is_empty() { ".".to_owned() } else { parts.display().to_string() }
}

/// Loads the draft, and plans with it where there is a clone to plan for.
fn check(session: &Session, draft: &Draft) -> Result<(), Error> {
    let configuration = Configuration::parse_with(&draft.text, "the draft of plimsoll.toml", &[])?;
    let Ok(event) = session.ui.host().event(&session.environment.folder) else { return Ok(()) };
    let facts = PlanFacts {
        now: session.environment.now,
        subject: None,
        source_date_epoch: None,
        existing_tags: Vec::new(),
        registry_tags: BTreeMap::new(),
        descriptions: BTreeMap::new(),
        last: BTreeMap::new(),
        configuration_path: None,
        registry: Registry::local(),
    };
    plan(&configuration, &event, &facts, &[])?;
    Ok(())
}
