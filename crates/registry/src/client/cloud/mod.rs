//! Logins to registries of clouds without helper programs: short-lived passwords made from what a
//! job or a machine is given anyway.
//!
//! | room | registries | from |
//! |---|---|---|
//! | `aws` | ECR, ECR Public | keys in variables or a profile, web identity, a container's or machine's role |
//! | `google` | Artifact Registry, GCR | an access token, a key or federation file, the metadata server |
//! | `azure` | ACR | a service principal, workload identity, a managed identity |
//!
//! They are asked only where a registry wants credentials and no file has any, for hosts of the
//! cloud's own domain alone, and what comes goes to that host alone. A machine's own role is asked
//! only where the machine says that it is one of the cloud.

mod aws;
mod azure;
mod google;
mod signature;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderName;
use hyper::{Method, Request, StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use oci::Registry;
use serde::de::DeserializeOwned;

use super::Failure;
use super::credentials::Credential;
use super::host::{Host, JSON_LIMIT, read_error};
use super::payload::Payload;

/// What the clouds' own tools read, handed in by whoever may read it.
#[derive(Clone, Default)]
pub struct CloudSettings {
    /// Environment variables, by name.
    pub variables: BTreeMap<String, String>,
    /// The home folder, for profiles.
    pub home: Option<PathBuf>,
    /// Who made the machine, as its firmware says; a role of the machine is asked for only there.
    pub machine: String,
}

impl std::fmt::Debug for CloudSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CloudSettings")
    }
}

/// The logins that were made, until they end.
#[derive(Debug, Default)]
pub(crate) struct Clouds {
    known: Mutex<HashMap<Registry, (Option<Credential>, Timestamp)>>,
}

/// A login and when it ends.
struct Login {
    credential: Credential,
    expires: Option<Timestamp>,
}

/// Where nothing says when a login ends: short enough for every cloud.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// A login is made anew so long before its end.
const MARGIN: SignedDuration = SignedDuration::from_mins(2);

impl Clouds {
    /// Returns the login that a cloud gives us for the host's registry; `None` where it is none of a
    /// cloud's, or nothing here says who we are there.
    pub fn find(&self, host: &Host) -> Result<Option<Credential>, Failure> {
        let registry = &host.registry;
        let Some(cloud) = Cloud::of(registry) else { return Ok(None) };
        // Held while a login is made, so that one is made for all threads.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = host.clock().now();
        if let Some((credential, _)) = known.get(registry).filter(|(_, expires)| *expires > now) {
            return Ok(credential.clone());
        }
        let asker = Asker { host, settings: &host.shared.options.clouds, now };
        let login = match &cloud {
            Cloud::Ecr { region, account, domain } => aws::ecr(&asker, region, account, domain),
            Cloud::EcrPublic => aws::public(&asker),
            Cloud::Google => google::login(&asker),
            Cloud::Azure => azure::login(&asker),
        };
        let login = login.map_err(|failure| cloud.explain(registry, &failure))?;
        let expires = login.as_ref().and_then(|login| login.expires).map(|expires| expires - MARGIN);
        let credential = login.map(|login| login.credential);
        known.insert(registry.clone(), (credential.clone(), expires.unwrap_or(now + LIFETIME)));
        Ok(credential)
    }
}

/// Whose registry it is.
#[derive(Debug, PartialEq, Eq)]
enum Cloud {
    Ecr { region: String, account: String, domain: &'static str },
    EcrPublic,
    Google,
    Azure,
}

impl Cloud {
    /// Tells by the host alone: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, `REGION-docker.pkg.dev`,
    /// `gcr.io`, `NAME.azurecr.io` and their kin.
    fn of(registry: &Registry) -> Option<Self> {
        let name = registry.as_str();
        if name == "public.ecr.aws" {
            return Some(Self::EcrPublic);
        }
        if name == "gcr.io"
            || name.ends_with(".gcr.io")
            || name.ends_with("-docker.pkg.dev")
            || name == "docker.pkg.dev"
        {
            return Some(Self::Google);
        }
        if [".azurecr.io", ".azurecr.cn", ".azurecr.us"].iter().any(|domain| name.ends_with(domain)) {
            return Some(Self::Azure);
        }
        let (rest, domain) = ["amazonaws.com.cn", "amazonaws.com"]
            .into_iter()
            .find_map(|domain| Some((name.strip_suffix(domain)?.strip_suffix('.')?, domain)))?;
        let parts: Vec<&str> = rest.split('.').collect();
        match parts[..] {
            [account, "dkr", "ecr" | "ecr-fips", region]
                if account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Some(Self::Ecr { region: region.to_owned(), account: account.to_owned(), domain })
            }
            _ => None,
        }
    }

