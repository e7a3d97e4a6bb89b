//! All compose files as one: `include` and `extends` are followed, files are laid over each other.

use std::collections::BTreeMap;

use super::interpolate;
use super::merge::lay;
use super::tree::{Branch, Tree, line_starts};
use crate::bake::error::{Fault, Source, Sources, Span};
use crate::bake::world::World;
use crate::yaml;

/// More files than this are refused.
const MOST_FILES: usize = 200;

/// Services and secrets of all files.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) services: BTreeMap<String, Tree>,
    pub(super) secrets: BTreeMap<String, Tree>,
    pub(super) environment: BTreeMap<String, String>,
    /// What `env_file`s give, by service.
    pub(super) files: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) home: Option<String>,
}

struct Loader<'a> {
    sources: &'a mut Sources,
    world: &'a World<'a>,
    environment: BTreeMap<String, String>,
    /// Documents that `extends` named, by path.
    known: BTreeMap<String, Tree>,
}

impl Project {
    /// Loads the files.
    pub(super) fn load(
        files: &[u16],
        sources: &mut Sources,
        world: &World<'_>,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, Fault> {
        let mut loader = Loader { sources, world, environment, known: BTreeMap::new() };
        loader.name_project(files);
        let mut whole = Tree::empty(Span::default());
        for file in files {
            let document = loader.document(*file)?;
            let document = loader.with_includes(document, 0)?;
            whole = lay("", &whole, &document);
        }
        let services = services_of(&whole)?;
        let mut resolved = BTreeMap::new();
        for (name, span, _) in services.entries() {
            resolved.insert(name.clone(), loader.extended(name, *span, &services, &mut Vec::new())?);
        }
        let secrets = whole.get("secrets").map(Tree::entries).unwrap_or_default();
        let secrets = secrets.iter().map(|(name, _, tree)| (name.clone(), tree.clone())).collect();
        let files = loader.environment_files(&resolved)?;
        let home = world.home.clone();
        Ok(Self { services: resolved, secrets, environment: loader.environment, files, home })
    }
}

fn services_of(document: &Tree) -> Result<Tree, Fault> {
    let fault = |tree: &Tree| tree.must_be("services", "a mapping");
    match document.get("services") {
        Some(services) if matches!(services.value, Branch::Map(_)) => Ok(services.clone()),
        Some(other) => Err(fault(other)),
        None => Err(Fault::new(
            document.span,
            "Invalid compose file",
            "empty compose file: there are no services",
        )),
    }
}

