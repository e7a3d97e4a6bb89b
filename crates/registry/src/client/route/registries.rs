//! `registries.conf`, version 2: what Podman, Buildah, CRI-O and skopeo know of registries.
//!
//! | key of `[[registry]]` | is |
//! |---|---|
//! | `prefix` | what names begin with, whole parts of a path; `*.example.com` for all hosts below; by default `location` |
//! | `location` | what stands in its place when requests are made |
//! | `insecure` | TLS with any certificate, or none |
//! | `blocked` | names with the prefix are refused |
//! | `mirror-by-digest-only` | mirrors are asked by digest alone |
//! | `[[registry.mirror]]` | `location`, `insecure`, `pull-from-mirror` (`all`, `digest-only`, `tag-only`), in order |
//!
//! The longest prefix counts. Names without a host mean Docker Hub here, so `unqualified-search-registries`,
//! aliases and the modes of short names have no effect. Version 1 of the format is refused.
//! Source: containers-registries.conf(5), containers-registries.conf.d(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Registry, Repository};
use toml_edit::Table;

use super::site::{Security, Site};
use super::{Answers, InvalidRoute, Mirror, Route, invalid, parse, read_text};

/// All rules, by their prefix; a later file takes the place of an earlier rule of the same prefix.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<String, Rule>);

#[derive(Debug)]
struct Rule {
    path: PathBuf,
    prefix: String,
    location: Option<String>,
    security: Security,
    blocked: bool,
    mirrors: Vec<MirrorRule>,
    /// Made once, so that what was found out about them stays known.
    sites: std::sync::Mutex<BTreeMap<String, Arc<Site>>>,
}

#[derive(Clone, Debug)]
struct MirrorRule {
    location: String,
    security: Security,
    answers: Answers,
}

/// Keys that say nothing about where requests go.
const WITHOUT_EFFECT: &[&str] = &[
    "unqualified-search-registries",
    "short-name-mode",
    "aliases",
    "credential-helpers",
    "additional-layer-store-auth-helper",
];

