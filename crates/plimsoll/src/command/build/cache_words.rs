//! The words of `--cache-from` and `--cache-to`, which are those of buildx.
//!
//! | type | has | besides |
//! |---|---|---|
//! | `registry` | `ref` | `image-manifest=true`, `oci-mediatypes=true` |
//! | `image` | `ref` | |
//! | `local` | `src` to read, `dest` to write | |
//! | `gha` | `scope` | |
//! | `s3` | `bucket`, `region`, `prefix`, `name`, `endpoint_url`, `use_path_style` | |
//! | all | `ignore-error`, and `mode` to write | |
//!
//! Other fields of buildx are refused with what to do instead.

use std::collections::BTreeMap;
use std::str::FromStr;

use builder::Built;
use builder::cache::{OnCacheError, Used};
use pipeline::caches::CacheName;
use pipeline::configuration::CacheKind;

/// A cache that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// The cache.
    pub cache: CacheName,
    /// What its failure does.
    pub on_error: OnCacheError,
}

/// A cache that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The cache.
    pub cache: CacheName,
    /// What its failure does.
    pub on_error: OnCacheError,
    /// What is put into it.
    pub extent: Extent,
}

/// Which steps are put into a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those whose layers are in the image.
    Image,
    /// All.
    All,
}

const IN_CI: [&str; 1] = ["scope"];
const IN_BUCKET: [&str; 6] = ["bucket", "region", "prefix", "name", "endpoint_url", "use_path_style"];

/// Fields of buildx that are not taken, and what to do instead.
const INSTEAD: [(&[&str], &str); 8] = [
    (
        &["compression", "compression-level", "force-compression"],
        "layers lie in a cache as they do in the image, and --compression FORMAT[:LEVEL] says how",
    ),
    (&["tag"], "a folder holds one cache; give each a folder of its own"),
    (&["digest"], "a cache is read by its name; a folder holds one"),
    (&["url", "url_v2", "token", "version"], "the service is the one that the CI host's environment names"),
    (&["ghtoken", "repository"], "the service says itself what it has; no other token is needed"),
    (&["timeout"], "[defaults.cache] wait says how long the end of a run waits; a build waits ten minutes"),
    (
        &["access_key_id", "secret_access_key", "session_token"],
        "keys come from the environment (AWS_ACCESS_KEY_ID and others) or the files of AWS, not from a command line",
    ),
    (
        &["blobs_prefix", "manifests_prefix", "upload_parallelism", "touch_refresh"],
        "prefix and name say where all of it lies, and the rest needs no setting",
    ),
];

/// The fields of a flag.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        if !text.contains('=') {
            if text.contains(',') {
                return Err(format!("{text:?} names several caches; give the flag once for each"));
            }
            return Ok(Self(BTreeMap::from([("type", "registry"), ("ref", text)])));
        }
        let pair =
            |field: &'a str| field.split_once('=').ok_or_else(|| format!("{field:?} is not KEY=VALUE"));
        text.split(',').map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied().filter(|value| !value.is_empty())
    }

    /// Returns the cache; `folder_key` names a folder, and `more` what is allowed besides.
    fn cache(&self, folder_key: &str, more: &[&str]) -> Result<CacheName, String> {
        let kind = self.get("type").ok_or("type is missing")?;
        let (kind, own) = match kind {
            "registry" => (CacheKind::Registry, &["ref", "image-manifest", "oci-mediatypes"][..]),
            "image" => (CacheKind::Image, &["ref"][..]),
            "local" => (CacheKind::Local, std::slice::from_ref(&folder_key)),
            "gha" => (CacheKind::Ci, &IN_CI[..]),
            "s3" => (CacheKind::S3, &IN_BUCKET[..]),
            other => return Err(not_done(other)),
        };
        self.check(own, more)?;
        let needed = |key: &str| self.get(key).map(str::to_owned).ok_or_else(|| format!("{key} is missing"));
        let name = match kind {
            CacheKind::Registry | CacheKind::Image => needed("ref")?,
            CacheKind::Local => needed(folder_key)?,
            // buildx's `scope` is the cache's name; branches are told apart by the service.
            CacheKind::Ci => self.get("scope").unwrap_or("plimsoll").to_owned(),
            CacheKind::S3 => self.bucket()?,
        };
        Ok(CacheName { kind, name })
    }

    /// Refuses fields that the type does not have, and values that mean something else than is done.
    fn check(&self, own: &[&str], more: &[&str]) -> Result<(), String> {
        let is_known =
            |key: &&str| own.contains(key) || more.contains(key) || matches!(*key, "type" | "ignore-error");
        if let Some(key) = self.0.keys().find(|key| !is_known(key)) {
            let kind = self.get("type").unwrap_or_default();
            let instead = INSTEAD.iter().find(|(keys, _)| keys.contains(key)).map(|(_, instead)| *instead);
            return Err(match instead {
                Some(instead) => format!("{key} is not taken here: {instead}"),
                None if IN_CI.contains(key) || IN_BUCKET.contains(key) => {
                    format!("{key} is not for type={kind}")
                }
                None => {
                    let all: Vec<&str> = own.iter().chain(more).copied().collect();
                    format!("{key:?} is not known; type={kind} has {} and ignore-error", all.join(", "))
                }
            });
        }
        for key in ["image-manifest", "oci-mediatypes"] {
            if self.get(key).is_some_and(|value| value != "true") {
                return Err(format!("{key} is always true here: a cache is an OCI manifest"));
            }
        }
        Ok(())
    }

    fn bucket(&self) -> Result<String, String> {
        let bucket = self.get("bucket").ok_or("bucket is missing")?;
        let parts = [Some(bucket), self.get("prefix"), self.get("name")];
        let parts: Vec<&str> = parts.into_iter().flatten().map(|part| part.trim_matches('/')).collect();
        let virtual_host = match self.get("use_path_style") {
            Some("true") => Some("false"),
            Some("false") => Some("true"),
            Some(other) => return Err(format!("use_path_style is true or false, not {other:?}")),
            None => None,
        };
        let settings = [
            ("region", self.get("region")),
            ("endpoint", self.get("endpoint_url")),
            ("virtual-host", virtual_host),
        ];
        let settings = settings.iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")));
        let settings = settings.collect::<Vec<String>>().join("&");
        let question = if settings.is_empty() { "" } else { "?" };
        let name = format!("{}{question}{settings}", parts.join("/"));
        name.parse::<store::S3Place>().map_err(|error| error.to_string())?;
        Ok(name)
    }

    fn on_error(&self) -> Result<OnCacheError, String> {
        match self.get("ignore-error") {
            None | Some("true") => Ok(OnCacheError::Warn),
            Some("false") => Ok(OnCacheError::Fail),
            Some(other) => Err(format!("ignore-error is true or false, not {other:?}")),
        }
    }
}

