//! What steps get of this machine besides processors: certificate authorities and proxies where they are lent, and
//! as much memory and as many processes as they are allowed. None of it is in a key or a layer.
//!
//! The authorities lie in memory behind `/dev`, apart from the image's own: a step that installs `ca-certificates`
//! replaces the image's file, which it could not if that were mounted over. Programs are told by the variables that
//! each of them knows.

use crate::request::{BuildEvent, HostAccess, Observer};
use crate::sandbox::{Allowance, Content, Limits, Mount, ResourceGroup, Unkept};

const BUNDLE: &str = "/dev/plimsoll/ca-certificates.crt";
const APT: &str = "/dev/plimsoll/apt.conf";

/// Variables that name a file of authorities, and who reads them.
const BUNDLE_VARIABLES: [&str; 10] = [
    "SSL_CERT_FILE",       // OpenSSL, and with it Python, Ruby, wget; Go
    "CURL_CA_BUNDLE",      // curl
    "REQUESTS_CA_BUNDLE",  // Python's requests
    "PIP_CERT",            // pip
    "NODE_EXTRA_CA_CERTS", // Node, npm, yarn
    "GIT_SSL_CAINFO",      // git
    "CARGO_HTTP_CAINFO",   // cargo
    "AWS_CA_BUNDLE",       // AWS' tools
    "NIX_SSL_CERT_FILE",   // Nix
    "DENO_CERT",           // Deno
];
/// Names apt's configuration. apt itself knows no variable for authorities.
const APT_VARIABLE: &str = "APT_CONFIG";

/// What the steps of a build may use, and the group that they share for it.
pub(crate) struct Allowed {
    group: Option<ResourceGroup>,
    /// For each process, where there is no group.
    limits: Limits,
}

impl Allowed {
    /// Finds out how `asked` can be kept. What was asked for and cannot be is said once.
    pub fn make(asked: Allowance, observer: Observer<'_>) -> Self {
        let (group, unkept) = ResourceGroup::make(asked);
        let mut limits = Limits::default();
        for Unkept { what, reason } in unkept {
            let way = if what == "memory" {
                limits.memory = asked.memory;
                "each process alone"
            } else {
                limits.processes = asked.processes;
                "all processes of an ordinary user, and not for root"
            };
            observer(BuildEvent::Warning(format!("the limit of {what} holds for {way}: {reason}")));
        }
        Self { group, limits }
    }

    /// Returns the limits of one step.
    pub fn limits(&self) -> Limits {
        Limits { group: self.group.as_ref().map(ResourceGroup::for_step), ..self.limits.clone() }
    }
}

/// What one step is lent.
#[derive(Default)]
pub(crate) struct Lent {
    pub mounts: Vec<Mount>,
    /// `NAME=value`.
    pub environment: Vec<String>,
}

/// Lends a step what `host` has, but for variables that the step has of its own (`NAME=value`). With
/// `single_user`, apt is told not to become another user, whom the sandbox has not.
pub(crate) fn lend(host: &HostAccess, single_user: bool, own: &[String]) -> Lent {
    let mut lent = Lent::default();
    let has = |name: &str| {
        own.iter()
            .any(|entry| entry.split_once('=').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name)))
    };
    let proxies = host.proxies.iter().filter(|(name, _)| !has(name));
    lent.environment.extend(proxies.map(|(name, value)| format!("{name}={value}")));
    let mut apt = String::new();
    if let Some(bundle) = &host.certificates {
        lent.mounts.push(file(BUNDLE, bundle));
        let names = BUNDLE_VARIABLES.iter().filter(|name| !has(name));
        lent.environment.extend(names.map(|name| format!("{name}={BUNDLE}")));
        apt += &format!("Acquire::https::CaInfo \"{BUNDLE}\";\n");
    }
    if single_user {
        apt += "APT::Sandbox::User \"root\";\n";
    }
    if !apt.is_empty() && !has(APT_VARIABLE) {
        lent.mounts.push(file(APT, apt.as_bytes()));
        lent.environment.push(format!("{APT_VARIABLE}={APT}"));
    }
    lent
}

fn file(target: &str, content: &[u8]) -> Mount {
    Mount::File { content: Content(content.to_vec()), mode: 0o444, uid: 0, gid: 0, target: target.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostAccess {
        HostAccess {
            certificates: Some(b"PEM".as_slice().into()),
            proxies: vec![("https_proxy".to_owned(), "http://p:1".to_owned())],
        }
    }

    #[test]
    fn nothing_is_lent_where_nothing_is_asked_for() {
        let lent = lend(&HostAccess::default(), false, &[]);
        assert!(lent.mounts.is_empty() && lent.environment.is_empty());
    }

    #[test]
    fn what_a_step_has_of_its_own_stays() {
        let own =
            ["HTTPS_PROXY=http://mine".to_owned(), "PIP_CERT=/own.pem".to_owned(), "PATH=/bin".to_owned()];
        let lent = lend(&host(), false, &own);
        let names: Vec<_> = lent.environment.iter().map(|entry| entry.split_once('=').unwrap().0).collect();
        assert!(!names.contains(&"https_proxy") && !names.contains(&"PIP_CERT"), "{names:?}");
        assert!(names.contains(&"SSL_CERT_FILE") && names.contains(&"APT_CONFIG"), "{names:?}");
        assert_eq!(lent.mounts.len(), 2);
    }

    #[test]
    fn apt_is_told_of_the_only_user_there_is() {
        let lent = lend(&HostAccess::default(), true, &[]);
        assert_eq!(lent.environment, ["APT_CONFIG=/dev/plimsoll/apt.conf"]);
        assert!(lend(&HostAccess::default(), true, &["APT_CONFIG=/x".to_owned()]).mounts.is_empty());
    }
}
