//! A draft for the Dockerfiles of a project: one service for each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pipeline::configuration::Prefix;

use super::{Draft, Service, quoted};
use crate::error::Error;

/// Folders that hold other people's projects or results.
const SKIPPED: [&str; 6] = ["node_modules", "target", "vendor", "dist", "testdata", "__pycache__"];

/// How deep Dockerfiles are looked for.
const DEPTH: usize = 5;

/// Finds the Dockerfiles in `root` and below.
///
/// # Errors
/// Folders that cannot be read; `Usage` where there is no Dockerfile.
pub(super) fn draft(root: &Path, registry: Option<&Prefix>) -> Result<Draft, Error> {
    let services = name_services(root, find_dockerfiles(root)?);
    if services.is_empty() {
        return Err(Error::Usage {
            message: format!("there is no Dockerfile in {} or below", root.display()),
            hint: Some("write one first, or name the folder with -C DIR".to_owned()),
        });
    }
    let text = configuration(registry, &services);
    Ok(Draft { text, services, ..Draft::default() })
}

/// Returns the Dockerfiles below `root`, relative to it, in order.
fn find_dockerfiles(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let cannot = |source| Error::file("read", &folder, source);
        for entry in std::fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let kind = entry.file_type().map_err(cannot)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if kind.is_dir() && depth < DEPTH && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                waiting.push((entry.path(), depth + 1));
            } else if kind.is_file() && is_dockerfile(&name) {
                let path = entry.path();
                found.push(path.strip_prefix(root).expect("it was found below").to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_dockerfile(name: &str) -> bool {
    let other = name.strip_prefix("Dockerfile.").or_else(|| name.strip_suffix(".Dockerfile"));
    name == "Dockerfile" || name == "Containerfile" || other.is_some_and(|other| other != "dockerignore")
}

/// Names each service for its Dockerfile's suffix, else for its folder, else for the project.
fn name_services(root: &Path, dockerfiles: Vec<PathBuf>) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    for dockerfile in dockerfiles {
        let context = dockerfile.parent().filter(|parent| !parent.as_os_str().is_empty());
        let context = context.unwrap_or(Path::new(".")).to_owned();
        let folder = if context == Path::new(".") { root.file_name() } else { context.file_name() };
        let folder = folder.and_then(|name| name.to_str()).unwrap_or("image");
        let file = dockerfile.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let special = file.strip_prefix("Dockerfile.").or_else(|| file.strip_suffix(".Dockerfile"));
        let name = service_name(special.unwrap_or(folder));
        let name = free_name(name, &services);
        services.insert(name, Service { context, dockerfile });
    }
    services
}

/// Returns `text` as a path component of a repository.
fn service_name(text: &str) -> String {
    let mapped = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let words: Vec<String> =
        mapped.collect::<String>().split('-').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if words.is_empty() { "image".to_owned() } else { words.join("-") }
}

fn free_name(name: String, taken: &BTreeMap<String, Service>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken.contains_key(name))
        .expect("it does not end")
}

fn configuration(registry: Option<&Prefix>, services: &BTreeMap<String, Service>) -> String {
    let mut text = String::from("# What `plimsoll run` builds, tests and ships. Every key has a default;\n");
    text.push_str(
        "# `plimsoll schema config` prints all of them, `plimsoll plan` shows what would happen.\n",
    );
    text.push_str("schema = 1\n\n");
    match registry {
        Some(registry) => {
            text.push_str("# Images go to {registry}/{service}.\n");
            text.push_str(&format!("registry = {}\n", quoted(&registry.to_string())));
        }
        None => {
            text.push_str(
                "# Images go to {registry}/{service}; without it to a registry inside the local store.\n",
            );
            text.push_str("# registry = \"ghcr.io/acme\"\n");
        }
    }
    for (name, service) in services {
        text.push_str(&format!("\n[service.{name}]\n"));
        text.push_str(&format!("context = {}\n", quoted(&service.context.to_string_lossy())));
        text.push_str(&format!("dockerfile = {}\n", quoted(&service.dockerfile.to_string_lossy())));
    }
    let first = services.keys().next().expect("there is a service");
    text.push_str("\n# A suite tests the very digest that was built; `run` is started inside the image.\n");
    text.push_str(&format!("# [suite.smoke]\n# image = {}\n# run = [\"/bin/true\"]\n", quoted(first)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dockerfiles: &[&str], expected: &[(&str, &str)]) {
        let services =
            name_services(Path::new("/My Project"), dockerfiles.iter().map(PathBuf::from).collect());
        let found: Vec<(&str, &str)> = services
            .iter()
            .map(|(name, service)| (name.as_str(), service.context.to_str().unwrap()))
            .collect();
        assert_eq!(found, expected);
        let text = configuration(None, &services);
        text.parse::<toml_edit::DocumentMut>().unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    #[test]
    fn services_are_named_for_what_tells_them_apart() {
        check(&["Dockerfile"], &[("my-project", ".")]);
        check(&["api/Dockerfile", "web/Dockerfile"], &[("api", "api"), ("web", "web")]);
        check(&["Dockerfile.worker", "x.Dockerfile"], &[("worker", "."), ("x", ".")]);
        check(&["a/api/Dockerfile", "b/api/Dockerfile"], &[("api", "a/api"), ("api-2", "b/api")]);
        check(&["Ä\"/Dockerfile"], &[("image", "Ä\"")]);
    }

    #[test]
    fn names_of_dockerfiles() {
        for name in ["Dockerfile", "Containerfile", "Dockerfile.dev", "api.Dockerfile"] {
            assert!(is_dockerfile(name), "{name}");
        }
        for name in ["Dockerfile.dockerignore", "Dockerfiles", "dockerfile.md"] {
            assert!(!is_dockerfile(name), "{name}");
        }
    }
}