impl Loader<'_> {
    /// Finds the project's name, which variables may use.
    fn name_project(&mut self, files: &[u16]) {
        let mut named = files.iter().rev().filter_map(|file| {
            let node = yaml::read(&self.sources.0[usize::from(*file)].text).ok()?;
            Some(node.get("name")?.text()?.to_owned())
        });
        let name = named.next().unwrap_or_else(|| "bake".to_owned());
        let entry = self.environment.entry("COMPOSE_PROJECT_NAME".to_owned()).or_default();
        if entry.is_empty() {
            *entry = name;
        }
    }

    fn document(&self, number: u16) -> Result<Tree, Fault> {
        let source = &self.sources.0[usize::from(number)];
        let starts = line_starts(source);
        let read = yaml::read(&source.text).map_err(|error| {
            let start = starts.get(error.line - 1).copied().unwrap_or(0) + error.column - 1;
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let span = Span { source: number, start: place(start), end: place(start + 1) };
            Fault::new(span, "Invalid YAML", error.reason)
        })?;
        let fill = |text: &str| interpolate::fill(text, &|name| self.environment.get(name).cloned());
        let tree = Tree::of(&read, number, &starts, &fill)?;
        match tree.value {
            Branch::Map(_) => Ok(tree),
            _ => Err(tree.must_be("the document", "a mapping")),
        }
    }

    /// Reads another file; `span` is where it is named.
    fn open(&mut self, path: &str, span: Span) -> Result<Tree, Fault> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        if self.sources.0.len() >= MOST_FILES {
            return Err(Fault::new(
                span,
                "Too many files",
                format!("more than {MOST_FILES} files are included"),
            ));
        }
        let text = (self.world.files)(path)
            .map_err(|error| Fault::new(span, "Missing file", format!("open {path}: {error}")))?;
        let number = u16::try_from(self.sources.0.len()).unwrap_or(u16::MAX);
        self.sources.0.push(Source { name: path.to_owned(), text });
        let tree = self.document(number)?;
        self.known.insert(path.to_owned(), tree.clone());
        Ok(tree)
    }

    fn with_includes(&mut self, document: Tree, depth: u32) -> Result<Tree, Fault> {
        let Some(include) = document.get("include").cloned() else { return Ok(document) };
        let Branch::List(items) = &include.value else { return Err(include.must_be("include", "a list")) };
        if depth > 10 {
            return Err(Fault::new(include.span, "Too deep", "files include each other in a circle"));
        }
        let mut whole = Tree::empty(document.span);
        for item in items {
            let paths = match (&item.value, item.get("path")) {
                (Branch::Scalar(path, _), _) => vec![path.clone()],
                (_, Some(path)) if matches!(path.value, Branch::Scalar(..)) => {
                    vec![path.text("include.path")?]
                }
                (_, Some(paths)) => paths.texts("include.path")?,
                _ => return Err(item.must_be("include", "a list of paths")),
            };
            for path in paths {
                let included = self.open(&path, item.span)?;
                let included = self.with_includes(included, depth + 1)?;
                whole = lay("", &whole, &included);
            }
        }
        Ok(lay("", &whole, &document))
    }

    /// Returns a service with what it extends.
    fn extended(
        &mut self,
        name: &str,
        span: Span,
        services: &Tree,
        under_way: &mut Vec<String>,
    ) -> Result<Tree, Fault> {
        let Some(service) = services.get(name) else {
            return Err(Fault::new(
                span,
                "Invalid compose file",
                format!("cannot extend service {name}: it is not defined"),
            ));
        };
        let service = match &service.value {
            Branch::Nothing => Tree::empty(service.span),
            Branch::Map(_) => service.clone(),
            _ => return Err(service.must_be(&format!("services.{name}"), "a mapping")),
        };
        let Some(extends) = service.get("extends").cloned() else { return Ok(service) };
        let key = format!("{}:{name}", service.span.source);
        if under_way.contains(&key) {
            return Err(Fault::new(
                extends.span,
                "Invalid compose file",
                format!("services extend each other in a circle: {name}"),
            ));
        }
        under_way.push(key);
        let (file, other) = match &extends.value {
            Branch::Scalar(other, _) => (None, other.clone()),
            _ => {
                let file = extends.get("file").map(|file| file.text("extends.file")).transpose()?;
                let other = extends
                    .get("service")
                    .ok_or_else(|| extends.must_be("extends", "a mapping with service"))?;
                (file, other.text("extends.service")?)
            }
        };
        let base = match file {
            Some(file) => {
                let document = self.open(&file, extends.span)?;
                self.extended(&other, extends.span, &services_of(&document)?, under_way)?
            }
            None => self.extended(&other, extends.span, services, under_way)?,
        };
        under_way.pop();
        Ok(lay("", &base, &service))
    }

    /// Reads the `env_file`s of services that are built.
    fn environment_files(
        &mut self,
        services: &BTreeMap<String, Tree>,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Fault> {
        let mut all = BTreeMap::new();
        for (name, service) in services {
            let Some(named) = service.get("env_file").filter(|named| !named.is_nothing()) else { continue };
            let path = format!("services.{name}.env_file");
            let mut values = BTreeMap::new();
            let single = std::slice::from_ref(named);
            let items = if let Branch::List(items) = &named.value { &items[..] } else { single };
            for (at, item) in items.iter().enumerate() {
                let (file, required) = match item.get("path") {
                    Some(file) => (
                        file.text(&path)?,
                        item.get("required").map(|required| required.truth(&path)).transpose()?,
                    ),
                    None => (item.text(&format!("{path}.{at}"))?, None),
                };
                let text = match (self.world.files)(&file) {
                    Ok(text) => text,
                    Err(_) if required == Some(false) => continue,
                    Err(error) => {
                        return Err(Fault::new(
                            item.span,
                            "Missing file",
                            format!("env file {file}: {error}"),
                        ));
                    }
                };
                let read = super::dotenv::read(&text, &self.environment);
                values.extend(read.map_err(|reason| {
                    Fault::new(item.span, "Invalid env file", format!("{file}: {reason}"))
                })?);
            }
            all.insert(name.clone(), values);
        }
        Ok(all)
    }
}