impl Rules {
    pub fn read(file: Option<&Path>, folders: &[PathBuf]) -> Result<Self, InvalidRoute> {
        let mut rules = Self::default();
        let mut files: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
        for folder in folders {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            found.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
            found.sort();
            files.append(&mut found);
        }
        for path in files {
            if let Some(text) = read_text(&path)? {
                rules.add(&path, &text)?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), InvalidRoute> {
        let document = parse(path, text)?;
        for (key, item) in document.iter() {
            match key {
                "registry" => {
                    let wrong = || invalid(path, "registry must be written as [[registry]]");
                    for table in item.as_array_of_tables().ok_or_else(wrong)? {
                        let rule = Rule::of(path, table)?;
                        self.0.insert(rule.prefix.clone(), rule);
                    }
                }
                "registries" => {
                    return Err(invalid(
                        path,
                        "[registries.search] and its neighbours are version 1 of the format: write [[registry]]",
                    ));
                }
                key if WITHOUT_EFFECT.contains(&key) => {}
                other => return Err(invalid(path, format!("unknown key {other:?}"))),
            }
        }
        Ok(())
    }

    /// Returns where requests for a repository go.
    pub fn of(&self, repository: &Repository) -> Result<Route, InvalidRoute> {
        let name = repository.to_string();
        let fitting = self.0.values().filter_map(|rule| Some((covered(&rule.prefix, &name)?, rule)));
        let Some((covered, rule)) = fitting.max_by_key(|(_, rule)| rule.prefix.len()) else {
            return Ok(Route { mirrors: Vec::new(), repository: repository.clone(), home: None });
        };
        if rule.blocked {
            return Err(invalid(&rule.path, format!("{} is blocked", rule.prefix)));
        }
        let rest = &name[covered..];
        let mut mirrors = Vec::new();
        for mirror in &rule.mirrors {
            let repository = rule.named(&mirror.location, rest)?;
            let site = rule.site(repository.registry(), mirror.security);
            mirrors.push(Mirror { site, repository, answers: mirror.answers });
        }
        let target = match &rule.location {
            Some(location) => rule.named(location, rest)?,
            None => repository.clone(),
        };
        let is_moved = target.registry() != repository.registry();
        let home = (is_moved || rule.security != Security::Usual)
            .then(|| rule.site(target.registry(), rule.security));
        Ok(Route { mirrors, repository: target, home })
    }
}

impl Rules {
    /// Returns where a registry is of which a rule speaks as a whole.
    pub fn home(&self, registry: &Registry) -> Result<Option<Arc<Site>>, InvalidRoute> {
        let Some(rule) = self.0.get(registry.as_str()) else { return Ok(None) };
        if rule.blocked {
            return Err(invalid(&rule.path, format!("{} is blocked", rule.prefix)));
        }
        let location = rule.location.as_deref().and_then(|location| location.split('/').next()?.parse().ok());
        let target: Registry = location.unwrap_or_else(|| registry.clone());
        let differs = target != *registry || rule.security != Security::Usual;
        Ok(differs.then(|| rule.site(&target, rule.security)))
    }
}

/// Returns how much of a name a prefix covers; `None` where it is not one. It ends at the end of a part.
fn covered(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = name.split('/').next().unwrap_or_default();
        let bare = host.split(':').next().unwrap_or_default();
        let below = bare.strip_suffix(domain)?.strip_suffix('.')?;
        return (!below.is_empty()).then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

impl Rule {
    fn of(path: &Path, table: &Table) -> Result<Self, InvalidRoute> {
        let keys = Keys { path, table };
        keys.only(&["prefix", "location", "insecure", "blocked", "mirror-by-digest-only", "mirror"])?;
        let (prefix, location) = (keys.text("prefix")?, keys.text("location")?);
        let name = prefix.clone().or_else(|| location.clone());
        let name = name.ok_or_else(|| invalid(path, "a [[registry]] needs a prefix or a location"))?;
        if prefix.as_deref().is_some_and(|prefix| prefix.starts_with("*."))
            && prefix.as_deref().is_some_and(|p| p.contains('/'))
        {
            return Err(invalid(path, format!("prefix {name:?}: after *. only a host may stand")));
        }
        let by_digest = keys.truth("mirror-by-digest-only")?;
        let mut mirrors = Vec::new();
        if let Some(item) = table.get("mirror") {
            let wrong = || invalid(path, "mirror must be written as [[registry.mirror]]");
            for table in item.as_array_of_tables().ok_or_else(wrong)? {
                mirrors.push(MirrorRule::of(&Keys { path, table }, by_digest)?);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            prefix: name.trim_end_matches('/').to_owned(),
            location: location.filter(|location| !location.is_empty()),
            security: keys.security()?,
            blocked: keys.truth("blocked")?,
            mirrors,
            sites: std::sync::Mutex::default(),
        })
    }

    fn named(&self, location: &str, rest: &str) -> Result<Repository, InvalidRoute> {
        let name = format!("{}{rest}", location.trim_end_matches('/'));
        let failed = |error| invalid(&self.path, format!("{name:?} is not a repository: {error}"));
        let (host, path) = name.split_once('/').unwrap_or((&name, ""));
        Repository::new(host.parse().map_err(failed)?, path).map_err(failed)
    }

    fn site(&self, registry: &Registry, security: Security) -> Arc<Site> {
        let mut sites = self.sites.lock().expect("nothing panics while it holds the lock");
        let key = format!("{security:?} {registry}");
        sites.entry(key).or_insert_with(|| Arc::new(Site::new(registry.clone(), security))).clone()
    }
}

impl MirrorRule {
    fn of(keys: &Keys<'_>, by_digest: bool) -> Result<Self, InvalidRoute> {
        keys.only(&["location", "insecure", "pull-from-mirror"])?;
        let location = keys.text("location")?;
        let location =
            location.ok_or_else(|| invalid(keys.path, "a [[registry.mirror]] needs a location"))?;
        let answers = match keys.text("pull-from-mirror")?.as_deref() {
            None | Some("" | "all") => Answers { tags: !by_digest, digests: true },
            Some(_) if by_digest => {
                let reason = "pull-from-mirror and mirror-by-digest-only cannot both be set";
                return Err(invalid(keys.path, reason));
            }
            Some("digest-only") => Answers { tags: false, digests: true },
            Some("tag-only") => Answers { tags: true, digests: false },
            Some(other) => {
                let reason = format!("pull-from-mirror is {other:?}: all, digest-only or tag-only");
                return Err(invalid(keys.path, reason));
            }
        };
        Ok(Self { location, security: keys.security()?, answers })
    }
}

/// The keys of one table.
struct Keys<'a> {
    path: &'a Path,
    table: &'a Table,
}

impl Keys<'_> {
    fn only(&self, known: &[&str]) -> Result<(), InvalidRoute> {
        match self.table.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => Err(invalid(self.path, format!("unknown key {key:?} of a registry"))),
            None => Ok(()),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, InvalidRoute> {
        let Some(item) = self.table.get(key) else { return Ok(None) };
        let text = item.as_str().ok_or_else(|| invalid(self.path, format!("{key} must be text")))?;
        Ok(Some(text.to_owned()))
    }

    fn truth(&self, key: &str) -> Result<bool, InvalidRoute> {
        let Some(item) = self.table.get(key) else { return Ok(false) };
        item.as_bool().ok_or_else(|| invalid(self.path, format!("{key} must be true or false")))
    }

    fn security(&self) -> Result<Security, InvalidRoute> {
        Ok(if self.truth("insecure")? { Security::Either } else { Security::Usual })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(text: &str) -> Result<Rules, String> {
        let mut rules = Rules::default();
        rules.add(Path::new("/c/registries.conf"), text).map_err(|error| error.to_string())?;
        Ok(rules)
    }

    /// Mirrors as `NAME t|d`, then where the repository is, with `!` where that is insecure.
    #[track_caller]
    fn check(text: &str, repository: &str, expected: &[&str]) {
        let route = rules(text).unwrap().of(&repository.parse().unwrap()).unwrap();
        let mark = |site: Option<&Arc<Site>>| match site.map(|site| site.security) {
            Some(Security::Either) => "!",
            _ => "",
        };
        let mut found: Vec<String> = route
            .mirrors
            .iter()
            .map(|mirror| {
                let tags = if mirror.answers.tags { "t" } else { "" };
                let digests = if mirror.answers.digests { "d" } else { "" };
                format!("{}{} {tags}{digests}", mirror.repository, mark(Some(&mirror.site)))
            })
            .collect();
        found.push(format!("{}{}", route.repository, mark(route.home.as_ref())));
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check_refused(text: &str, words: &str) {
        let refused = rules(text).and_then(|rules| {
            rules.of(&"a.example/x".parse().unwrap()).map(drop).map_err(|error| error.to_string())
        });
        let error = refused.unwrap_err();
        assert!(error.contains(words) && error.starts_with("/c/registries.conf"), "{error}");
    }

    /// Source: containers-registries.conf(5), "EXAMPLE".
    const EXAMPLE: &str = r#"
unqualified-search-registries = ["example.com"]
[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"
[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"
[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true
[[registry]]
location = "registry.com"
[[registry.mirror]]
location = "mirror.registry.com"
"#;

    #[test]
    fn the_example_of_the_manual() {
        check(
            EXAMPLE,
            "example.com/foo/image",
            &[
                "example-mirror-0.local/mirror-for-foo/image td",
                "example-mirror-1.local/mirrors/foo/image! td",
                "internal-registry-for-example.com/bar/image",
            ],
        );
        check(EXAMPLE, "example.com/food/image", &["example.com/food/image"]);
        check(EXAMPLE, "registry.com/image", &["mirror.registry.com/image td", "registry.com/image"]);
        check(EXAMPLE, "debian", &["docker.io/library/debian"]);
    }

    #[test]
    fn the_longest_prefix_counts() {
        let text = "[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\nlocation = \"m.example\"\n\
                    [[registry]]\nprefix = \"a.example/x\"\nlocation = \"b.example/y\"\ninsecure = true\n\
                    [[registry]]\nprefix = \"*.wild.example\"\nlocation = \"w.example/all\"\n";
        check(text, "a.example/z", &["m.example/z td", "a.example/z"]);
        check(text, "a.example/x/z", &["b.example/y/z!"]);
        check(text, "deep.er.wild.example:5000/x", &["w.example/all/x"]);
        check(text, "wild.example/x", &["wild.example/x"]);
    }

    #[test]
    fn mirrors_by_tag_and_by_digest() {
        let text = "[[registry]]\nlocation = \"a.example\"\n\
                    [[registry.mirror]]\nlocation = \"d.example\"\npull-from-mirror = \"digest-only\"\n\
                    [[registry.mirror]]\nlocation = \"t.example\"\npull-from-mirror = \"tag-only\"\n";
        check(text, "a.example/x", &["d.example/x d", "t.example/x t", "a.example/x"]);
        let text = "[[registry]]\nlocation = \"a.example\"\nmirror-by-digest-only = true\n\
                    [[registry.mirror]]\nlocation = \"d.example\"\n";
        check(text, "a.example/x", &["d.example/x d", "a.example/x"]);
    }

    #[test]
    fn what_is_wrong_or_blocked_is_told() {
        check_refused("[[registry]]\nlocation = \"a.example\"\nblocked = true\n", "a.example is blocked");
        check_refused("[registries.search]\nregistries = [\"a\"]\n", "version 1");
        check_refused("[[registry]]\nlocation = 1\n", "location must be text");
        check_refused("[[registry]]\ninsecure = true\n", "needs a prefix or a location");
        check_refused("[[registry]]\nlocation = \"a.example\"\nmirrors = 1\n", "unknown key \"mirrors\"");
        check_refused("[[registry]]\nlocation = \"a.example\"\nmirror = 1\n", "[[registry.mirror]]");
        check_refused("[[registry]]\nprefix = \"*.a.example/x\"\nlocation = \"b\"\n", "only a host");
        check_refused("\n\n= 3\n", "line 3");
        let both = "[[registry]]\nlocation = \"a.example\"\nmirror-by-digest-only = true\n\
                    [[registry.mirror]]\nlocation = \"m\"\npull-from-mirror = \"all\"\n";
        rules(both).unwrap();
        check_refused(&both.replace("\"all\"", "\"tag-only\""), "cannot both be set");
        check_refused(&both.replace("\"all\"", "\"never\""), "cannot both be set");
    }

    #[test]
    fn later_files_take_the_place_of_earlier_rules() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registries.conf");
        let rule = |mirror: &str| {
            format!("[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\nlocation = \"{mirror}\"\n")
        };
        std::fs::write(&file, rule("first.example")).unwrap();
        let drop_ins = folder.path().join("registries.conf.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::write(drop_ins.join("10-b.conf"), rule("third.example")).unwrap();
        std::fs::write(drop_ins.join("05-a.conf"), rule("second.example")).unwrap();
        std::fs::write(drop_ins.join("99.txt"), "not toml").unwrap();
        let rules = Rules::read(Some(&file), &[drop_ins]).unwrap();
        let route = rules.of(&"a.example/x".parse().unwrap()).unwrap();
        assert_eq!(route.mirrors[0].repository.to_string(), "third.example/x");
        assert!(Rules::read(Some(&folder.path().join("none")), &[]).unwrap().0.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\[\\[registry\\]\\]|prefix|location|[\\[\\]\"=.*:/\n a-z]){0,20}", name in "[a-z./:*]{0,20}") {
            let _ = rules(&text);
            let _ = covered(&name, "a.b/c");
        }
    }
}
