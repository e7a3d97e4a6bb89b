//! Caches outside this machine as flags; the names are buildx's.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use builder::cache::{Limits, OnCacheError, Tiers, Used};
use builder::{Built, EmbeddedEngine};
use oci::Repository;
use pipeline::caches::{self, CacheAccess, CacheName, CacheWrite, Written};
use pipeline::configuration::CacheKind;
use pipeline::place::Places;

use super::output::Made;
use crate::error::{Code, Error};
use crate::session::Session;

/// How long the end of a build waits for caches to be written.
const BUDGET: Duration = Duration::from_mins(10);

/// Where steps are looked up and put besides the local store.
#[derive(Debug, Default, clap::Args)]
pub struct Caches {
    /// Cache to look steps up in: type=registry,ref=REF, local,src=FOLDER, s3,bucket=NAME or gha; the first that knows one wins
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<From>,
    /// Cache to put steps into: type=registry,ref=REF, local,dest=FOLDER, s3,bucket=NAME or gha, with mode=min|max [default: min]
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<To>,
}

/// A cache that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct From {
    cache: CacheName,
    on_error: OnCacheError,
}

/// A cache that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct To {
    cache: CacheName,
    on_error: OnCacheError,
    extent: Extent,
}

/// Which steps are put into a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Those whose layers are in the image.
    Image,
    /// All.
    All,
}

/// Fields of caches in buckets and of the cache service of a CI host, by buildx's names.
const ELSEWHERE: [&str; 7] =
    ["bucket", "region", "prefix", "name", "endpoint_url", "use_path_style", "scope"];

/// The fields of a flag.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    name: Option<String>,
    tag: Option<String>,
    mode: Option<String>,
    /// Those of a bucket or of a CI host's cache service.
    elsewhere: Vec<(&'static str, String)>,
    ignore_error: Option<bool>,
}

impl Fields {
    fn parse(text: &str, folder_key: &str) -> Result<Self, String> {
        let mut fields = Self::default();
        if !text.contains('=') {
            return Ok(Self { kind: Some("registry".to_owned()), name: Some(text.to_owned()), ..fields });
        }
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("{field:?} is not KEY=VALUE"))?;
            let place = match key {
                "type" => &mut fields.kind,
                "ref" => &mut fields.name,
                "mode" => &mut fields.mode,
                "tag" => &mut fields.tag,
                "ignore-error" => {
                    let value =
                        value.parse().map_err(|_| format!("{key} is true or false, not {value:?}"))?;
                    fields.ignore_error = Some(value);
                    continue;
                }
                key if key == folder_key => &mut fields.name,
                key => {
                    if let Some(known) = ELSEWHERE.into_iter().find(|known| *known == key) {
                        fields.elsewhere.push((known, value.to_owned()));
                        continue;
                    }
                    return Err(format!(
                        "{key:?} is not known; a cache has type, ref, {folder_key}, mode and ignore-error"
                    ));
                }
            };
            *place = Some(value.to_owned());
        }
        Ok(fields)
    }

    fn cache(&self, folder_key: &str) -> Result<CacheName, String> {
        let (kind, key) = match self.kind.as_deref() {
            Some("registry") => (CacheKind::Registry, "ref"),
            Some("image") => (CacheKind::Image, "ref"),
            Some("local") => (CacheKind::Local, folder_key),
            Some("inline") => {
                return Err(
                    "type=inline is not done here: layers of an image do not say which step they are of; \
                            use type=image,ref=REF, which attaches that to the image"
                        .to_owned(),
                );
            }
            Some("gha") => return self.in_ci(),
            Some("s3") => return self.in_bucket(),
            Some(other) => {
                return Err(format!("type={other} is not known; it is registry, image, local, gha or s3"));
            }
            None => return Err("type is missing".to_owned()),
        };
        if let Some((key, _)) = self.elsewhere.first() {
            return Err(format!("{key} is for caches of type s3 or gha"));
        }
        if self.tag.is_some() {
            return Err("tag is not known; a folder holds one cache".to_owned());
        }
        let name = self.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("{key} is missing"))?;
        Ok(CacheName { kind, name })
    }

    /// buildx's `scope` is the cache's name; branches are told apart by the service.
    fn in_ci(&self) -> Result<CacheName, String> {
        if let Some((key, _)) = self.elsewhere.iter().find(|(key, _)| *key != "scope") {
            return Err(format!("{key} is not for type=gha, which has scope"));
        }
        let scope = self.elsewhere.first().map(|(_, scope)| scope.as_str()).filter(|scope| !scope.is_empty());
        Ok(CacheName { kind: CacheKind::Ci, name: scope.unwrap_or("plimsoll").to_owned() })
    }

    fn in_bucket(&self) -> Result<CacheName, String> {
        let get = |wanted: &str| {
            let found = self.elsewhere.iter().find(|(key, _)| *key == wanted);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        if get("scope").is_some() {
            return Err("scope is for type=gha; a bucket has prefix and name".to_owned());
        }
        let bucket = get("bucket").ok_or("bucket is missing")?;
        let parts = [Some(bucket), get("prefix"), get("name")];
        let parts: Vec<&str> = parts.into_iter().flatten().map(|part| part.trim_matches('/')).collect();
        let virtual_host = match get("use_path_style") {
            Some("true") => Some("false"),
            Some("false") => Some("true"),
            Some(other) => return Err(format!("use_path_style is true or false, not {other:?}")),
            None => None,
        };
        let settings =
            [("region", get("region")), ("endpoint", get("endpoint_url")), ("virtual-host", virtual_host)];
        let settings = settings.iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")));
        let settings = settings.collect::<Vec<String>>().join("&");
        let question = if settings.is_empty() { "" } else { "?" };
        let name = format!("{}{question}{settings}", parts.join("/"));
        name.parse::<store::S3Place>().map_err(|error| error.to_string())?;
        Ok(CacheName { kind: CacheKind::S3, name })
    }

    fn on_error(&self) -> OnCacheError {
        match self.ignore_error {
            Some(false) => OnCacheError::Fail,
            _ => OnCacheError::Warn,
        }
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = Fields::parse(text, "src")?;
        if fields.mode.is_some() {
            return Err("mode is for --cache-to".to_owned());
        }
        Ok(Self { cache: fields.cache("src")?, on_error: fields.on_error() })
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = Fields::parse(text, "dest")?;
        let extent = match fields.mode.as_deref() {
            None | Some("min") => Extent::Image,
            Some("max") => Extent::All,
            Some(other) => return Err(format!("mode={other} is not known; it is min or max")),
        };
        Ok(Self { cache: fields.cache("dest")?, on_error: fields.on_error(), extent })
    }
}

