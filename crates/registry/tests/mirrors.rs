//! Mirrors, other locations, and what is blocked: who is asked for what, and what goes along.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::path::Path;
use std::sync::Arc;

use oci::{Digest, Document, ImageManifest, MediaType, Repository};
use registry::client::{Credential, Credentials, Next, Notice, Secret};
use store::{Blob, BlobStore, ImageStore, StoreError};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise, read, tag};

fn manifest() -> Document {
    Document::from_manifest(ImageManifest::new(descriptor(b"x"), Vec::new()))
}

fn answer_with(document: &Document) -> Answer {
    Answer::status(200).header("Content-Type", MediaType::OciManifest).body(document.raw().to_vec())
}

/// A registry, and mirrors of it that a `hosts.toml` names in this order.
struct Network {
    home: Scripted,
    mirrors: Vec<Scripted>,
    folder: tempfile::TempDir,
}

impl Network {
    fn new(home: Scripted, mirrors: Vec<Scripted>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = Self { home, mirrors, folder };
        let hosts = network.mirrors.iter().map(|mirror| format!("[host.\"http://{}\"]\n", mirror.address()));
        network.hosts(&hosts.collect::<String>());
        network
    }

    fn hosts(&self, text: &str) {
        let folder = self.folder.path().join("certs.d").join(self.home.address().to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
    }

    fn client(&self) -> TestClient {
        self.client_with(Credentials::anonymous())
    }

    fn client_with(&self, credentials: Credentials) -> TestClient {
        TestClient::new(|options| {
            options.routes.hosts_folders = vec![self.folder.path().join("certs.d")];
            options.credentials = Arc::new(credentials);
        })
    }

    fn repository(&self) -> Repository {
        self.home.repository("a")
    }

    /// Fetches the manifest and says how many requests each host got, mirrors first.
    fn fetch(&self, test: &TestClient) -> (Result<Document, StoreError>, Vec<usize>) {
        let found = test.client.repository(&self.repository()).document(&manifest().digest());
        let mut counts: Vec<usize> = self.mirrors.iter().map(|mirror| mirror.asked().len()).collect();
        counts.push(self.home.asked().len());
        (found, counts)
    }
}

fn has_it() -> Scripted {
    Scripted::start(|_: &Asked| answer_with(&manifest()))
}

fn says(status: u16) -> Scripted {
    Scripted::start(move |_: &Asked| Answer::status(status))
}

#[test]
fn the_first_mirror_that_has_it_is_the_last_one_asked() {
    let network = Network::new(has_it(), vec![says(404), has_it(), has_it()]);
    let test = network.client();
    let (found, counts) = network.fetch(&test);
    assert_eq!((found.unwrap().digest(), counts), (manifest().digest(), vec![1, 1, 0, 0]));
    let asked = network.mirrors[1].asked();
    let expected = format!("/v2/a/manifests/{}?ns={}", manifest().digest(), network.home.address());
    assert_eq!(asked[0].path.replace("%3A", ":"), expected);
    assert_eq!(test.notices(), [], "not having something is no failure");
}

#[test]
fn mirrors_that_fail_are_passed_over_once_and_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let network = Network::new(has_it(), vec![says(500), says(401)]);
    let text = format!(
        "[host.\"http://{free}\"]\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n",
        network.mirrors[0].address(),
        network.mirrors[1].address()
    );
    network.hosts(&text);
    let test = network.client();
    assert_eq!(network.fetch(&test).1, [1, 1, 1]);
    assert_eq!(test.slept(), [], "a mirror is not waited for");
    let notices = test.notices();
    assert_eq!(notices.len(), 3, "{notices:?}");
    let next = |notice: &Notice| matches!(&notice.next, Next::Elsewhere(next) if next.ends_with("/a"));
    assert!(notices.iter().all(next), "{notices:?}");
    assert!(notices[0].what.contains(&free.to_string()), "{notices:?}");
    assert!(notices[1].reason.contains("500"), "{notices:?}");
    let (found, counts) = network.fetch(&test);
    assert_eq!((found.unwrap().digest(), counts), (manifest().digest(), vec![1, 1, 2]));
    assert_eq!(test.notices().len(), 3, "what failed is not asked and told again");
}

