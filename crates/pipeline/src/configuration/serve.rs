//! `[serve]`: what `plimsoll serve registry` does where no flag says otherwise.
//!
//! Each key is called as the flag is. Flags of a command are the same type, laid over the file's by
//! [`ServeRegistry::laid_over`], so that whatever must hold between keys is written once.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use registry::server::{PublicUrl, Upstream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::S3Place;
use store::object::InvalidS3Place;

use super::gate::SecretSource;
use super::values::{ByteSize, OneOrMany, Timespan};
use crate::text::Text;

/// What this machine serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Serve {
    /// A registry.
    pub registry: ServeRegistry,
}

/// How `serve registry` serves; files are named from the project's folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeRegistry {
    /// Address to listen on.
    pub listen: Option<Text<SocketAddr>>,
    /// Tags that neither move nor go once they are set, `[REPOSITORY:]TAG`.
    pub immutable_tag: OneOrMany<String>,
    /// Whether clients may only pull and list.
    pub read_only: bool,
    /// File of rules: who may do what.
    pub access: Option<PathBuf>,
    /// File of accounts, each of which may do everything.
    pub htpasswd: Option<PathBuf>,
    /// Whether everybody may pull, with `htpasswd`.
    pub anonymous_pull: bool,
    /// PEM file of the certificates to show.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file of the first certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Names that a certificate is made for.
    pub tls_self_signed: OneOrMany<String>,
    /// Bucket that images are kept in.
    pub storage: Option<ServeStorage>,
    /// How long an address in the bucket is valid that clients are sent to.
    pub redirect_blobs: Option<Timespan>,
    /// Other registries that are cached, `[PREFIX=]REGISTRY[/PATH]`.
    pub proxy: OneOrMany<Text<Upstream>>,
    /// After how long a tag of them is looked up again.
    pub proxy_age: Option<Timespan>,
    /// How long what nobody asks for is kept of them.
    pub proxy_keep: Option<Timespan>,
    /// How much is kept of them.
    pub proxy_size: Option<ByteSize>,
    /// Who is told of events.
    pub webhook: Vec<ServeWebhook>,
    /// How clients reach the registry where something stands before it.
    pub public_url: Option<Text<PublicUrl>>,
    /// How often what no image needs is removed.
    pub collect_every: Option<Timespan>,
    /// How long such content stays.
    pub collect_after: Option<Timespan>,
    /// Whether counters are at `/metrics`.
    pub metrics: bool,
    /// What is printed of each request.
    pub access_log: Option<AccessLogForm>,
    /// The largest blob that is taken.
    pub max_blob_size: Option<ByteSize>,
    /// Whether images are refused of which a layer is missing.
    pub whole_images: bool,
}

/// A bucket, spelled as it was given: `s3://BUCKET/PREFIX[?region=NAME&endpoint=ADDRESS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeStorage {
    /// What was given.
    pub place: S3Place,
    text: String,
}

impl FromStr for ServeStorage {
    type Err = InvalidS3Place;

    fn from_str(text: &str) -> Result<Self, InvalidS3Place> {
        Ok(Self { place: text.parse()?, text: text.to_owned() })
    }
}

impl fmt::Display for ServeStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

crate::text::written_as_text!(ServeStorage, "Bucket: s3://BUCKET/PREFIX[?region=NAME&endpoint=ADDRESS]");

/// Somebody who is told of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServeWebhook {
    /// The address.
    pub url: String,
    /// Where the secret is that messages are signed with.
    pub secret: SecretSource,
    /// Which repositories; all where none is named.
    #[serde(default)]
    pub repositories: OneOrMany<String>,
    /// Which types of event; all where none is named.
    #[serde(default)]
    pub events: OneOrMany<String>,
}

/// What is printed of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogForm {
    /// Nothing.
    None,
    /// A line for people.
    Text,
    /// A JSON document on a line.
    Json,
}