fn not_done(kind: &str) -> String {
    const TYPES: &str = "registry, image, local, gha or s3";
    match kind {
        "inline" => {
            "type=inline is not done here: layers of an image do not say which step they are of; use \
                     type=image,ref=REF, which attaches that to the image and stores nothing twice"
                .to_owned()
        }
        "azblob" => format!("type=azblob is not done here; use type=registry, or another of {TYPES}"),
        other => format!("type={other} is not known; it is {TYPES}"),
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = Fields::parse(text)?;
        if fields.get("mode").is_some() {
            return Err("mode is for --cache-to".to_owned());
        }
        Ok(Self { cache: fields.cache("src", &[])?, on_error: fields.on_error()? })
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = Fields::parse(text)?;
        let extent = match fields.get("mode") {
            None | Some("min") => Extent::Image,
            Some("max") => Extent::All,
            Some(other) => return Err(format!("mode={other} is not known; it is min or max")),
        };
        Ok(Self { cache: fields.cache("dest", &["mode"])?, on_error: fields.on_error()?, extent })
    }
}

impl Extent {
    /// Returns what of a build is put into a cache.
    pub fn of(self, built: &Built) -> Used {
        let mut used = built.used.clone();
        if let (Self::Image, Some(manifest)) = (self, built.manifest.as_image()) {
            used.retain_layers(&manifest.layers);
        }
        used
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
        check("type=s3,bucket=acme,access_key_id=x", Err("AWS_ACCESS_KEY_ID"));
        check("type=local,dest=x,bucket=b", Err("bucket is not for type=local"));
        check("type=registry", Err("ref is missing"));
        check("ref=a", Err("type is missing"));
        check("type=registry,ref=a,mode=all", Err("mode=all"));
        check("type=registry,ref=a,ignore-error=maybe", Err("true or false"));
        let from: From = "type=local,src=x,ignore-error=false".parse().unwrap();
        assert_eq!(from.on_error, OnCacheError::Fail);
        assert!("type=local,src=x,mode=max".parse::<From>().unwrap_err().contains("--cache-to"));
    }

    #[test]
    fn what_docker_users_write_is_understood_or_refused_by_name() {
        let mediatypes = "type=registry,ref=ghcr.io/a/b:c,mode=max,image-manifest=true,oci-mediatypes=true";
        check(mediatypes, Ok(("registry:ghcr.io/a/b:c", Extent::All)));
        check("type=registry,ref=a/b,oci-mediatypes=false", Err("always true"));
        check("type=registry,ref=a/b,compression=zstd", Err("--compression FORMAT[:LEVEL]"));
        check("type=local,dest=x,tag=y", Err("a folder of its own"));
        check("type=gha,mode=max,timeout=5m", Err("wait"));
        check("type=gha,ghtoken=x", Err("no other token"));
        check("type=gha,url=http://x", Err("environment"));
        check("type=s3,bucket=acme,touch_refresh=1h", Err("needs no setting"));
        check("type=s3,bucket=acme,scope=x", Err("scope is not for type=s3"));
        check("type=azblob,account_url=x", Err("type=azblob is not done here"));
        check("type=inline", Err("use type=image,ref=REF"));
        check("ghcr.io/a/b,ghcr.io/c/d", Err("once for each"));
        check("type=registry,ref=a/b,colour=red", Err("\"colour\" is not known"));
        let from = |text: &str| text.parse::<From>().map(|from| from.cache.to_string());
        assert_eq!(from("type=local,src=/c"), Ok("local:/c".to_owned()));
        assert!(from("type=local,src=/c,digest=sha256:ab").unwrap_err().contains("by its name"));
        assert!(from("type=local,dest=/c").unwrap_err().contains("\"dest\" is not known"));
    }
}