#[test]
fn what_nobody_has_is_the_registrys_answer() {
    let network = Network::new(says(404), vec![says(404)]);
    let (found, counts) = network.fetch(&network.client());
    let error = found.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains(&network.home.address().to_string()), "{error}");
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_mirror_that_lies_is_found_out_and_the_next_is_asked() {
    let other = Document::from_manifest(ImageManifest::new(descriptor(b"other"), Vec::new()));
    let liar = Scripted::start(move |_: &Asked| answer_with(&other));
    let network = Network::new(has_it(), vec![liar]);
    let test = network.client();
    assert_eq!(network.fetch(&test).0.unwrap().digest(), manifest().digest());
    assert!(test.notices()[0].reason.contains("digest"), "{:?}", test.notices());
}

#[test]
fn a_mirror_without_resolve_is_not_asked_for_tags() {
    let network = Network::new(has_it(), vec![has_it()]);
    network
        .hosts(&format!("[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", network.mirrors[0].address()));
    let test = network.client();
    let remote = test.client.repository(&network.repository());
    assert_eq!(remote.resolve(&tag("x")).unwrap().digest, manifest().digest());
    assert_eq!(network.mirrors[0].asked().len(), 0);
    remote.document(&manifest().digest()).unwrap();
    assert_eq!(network.mirrors[0].asked().len(), 1);
}

#[test]
fn nothing_is_ever_pushed_to_a_mirror_nor_looked_for_there_before_a_push() {
    let home = Scripted::start(|asked: &Asked| match asked.method.as_str() {
        "HEAD" => Answer::status(404),
        "POST" => Answer::status(202).header("Location", "/v2/a/blobs/uploads/1"),
        _ => Answer::status(201),
    });
    let network = Network::new(home, vec![has_it()]);
    let test = network.client();
    let remote = test.client.repository(&network.repository());
    remote.put_blob(&descriptor(b"content"), Blob::from_bytes(b"content".to_vec())).unwrap();
    remote.put_document(&manifest()).unwrap();
    remote.tag(&tag("x"), &manifest()).unwrap();
    assert_eq!(network.mirrors[0].asked().len(), 0);
}

/// Asks for a password, and has the manifest for whoever gives one.
fn guarded() -> Scripted {
    Scripted::start(|asked: &Asked| match asked.header("authorization") {
        None => Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) => answer_with(&manifest()),
    })
}

#[test]
fn each_host_gets_its_own_credentials_alone() {
    let network = Network::new(guarded(), vec![guarded(), guarded()]);
    let password =
        |text: &str| Credential::Password { username: "u".to_owned(), password: Secret::new(text) };
    let credentials = Credentials::anonymous()
        .with(network.home.registry(), password("of the registry"))
        .with(network.mirrors[1].registry(), password("of the second"));
    let test = network.client_with(credentials);
    network.fetch(&test).0.unwrap();
    let sent = |server: &Scripted| -> Vec<String> {
        server.asked().iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)).collect()
    };
    assert_eq!(
        sent(&network.mirrors[0]),
        [] as [String; 0],
        "a mirror that we have nothing for gets nothing"
    );
    assert_eq!(sent(&network.mirrors[1]), ["Basic dTpvZiB0aGUgc2Vjb25k"]);
    assert_eq!(network.home.asked().len(), 0);
}