impl ServeRegistry {
    /// Returns these settings with those of `below` where they say nothing. Who may do what, the
    /// certificate and each list are taken as a whole.
    pub fn laid_over(self, below: Self) -> Self {
        let names_accounts = self.access.is_some() || self.htpasswd.is_some();
        let (access, htpasswd, anonymous) = match names_accounts {
            true => (self.access, self.htpasswd, self.anonymous_pull),
            false => (below.access, below.htpasswd, self.anonymous_pull || below.anonymous_pull),
        };
        let names_certificate =
            self.tls_certificate.is_some() || self.tls_key.is_some() || !self.tls_self_signed.is_empty();
        let (tls_certificate, tls_key, tls_self_signed) = match names_certificate {
            true => (self.tls_certificate, self.tls_key, self.tls_self_signed),
            false => (below.tls_certificate, below.tls_key, below.tls_self_signed),
        };
        Self {
            listen: self.listen.or(below.listen),
            immutable_tag: longer(self.immutable_tag, below.immutable_tag),
            read_only: self.read_only || below.read_only,
            access,
            htpasswd,
            anonymous_pull: anonymous,
            tls_certificate,
            tls_key,
            tls_self_signed,
            storage: self.storage.or(below.storage),
            redirect_blobs: self.redirect_blobs.or(below.redirect_blobs),
            proxy: longer(self.proxy, below.proxy),
            proxy_age: self.proxy_age.or(below.proxy_age),
            proxy_keep: self.proxy_keep.or(below.proxy_keep),
            proxy_size: self.proxy_size.or(below.proxy_size),
            webhook: if self.webhook.is_empty() { below.webhook } else { self.webhook },
            public_url: self.public_url.or(below.public_url),
            collect_every: self.collect_every.or(below.collect_every),
            collect_after: self.collect_after.or(below.collect_after),
            metrics: self.metrics || below.metrics,
            access_log: self.access_log.or(below.access_log),
            max_blob_size: self.max_blob_size.or(below.max_blob_size),
            whole_images: self.whole_images || below.whole_images,
        }
    }

    /// Returns what does not go together: a key, and what is wrong with it.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut check = |is_wrong: bool, key: &'static str, other: &str, verb: &str| {
            if is_wrong {
                found.push((key, format!("`{key}` {verb} `{other}`")));
            }
        };
        let (needs, excludes) = ("needs", "cannot stand beside");
        check(self.access.is_some() && self.htpasswd.is_some(), "access", "htpasswd", excludes);
        check(self.anonymous_pull && self.htpasswd.is_none(), "anonymous-pull", "htpasswd", needs);
        let (certificate, key) = (self.tls_certificate.is_some(), self.tls_key.is_some());
        check(certificate && !key, "tls-certificate", "tls-key", needs);
        check(key && !certificate, "tls-key", "tls-certificate", needs);
        let is_own = !self.tls_self_signed.is_empty();
        check(is_own && certificate, "tls-self-signed", "tls-certificate", excludes);
        check(self.redirect_blobs.is_some() && self.storage.is_none(), "redirect-blobs", "storage", needs);
        for (is_there, key) in [
            (self.proxy_age.is_some(), "proxy-age"),
            (self.proxy_keep.is_some(), "proxy-keep"),
            (self.proxy_size.is_some(), "proxy-size"),
        ] {
            check(is_there && self.proxy.is_empty(), key, "proxy", needs);
            let is_limit = is_there && key != "proxy-age";
            check(is_limit && self.collect_every.is_none(), key, "collect-every", needs);
        }
        found
    }
}