    /// Says what was tried, and which helper program does more.
    fn explain(&self, registry: &Registry, failure: &Failure) -> Failure {
        let helper = match self {
            Self::Ecr { .. } | Self::EcrPublic => "docker-credential-ecr-login",
            Self::Google => "docker-credential-gcr",
            Self::Azure => "docker-credential-acr-env",
        };
        let reason = format!(
            "no login could be made from what the cloud gives this job: {}; log in, or install {helper} and name it in credHelpers",
            store::with_causes(failure)
        );
        match failure {
            // A cloud that is busy is asked again with the request.
            failure if failure.is_transient() => {
                Failure::Broken { host: registry.to_string(), source: reason.into() }
            }
            _ => Failure::Unauthorized { host: registry.to_string(), reason },
        }
    }
}

/// Asks services of a cloud.
struct Asker<'a> {
    host: &'a Host,
    settings: &'a CloudSettings,
    now: Timestamp,
}

/// A request to a service of a cloud.
struct Question<'a> {
    method: Method,
    url: &'a str,
    headers: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Question<'a> {
    fn get(url: &'a str) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: String::new() }
    }

    /// Pairs of a form.
    fn form(url: &'a str, pairs: &[(&str, &str)]) -> Self {
        use crate::protocol::query::encode;
        let pairs: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
        let kind = ("content-type", "application/x-www-form-urlencoded".to_owned());
        Self { method: Method::POST, url, headers: vec![kind], body: pairs.join("&") }
    }

    fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Asker<'_> {
    /// Returns a variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<&str> {
        self.settings.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn file(&self, path: &str) -> Result<String, Failure> {
        std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|source| Failure::Local {
            action: "read",
            what: path.to_owned(),
            source,
        })
    }

    fn text(&self, question: Question<'_>) -> Result<String, Failure> {
        let uri: Uri =
            question.url.parse().map_err(|_| Failure::protocol(format!("{} is no address", question.url)))?;
        let mut request = Request::builder().method(question.method).uri(uri);
        for (name, value) in question.headers {
            let name: HeaderName =
                name.parse().map_err(|_| Failure::protocol(format!("{name} is no header")))?;
            request = request.header(name, value);
        }
        let reply = self.host.send_bare(request, &Payload::Bytes(question.body.into()))?;
        if reply.status != StatusCode::OK {
            return Err(read_error(reply, self.host.clock()));
        }
        let body = reply.body.all(JSON_LIMIT)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Reads JSON. Not with serde's words, which may quote what came.
    fn json<T: DeserializeOwned>(&self, question: Question<'_>) -> Result<T, Failure> {
        let url = super::address::without_query(question.url);
        let text = self.text(question)?;
        serde_json::from_str(&text)
            .map_err(|_| Failure::protocol(format!("{url} sent something else than was expected")))
    }

    /// Returns when something ends that lives for so many seconds.
    fn after(&self, seconds: i64) -> Option<Timestamp> {
        self.now.checked_add(SignedDuration::from_secs(seconds)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(registry: &str, expected: &str) {
        let found =
            Cloud::of(&registry.parse().unwrap()).map_or("none".to_owned(), |cloud| format!("{cloud:?}"));
        assert!(found.starts_with(expected), "{registry}: {found}");
    }

    #[test]
    fn clouds_by_their_hosts() {
        check("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "Ecr { region: \"eu-west-1\"");
        check("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "Ecr");
        check("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "Ecr");
        check("public.ecr.aws", "EcrPublic");
        check("europe-docker.pkg.dev", "Google");
        check("gcr.io", "Google");
        check("eu.gcr.io", "Google");
        check("acme.azurecr.io", "Azure");
    }

    #[test]
    fn hosts_that_only_look_like_it() {
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "evil-amazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "xgcr.io",
            "azurecr.io",
            "evil.example",
            "notpublic.ecr.aws",
            "docker.io",
        ] {
            check(host, "none");
        }
    }
}
