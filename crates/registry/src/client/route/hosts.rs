//! `hosts.toml`: containerd's and nerdctl's way to name mirrors of one registry.
//!
//! | key | is |
//! |---|---|
//! | `server` | where the registry itself is |
//! | `[host."URL"]` | a mirror, asked in the order of the file |
//! | `capabilities` | of `pull`, `resolve`, `push`; a mirror is never pushed to here |
//! | `ca`, `client` | files with authorities; with a certificate and its key |
//! | `skip_verify` | takes any certificate |
//! | `override_path` | the URL's path stands for `/v2` instead of before it |
//! | `[host."URL".header]` | sent with every request |
//!
//! `dial_timeout` has no effect: connections have 15 s. Source: containerd, docs/hosts.md.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::Registry;
use toml_edit::{Item, TableLike};

use super::site::{Security, Site, SiteCertificates};
use super::{Answers, HostRoute, InvalidRoute, invalid, parse, read_text};

const FILE: &str = "hosts.toml";

/// Returns what the first folder that knows the registry says of it, else what one says of all.
pub(super) fn find(folders: &[PathBuf], registry: &Registry) -> Result<Option<HostRoute>, InvalidRoute> {
    let name = registry.as_str();
    // containerd takes the colon of a port written in this way too.
    let names = [name.to_owned(), format!("{}_", name.replace(':', "_")), "_default".to_owned()];
    for name in names {
        for folder in folders {
            let path = folder.join(&name).join(FILE);
            if let Some(text) = read_text(&path)? {
                return read(&path, &text, registry).map(Some);
            }
        }
    }
    Ok(None)
}

fn read(path: &Path, text: &str, registry: &Registry) -> Result<HostRoute, InvalidRoute> {
    let document = parse(path, text)?;
    let mut mirrors = Vec::new();
    let mut home = None;
    for (key, item) in document.iter() {
        match key {
            "server" => {
                let url = item.as_str().ok_or_else(|| invalid(path, "server must be a URL"))?;
                home = Some(url.to_owned());
            }
            "host" => {
                let hosts = item.as_table_like().ok_or_else(|| invalid(path, "host must be tables"))?;
                for (url, item) in hosts.iter() {
                    let keys = item.as_table_like();
                    let keys = keys.ok_or_else(|| invalid(path, format!("host {url:?} must be a table")))?;
                    let (site, answers) = mirror(path, url, keys, registry)?;
                    mirrors.push((Arc::new(site), answers));
                }
            }
            // The same keys at the top are about the server.
            "capabilities" | "ca" | "client" | "skip_verify" | "override_path" | "header"
            | "dial_timeout" => {}
            other => return Err(invalid(path, format!("unknown key {other:?}"))),
        }
    }
    let of_server = document.iter().any(|(key, _)| matches!(key, "ca" | "client" | "skip_verify" | "header"));
    let home = match home {
        Some(url) => own(path, &url, document.as_table(), registry)?,
        None if of_server => {
            own(path, &format!("https://{}", registry.as_str()), document.as_table(), registry)?
        }
        None => None,
    };
    Ok(HostRoute { mirrors, home: home.map(Arc::new) })
}

/// Returns the site of the registry itself; `None` where its name says as much.
fn own(
    path: &Path,
    url: &str,
    keys: &dyn TableLike,
    registry: &Registry,
) -> Result<Option<Site>, InvalidRoute> {
    let (site, _) = mirror(path, url, keys, registry)?;
    let is_hub = registry.is_docker_hub() && site.registry.as_str() == super::super::address::DOCKER_HUB_API;
    let is_own = site.registry == *registry || is_hub;
    let is_usual = site.root == "/v2"
        && site.headers.is_empty()
        && site.certificates == SiteCertificates::default()
        && site.security == Security::Verified;
    if is_own && is_usual && !registry.is_loopback() {
        return Ok(None);
    }
    // Its own credentials stay its own also under the name that answers for it.
    let registry = if is_hub { registry.clone() } else { site.registry.clone() };
    Ok(Some(Site { registry, namespace: None, ..site }))
}