fn longer<T>(list: OneOrMany<T>, below: OneOrMany<T>) -> OneOrMany<T> {
    if list.is_empty() { below } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;

    fn read(text: &str) -> ServeRegistry {
        Configuration::parse(text, "plimsoll.toml").unwrap().serve.registry
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        let error = Configuration::parse(text, "plimsoll.toml").unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part}\n{error}");
        }
    }

    #[test]
    fn all_keys() {
        let text = r#"
            [serve.registry]
            listen = "0.0.0.0:5000"
            immutable-tag = "v*"
            read-only = true
            access = "access.toml"
            tls-self-signed = ["registry.example", "10.0.0.1"]
            storage = "s3:acme/images?region=r"
            redirect-blobs = "20m"
            proxy = ["hub=docker.io", "ghcr.io"]
            proxy-age = "5m"
            proxy-keep = "7d"
            proxy-size = "50GiB"
            public-url = "https://registry.example"
            collect-every = "1h"
            collect-after = "24h"
            metrics = true
            access-log = "json"
            max-blob-size = "10GiB"
            whole-images = true
            [[serve.registry.webhook]]
            url = "https://ci.example/hooks"
            secret = "env:HOOK_SECRET"
            repositories = "acme/*"
            events = ["tag.*"]
        "#;
        let settings = read(text);
        assert_eq!(settings.listen.as_ref().unwrap().to_string(), "0.0.0.0:5000");
        assert_eq!(
            settings.proxy.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["hub=docker.io", "ghcr.io"]
        );
        assert_eq!(settings.webhook[0].repositories.0, ["acme/*"]);
        // What is printed reads back.
        let printed = toml_edit::ser::to_string_pretty(&Serve { registry: settings.clone() }).unwrap();
        assert_eq!(toml_edit::de::from_str::<Serve>(&printed).unwrap().registry, settings);
        assert_eq!(settings.clone().laid_over(ServeRegistry::default()), settings);
        assert_eq!(ServeRegistry::default().laid_over(settings.clone()), settings);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check_refused("[serve.registry]\nlisen = \"x\"", &["plimsoll.toml:2", "lisen", "listen"]);
        check_refused("[serve.registry]\nlisten = \"here\"", &["plimsoll.toml:2", "invalid socket address"]);
        check_refused(
            "[serve.registry]\nmetrics = true\nproxy-size = \"1GiB\"",
            &["plimsoll.toml:3", "`proxy-size` needs `proxy`", "`proxy-size` needs `collect-every`"],
        );
        check_refused(
            "[serve.registry]\naccess = \"a\"\nhtpasswd = \"b\"",
            &["plimsoll.toml:2", "`access` cannot stand beside `htpasswd`"],
        );
        check_refused("[serve.registry]\ntls-key = \"k\"", &["`tls-key` needs `tls-certificate`"]);
        let secret = "[[serve.registry.webhook]]\nurl = \"https://a\"\nsecret = \"whsec_MTIz\"";
        check_refused(secret, &["plimsoll.toml:3", "expected env:NAME or file:PATH"]);
        let error = Configuration::parse(secret, "x").unwrap_err().to_string();
        assert!(!error.contains("MTIz") || error.contains("secret ="), "only the line of the file shows it");
    }

    #[test]
    fn flags_win_and_take_the_place_of_what_belongs_together() {
        let file = read(
            "[serve.registry]\nhtpasswd = \"users\"\nanonymous-pull = true\nlisten = \"127.0.0.1:1\"\nproxy = \"ghcr.io\"\ntls-key = \"k\"\ntls-certificate = \"c\"",
        );
        let flags = ServeRegistry {
            access: Some("rules".into()),
            tls_self_signed: OneOrMany(vec!["a".into()]),
            proxy: OneOrMany(vec![Text("docker.io".parse().unwrap())]),
            ..ServeRegistry::default()
        };
        let merged = flags.laid_over(file);
        assert_eq!((merged.htpasswd.as_deref(), merged.anonymous_pull), (None, false));
        assert_eq!((merged.tls_key.as_deref(), merged.tls_self_signed.len()), (None, 1));
        assert_eq!(merged.proxy[0].to_string(), "docker.io");
        assert_eq!(merged.listen.as_ref().unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(merged.contradictions(), []);
    }
}