#[test]
fn headers_go_to_the_mirror_they_stand_under() {
    let network = Network::new(has_it(), vec![says(404), has_it()]);
    network.hosts(&format!(
        "[host.\"http://{}\"]\n[host.\"http://{}/proxy\"]\noverride_path = true\n\
         [host.\"http://{}/proxy\".header]\nx-key = \"mine\"\n",
        network.mirrors[0].address(),
        network.mirrors[1].address(),
        network.mirrors[1].address()
    ));
    network.fetch(&network.client()).0.unwrap();
    assert_eq!(network.mirrors[0].asked()[0].header("x-key"), None);
    let asked = &network.mirrors[1].asked()[0];
    assert_eq!(asked.header("x-key"), Some("mine"));
    assert!(asked.path.starts_with("/proxy/a/manifests/"), "{}", asked.path);
}

#[test]
fn a_mirror_that_breaks_off_is_gone_on_from() {
    let content = noise(3, 3_000_000);
    let served = content.clone();
    let mirror = Scripted::start(move |_: &Asked| {
        Answer::status(200).announcing(served.len()).body(&served[..1_000_000])
    });
    let served = content.clone();
    let home = Scripted::start(move |asked: &Asked| {
        let from: usize = asked
            .header("range")
            .unwrap()
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .unwrap();
        let range = format!("bytes {from}-{}/{}", served.len() - 1, served.len());
        Answer::status(206).header("Content-Range", range).body(&served[from..])
    });
    let network = Network::new(home, vec![mirror]);
    let test = network.client();
    let blob = test.client.repository(&network.repository()).open_blob(&Digest::of(&content)).unwrap();
    assert!(read(blob).unwrap() == content);
    assert_eq!(network.mirrors[0].asked().len(), 1, "a mirror has one try");
    assert_eq!(network.home.asked()[0].header("range"), Some("bytes=1000000-"));
}

#[test]
fn a_mirror_that_says_nothing_is_left() {
    let network = Network::new(has_it(), vec![Scripted::start(|_: &Asked| Act::Hang)]);
    let test = TestClient::new(|options| {
        options.routes.hosts_folders = vec![network.folder.path().join("certs.d")];
        options.retry.timeout = std::time::Duration::from_millis(100);
    });
    network.fetch(&test).0.unwrap();
    assert_eq!(network.mirrors[0].asked().len(), 1);
}

fn with_registries(text: &str, folder: &Path) -> TestClient {
    let file = folder.join("registries.conf");
    std::fs::write(&file, text).unwrap();
    TestClient::new(|options| options.routes.registries = Some(file))
}

#[test]
fn podmans_file_names_mirrors_and_other_locations() {
    let folder = tempfile::tempdir().unwrap();
    let (mirror, moved) = (says(404), has_it());
    let text = format!(
        "[[registry]]\nprefix = \"old.example/team\"\nlocation = \"{}/new\"\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\n",
        moved.address(),
        mirror.address()
    );
    let test = with_registries(&text, folder.path());
    let repository: Repository = "old.example/team/app".parse().unwrap();
    test.client.repository(&repository).document(&manifest().digest()).unwrap();
    assert!(mirror.asked()[0].path.starts_with("/v2/cache/app/manifests/"));
    assert!(moved.asked()[0].path.starts_with("/v2/new/app/manifests/"));
}

#[test]
fn a_blocked_registry_is_refused_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let server = has_it();
    let text = format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", server.address());
    let test = with_registries(&text, folder.path());
    let error = test.client.repository(&server.repository("a")).document(&manifest().digest()).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(
        error.to_string().contains("is blocked") && error.to_string().contains("registries.conf"),
        "{error}"
    );
    assert!(test.client.ping(&server.registry()).is_err());
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn a_file_that_is_wrong_is_named() {
    let network = Network::new(has_it(), vec![]);
    network.hosts("[host.\"http://x\"]\nskip_verify = 3\n");
    let error = network.fetch(&network.client()).0.unwrap_err();
    assert!(error.to_string().contains("hosts.toml"), "{error}");
    assert_eq!(network.home.asked().len(), 0);
}