fn mirror(
    path: &Path,
    url: &str,
    keys: &dyn TableLike,
    registry: &Registry,
) -> Result<(Site, Answers), InvalidRoute> {
    let failed = |reason: String| invalid(path, format!("host {url:?}: {reason}"));
    let (security, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Security::Verified, rest),
        Some(("http", rest)) => (Security::Plain, rest),
        Some((scheme, _)) => return Err(failed(format!("{scheme} is not spoken, only http and https"))),
        None => (Security::Usual, url),
    };
    let (authority, folder) = rest.split_once('/').unwrap_or((rest, ""));
    let host: Registry = authority.parse().map_err(|_| failed("it names no host".to_owned()))?;
    let mut site = Site::new(host, security);
    let mut answers = Answers::ALL;
    let mut overrides = false;
    let folder_of_file = path.parent().unwrap_or(Path::new(""));
    for (key, item) in keys.iter() {
        match key {
            "capabilities" => answers = capabilities(item).map_err(&failed)?,
            "ca" => {
                let files = strings(item).ok_or_else(|| failed("ca must be a file or a list".to_owned()))?;
                site.certificates.authorities = files.iter().map(|file| folder_of_file.join(file)).collect();
            }
            "client" => site.certificates.identity = client(item, folder_of_file).map_err(&failed)?,
            "skip_verify" => {
                site.certificates.unverified =
                    item.as_bool().ok_or_else(|| failed("skip_verify must be true or false".to_owned()))?;
            }
            "override_path" => {
                overrides =
                    item.as_bool().ok_or_else(|| failed("override_path must be true or false".to_owned()))?;
            }
            "header" => site.headers = headers(item).map_err(&failed)?,
            "dial_timeout" | "server" | "host" => {}
            other => return Err(failed(format!("unknown key {other:?}"))),
        }
    }
    if site.certificates.unverified && site.security == Security::Verified {
        site.security = Security::Unverified;
    }
    let folder = folder.trim_matches('/');
    site.root = match (folder.is_empty(), overrides) {
        (true, true) => String::new(),
        (true, false) => "/v2".to_owned(),
        (false, true) => format!("/{folder}"),
        // Harbor and others are written with the /v2 that is theirs.
        (false, false) if folder == "v2" => "/v2".to_owned(),
        (false, false) => format!("/{folder}/v2"),
    };
    if site.registry != *registry {
        site.namespace = Some(registry.as_str().to_owned());
    }
    Ok((site, answers))
}

fn capabilities(item: &Item) -> Result<Answers, String> {
    let words = strings(item).ok_or("capabilities must be a list of words")?;
    if let Some(unknown) = words.iter().find(|word| !matches!(word.as_str(), "pull" | "resolve" | "push")) {
        return Err(format!("unknown capability {unknown:?}; there are pull, resolve and push"));
    }
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    Ok(Answers { tags: has("resolve"), digests: has("pull") })
}

/// A file, a pair of files in a list, or a list of such pairs, of which the first counts.
fn client(item: &Item, folder: &Path) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let wrong = || "client must be a file, or pairs of certificate and key".to_owned();
    if let Some(file) = item.as_str() {
        return Ok(Some((folder.join(file), folder.join(file))));
    }
    let list = item.as_array().ok_or_else(wrong)?;
    let Some(first) = list.get(0) else { return Ok(None) };
    if let Some(file) = first.as_str() {
        return Ok(Some((folder.join(file), folder.join(file))));
    }
    let pair: Vec<&str> =
        first.as_array().ok_or_else(wrong)?.iter().filter_map(|file| file.as_str()).collect();
    match pair[..] {
        [certificate, key] => Ok(Some((folder.join(certificate), folder.join(key)))),
        [file] => Ok(Some((folder.join(file), folder.join(file)))),
        _ => Err(wrong()),
    }
}

fn headers(item: &Item) -> Result<Vec<(String, String)>, String> {
    let table = item.as_table_like().ok_or("header must be a table")?;
    let mut headers = Vec::new();
    for (name, item) in table.iter() {
        let values = strings(item).ok_or_else(|| format!("header {name:?} must be text or a list"))?;
        for value in values {
            let valid = name.parse::<hyper::header::HeaderName>().is_ok()
                && value.parse::<hyper::header::HeaderValue>().is_ok();
            if !valid {
                return Err(format!("header {name:?} cannot be sent"));
            }
            headers.push((name.to_owned(), value));
        }
    }
    Ok(headers)
}