impl Caches {
    /// Returns the tiers to look steps up in, which are being fetched from then on; `None` where there are none.
    pub fn tiers(&self, session: &Session, places: &Places) -> Result<Option<Arc<Tiers>>, Error> {
        let folder = &session.environment.folder;
        let mut tiers = Vec::new();
        for from in &self.cache_from {
            match from.cache.open(places, folder, CacheAccess::Read, &[]) {
                Ok(tier) => tiers.extend(tier),
                Err(error) => complain(
                    session,
                    from.on_error,
                    &format!("the cache {} is not used", from.cache),
                    &error,
                )?,
            }
        }
        let fails = self.cache_from.iter().any(|from| from.on_error == OnCacheError::Fail);
        let on_error = if fails { OnCacheError::Fail } else { OnCacheError::Warn };
        Ok((!tiers.is_empty()).then(|| Arc::new(Tiers::start(tiers, on_error))))
    }

    /// Writes what a build used to the caches that are asked for, and waits for it. `pushed` is where the image went.
    pub fn write(
        &self,
        session: &Session,
        engine: &EmbeddedEngine,
        places: &Places,
        scope: &str,
        made: &Made,
        pushed: &[Repository],
    ) -> Result<(), Error> {
        let mut writes = Vec::new();
        for to in &self.cache_to {
            let opened = to.cache.open(places, &session.environment.folder, CacheAccess::Write, pushed);
            match opened {
                Ok(Some(tier)) => {
                    let used = made.children.iter().map(|(platform, built)| {
                        let several = made.children.len() > 1;
                        let scope = if several { format!("{scope} {platform}") } else { scope.to_owned() };
                        (scope, to.extent.of(built))
                    });
                    let used = used.collect();
                    let subject = Some(made.image.descriptor().clone());
                    writes.push(CacheWrite { tier, used, subject });
                }
                Ok(None) => {}
                Err(error) => complain(session, to.on_error, &not_written(&to.cache.to_string()), &error)?,
            }
        }
        let writing = caches::write(&engine.workspace().exporter(), writes, Limits::default());
        for (label, written) in writing.wait(BUDGET) {
            let on_error =
                self.cache_to.iter().find(|to| to.cache.to_string() == label).map(|to| to.on_error);
            tell(session, &label, written, on_error.unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Extent {
    fn of(self, built: &Built) -> Used {
        let mut used = built.used.clone();
        if let (Self::Image, Some(manifest)) = (self, built.manifest.as_image()) {
            used.retain_layers(&manifest.layers);
        }
        used
    }
}

fn not_written(label: &str) -> String {
    format!("the cache {label} was not written")
}

/// Says how writing to a cache ended.
pub fn tell(session: &Session, label: &str, written: Written, on_error: OnCacheError) -> Result<(), Error> {
    match written {
        Written::Done(exported) => {
            match exported.is_new {
                true => exported.told(label).iter().for_each(|message| session.ui.note(message)),
                false => session.ui.note(format_args!("the cache {label} has everything")),
            }
            for problem in &exported.problems {
                session.ui.warn(format_args!("the cache {label} is without {problem}"));
            }
        }
        Written::Failed(error) => complain(session, on_error, &not_written(label), &error)?,
        Written::NotOpened(error) => complain(session, on_error, &not_written(label), error.as_ref())?,
        Written::GivenUp => {
            let late = std::io::Error::other("it took too long");
            complain(session, on_error, &not_written(label), &late)?;
        }
    }
    Ok(())
}

/// Warns of a cache, or fails where that was asked for.
fn complain(
    session: &Session,
    on_error: OnCacheError,
    what: &str,
    error: &(dyn std::error::Error + 'static),
) -> Result<(), Error> {
    if on_error == OnCacheError::Fail {
        let code = session.ui.failure(what, error);
        return Err(Error::Reported(if code == Code::Done { Code::Failed } else { code }));
    }
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    session.ui.warn(causes.fold(format!("{what}: {error}"), |text, cause| format!("{text}: {cause}")));
    Ok(())
}

/// Returns the name under which records of a build grow old together.
pub fn scope(names: &[oci::Reference], dockerfile: &Path, target: Option<&str>) -> String {
    match names.first() {
        Some(name) => name.repository().to_string(),
        None => format!("{} {}", dockerfile.display(), target.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, Extent), &str>) {
        let found = text.parse::<To>().map(|to| (to.cache.to_string(), to.extent));
        match expected {
            Ok((name, extent)) => assert_eq!(found, Ok((name.to_owned(), extent))),
            Err(words) => assert!(found.clone().unwrap_err().contains(words), "{found:?}"),
        }
    }

    #[test]
    fn caches_have_a_type_and_a_name() {
        check("type=registry,ref=ghcr.io/a/b:cache", Ok(("registry:ghcr.io/a/b:cache", Extent::Image)));
        check("type=registry,ref=ghcr.io/a/b,mode=max", Ok(("registry:ghcr.io/a/b", Extent::All)));
        check("ghcr.io/a/b", Ok(("registry:ghcr.io/a/b", Extent::Image)));
        check("type=local,dest=/var/cache", Ok(("local:/var/cache", Extent::Image)));
        check("type=image,ref=ghcr.io/a/b:main", Ok(("image:ghcr.io/a/b:main", Extent::Image)));
        check("type=local,src=/var/cache", Err("\"src\" is not known"));
        check("type=inline", Err("type=inline is not done here"));
        check("type=gha", Ok(("ci:plimsoll", Extent::Image)));
        check("type=gha,scope=feature/x,mode=max", Ok(("ci:feature/x", Extent::All)));
        check("type=gha,bucket=b", Err("bucket is not for type=gha"));
        check("type=s3,bucket=acme", Ok(("s3:acme", Extent::Image)));
        let all = "type=s3,bucket=acme,region=r,prefix=p/,name=n,endpoint_url=http://x:1,use_path_style=true";
        check(all, Ok(("s3:acme/p/n?region=r&endpoint=http://x:1&virtual-host=false", Extent::Image)));
        check("type=s3,region=r", Err("bucket is missing"));
        check("type=s3,bucket=B", Err("lower-case letters"));
        check("type=s3,bucket=acme,access_key_id=x", Err("\"access_key_id\" is not known"));
        check("type=local,dest=x,bucket=b", Err("bucket is for caches of type s3 or gha"));
        check("type=registry", Err("ref is missing"));
        check("ref=a", Err("type is missing"));
        check("type=registry,ref=a,mode=all", Err("mode=all"));
        check("type=registry,ref=a,ignore-error=maybe", Err("true or false"));
        let from: From = "type=local,src=x,ignore-error=false".parse().unwrap();
        assert_eq!(from.on_error, OnCacheError::Fail);
        assert!("type=local,src=x,mode=max".parse::<From>().unwrap_err().contains("--cache-to"));
    }
}