/// Returns one text, or a list of them.
fn strings(item: &Item) -> Option<Vec<String>> {
    if let Some(text) = item.as_str() {
        return Some(vec![text.to_owned()]);
    }
    item.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_hub(text: &str) -> Result<HostRoute, String> {
        let path = Path::new("/c/docker.io/hosts.toml");
        read(path, text, &"docker.io".parse().unwrap()).map_err(|error| error.to_string())
    }

    /// Each mirror as `SECURITY HOST ROOT t|d`, and the home after a slash.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let route = read_hub(text).unwrap();
        let show = |site: &Site, answers: &str| {
            format!("{:?} {} {}{answers}", site.security, site.registry, site.root)
        };
        let words = |answers: &Answers| match (answers.tags, answers.digests) {
            (true, true) => " td",
            (true, false) => " t",
            (false, true) => " d",
            (false, false) => " -",
        };
        let mut found: Vec<String> =
            route.mirrors.iter().map(|(site, answers)| show(site, words(answers))).collect();
        found.extend(route.home.iter().map(|site| format!("home {}", show(site, ""))));
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check_refused(text: &str, words: &str) {
        let error = read_hub(text).unwrap_err();
        assert!(error.contains(words) && error.contains("hosts.toml"), "{error}");
    }

    /// Source: containerd, docs/hosts.md, its examples.
    #[test]
    fn the_examples_of_the_documentation() {
        check(
            "server = \"https://docker.io\"\n[host.\"https://registry-1.docker.io\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            &["Verified registry-1.docker.io /v2 td"],
        );
        check(
            "server = \"https://registry-1.docker.io\"\n\
             [host.\"https://public-mirror.example.com\"]\n  capabilities = [\"pull\"]\n\
             [host.\"https://docker-mirror.internal\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"docker-mirror.crt\"\n",
            &["Verified public-mirror.example.com /v2 d", "Verified docker-mirror.internal /v2 td"],
        );
        check("server = \"https://custom.io\"\n", &["home Verified custom.io /v2"]);
        check(
            "[host.\"http://192.168.31.250:5000\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n  skip_verify = true\n",
            &["Plain 192.168.31.250:5000 /v2 td"],
        );
        check(
            "[host.\"https://mirror.example/v2/proxy\"]\noverride_path = true\n",
            &["Verified mirror.example /v2/proxy td"],
        );
        check("[host.\"https://mirror.example/proxy\"]\n", &["Verified mirror.example /proxy/v2 td"]);
        check("[host.\"https://m.example\"]\nskip_verify = true\n", &["Unverified m.example /v2 td"]);
    }

    #[test]
    fn files_lie_beside_hosts_toml() {
        let route = read_hub(
            "[host.\"https://m.example\"]\nca = [\"a.pem\", \"/b.pem\"]\nclient = [[\"c.cert\", \"c.key\"]]\n\
             [host.\"https://m.example\".header]\nx-one = \"1\"\nx-two = [\"2\", \"3\"]\n",
        )
        .unwrap();
        let (site, _) = &route.mirrors[0];
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(site.certificates.authorities, [path("/c/docker.io/a.pem"), path("/b.pem")]);
        let pair = (path("/c/docker.io/c.cert"), path("/c/docker.io/c.key"));
        assert_eq!(site.certificates.identity, Some(pair));
        assert_eq!(site.headers.len(), 3);
        assert_eq!(site.path("/v2/a/blobs/x"), "/v2/a/blobs/x?ns=docker.io");
    }

    #[test]
    fn what_is_wrong_is_told() {
        check_refused("server = 1\n", "server must be a URL");
        check_refused("sever = \"https://a\"\n", "unknown key \"sever\"");
        check_refused("a = 1\nb = \n", "line 2");
        check_refused("[host.\"ftp://a\"]\n", "ftp is not spoken");
        check_refused("[host.\"https://a b\"]\n", "names no host");
        check_refused("[host.\"https://a\"]\ncapabilities = [\"pul\"]\n", "unknown capability \"pul\"");
        check_refused("[host.\"https://a\"]\nskip_verify = \"yes\"\n", "true or false");
        check_refused("[host.\"https://a\"]\nclient = 3\n", "pairs of certificate and key");
        check_refused("[host.\"https://a\".header]\n\"a b\" = \"1\"\n", "cannot be sent");
    }

    #[test]
    fn folders_in_their_order_and_the_default_last() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, mirror: &str| {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
            let text = format!("[host.\"https://{mirror}\"]\n");
            std::fs::write(folder.path().join(name).join(FILE), text).unwrap();
        };
        let mirror_of = |registry: &str| {
            let folders = [folder.path().join("one"), folder.path().join("two")];
            let found = find(&folders, &registry.parse().unwrap()).unwrap();
            found.map(|route| route.mirrors[0].0.registry.to_string())
        };
        assert_eq!(mirror_of("a.example"), None);
        write("two/_default", "default");
        write("two/a.example", "second");
        assert_eq!(mirror_of("a.example").as_deref(), Some("second"));
        write("one/a.example", "first");
        assert_eq!(mirror_of("a.example").as_deref(), Some("first"));
        assert_eq!(mirror_of("b.example").as_deref(), Some("default"));
        write("one/c.example_5000_", "underscore");
        assert_eq!(mirror_of("c.example:5000").as_deref(), Some("underscore"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "(server|host|ca|[\\[\\]\"=.:/\n a-z]){0,20}") {
            let _ = read_hub(&text);
        }
    }
}
