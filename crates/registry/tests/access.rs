//! Who is let in, request by request.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use registry::client::{Credential, Credentials, Secret};
use registry::server::access::{Accounts, Actions, FixedToken, Grant, Policy, Rule};
use registry::server::{Pattern, Rules, SelfSigned, ServerOptions, Tls};
use store::{BlobStore as _, ImageStore as _, StoreError};
use support::encrypted::{self, Encrypted};
use support::spec::Spec;
use support::wire::{self, Response};
use support::{NOW, TestClient, TestServer, noise, put_image, tag};

fn grant(repositories: &str, allow: &str) -> Grant {
    Grant { repositories: vec![Pattern::new(repositories)], allow: Actions::known(allow) }
}

fn rule(who: &str, repositories: &str, allow: &str) -> Rule {
    Rule { who: vec![Pattern::new(who)], grant: grant(repositories, allow) }
}

fn policy() -> Policy {
    let mut policy = Policy::new(Arc::new(|| NOW.parse().unwrap()));
    let hash = |password| bcrypt::hash(password, 4).unwrap();
    let file = format!("ann:{}\nbob:{}\n", hash("secret"), hash("hunter2"));
    policy.accounts = Some(Arc::new(Accounts::parse(&file).unwrap()));
    policy.rules = vec![
        rule("anonymous", "public/*", "pull"),
        rule("ann", "*", "pull,push,delete"),
        rule("*", "acme/*", "pull"),
        rule("bob", "bob/*", "pull,push"),
    ];
    policy.tokens = vec![FixedToken {
        name: "deploy".to_owned(),
        digest: Digest::of(b"t0ken"),
        grants: vec![grant("acme/api", "pull")],
    }];
    policy
}

fn start() -> Spec {
    Spec(TestServer::with(|options| options.policy = Some(policy())))
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

#[track_caller]
fn check(spec: &Spec, who: &str, method: &str, path: &str, status: u16) -> Response {
    let headers: &[(&str, &str)] = if who.is_empty() { &[] } else { &[("Authorization", who)] };
    let response = spec.ask(method, path, headers, b"");
    assert_eq!(response.status, status, "{who} {method} {path}: {}", response.text());
    response
}

#[test]
fn strangers_are_asked_who_they_are() {
    let spec = start();
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"plimsoll registry\"", spec.address());
    let base = check(&spec, "", "GET", "/v2/", 401);
    assert_eq!((base.header("www-authenticate"), base.code().as_str()), (&*realm, "UNAUTHORIZED"));
    let pull = check(&spec, "", "GET", "/v2/acme/api/manifests/x", 401);
    assert_eq!(pull.header("www-authenticate"), format!("{realm},scope=\"repository:acme/api:pull\""));
    let push = check(&spec, "", "POST", "/v2/public/a/blobs/uploads/", 401);
    assert_eq!(push.header("www-authenticate"), format!("{realm},scope=\"repository:public/a:pull,push\""));
    check(&spec, "", "GET", "/v2/public/a/manifests/x", 404);
    for wrong in
        [&basic("ann", "wrong"), &basic("nobody", "secret"), "Bearer x", "Digest x", "Basic ?", "Basic YQ=="]
    {
        check(&spec, wrong, "GET", "/v2/public/a/manifests/x", 401);
        check(&spec, wrong, "GET", "/token", 401);
    }
    let odd = wire::ask(spec.address(), "GET", "/v2/", &[("Host", "evil\"><")], b"");
    assert!(!odd.header("www-authenticate").contains("evil"));
}

#[test]
fn behind_a_proxy_the_public_address_is_named() {
    let spec = Spec(TestServer::with(|options| {
        options.policy = Some(policy());
        options.public_url = Some("https://registry.example/".parse().unwrap());
    }));
    for host in ["10.0.0.7:5000", "evil\"><"] {
        let response = wire::ask(spec.address(), "GET", "/v2/acme/api/tags/list", &[("Host", host)], b"");
        let expected = "Bearer realm=\"https://registry.example/token\",service=\"plimsoll registry\",\
                        scope=\"repository:acme/api:pull\"";
        assert_eq!(response.header("www-authenticate"), expected);
    }
}

#[test]
fn accounts_may_do_what_rules_say() {
    let spec = start();
    let (ann, bob) = (basic("ann", "secret"), basic("bob", "hunter2"));
    check(&spec, &ann, "GET", "/v2/", 200);
    check(&spec, &ann, "POST", "/v2/any/where/blobs/uploads/", 202);
    check(&spec, &ann, "DELETE", "/v2/any/where/manifests/x", 404);
    check(&spec, &bob, "POST", "/v2/bob/x/blobs/uploads/", 202);
    check(&spec, &bob, "GET", "/v2/acme/api/manifests/x", 404);
    for (method, path) in [
        ("POST", "/v2/acme/api/blobs/uploads/"),
        ("DELETE", "/v2/bob/x/manifests/x"),
        ("GET", "/v2/other/manifests/x"),
        ("GET", "/v2/public/x/tags/list"),
    ] {
        assert_eq!(check(&spec, &bob, method, path, 403).code(), "DENIED");
    }
    let deploy = "Bearer t0ken";
    check(&spec, deploy, "GET", "/v2/acme/api/manifests/x", 404);
    check(&spec, deploy, "GET", "/v2/acme/web/manifests/x", 403);
    check(&spec, &basic("anything", "t0ken"), "GET", "/v2/acme/api/manifests/x", 404);
}

#[test]
fn tokens_hold_what_was_asked_for() {
    let spec = start();
    let ask = |who: &str, scope: &str| {
        let response = check(&spec, who, "GET", &format!("/token?service=x&scope={scope}"), 200);
        assert_eq!(response.header("cache-control"), "no-store");
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((&body["token"], &body["expires_in"]), (&body["access_token"], &300.into()));
        format!("Bearer {}", body["token"].as_str().unwrap())
    };
    let ann = ask(&basic("ann", "secret"), "repository:acme/api:pull,push");
    check(&spec, &ann, "POST", "/v2/acme/api/blobs/uploads/", 202);
    let narrow = check(&spec, &ann, "DELETE", "/v2/acme/api/manifests/x", 401);
    assert!(narrow.header("www-authenticate").ends_with(",error=\"insufficient_scope\""));
    check(&spec, &ann, "GET", "/v2/acme/web/manifests/x", 401);
    let bob = ask(&basic("bob", "hunter2"), "repository:acme/api:pull,push");
    check(&spec, &bob, "GET", "/v2/acme/api/manifests/x", 404);
    check(&spec, &bob, "POST", "/v2/acme/api/blobs/uploads/", 403);
    let nobody = ask("", "repository:public/a:pull&scope=repository:acme/api:pull");
    check(&spec, &nobody, "GET", "/v2/public/a/manifests/x", 404);
    check(&spec, &nobody, "GET", "/v2/acme/api/manifests/x", 401);
}

#[test]
fn blobs_are_not_mounted_from_where_one_may_not_pull() {
    let spec = start();
    let (ann, bob) = (basic("ann", "secret"), basic("bob", "hunter2"));
    let digest = Digest::of(b"private");
    let put = |repository: &str| {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(spec.ask("POST", &path, &[("Authorization", &ann)], b"private").status, 201);
    };
    put("secret/x");
    check(&spec, &bob, "POST", &format!("/v2/bob/x/blobs/uploads/?mount={digest}&from=secret/x"), 202);
    check(&spec, &bob, "POST", &format!("/v2/bob/x/blobs/uploads/?mount={digest}"), 202);
    check(&spec, &bob, "POST", &format!("/v2/bob/x/blobs/uploads/?mount={digest}&mount={digest}"), 202);
    check(&spec, &bob, "GET", &format!("/v2/bob/x/blobs/{digest}"), 404);
    put("acme/api");
    check(&spec, &bob, "POST", &format!("/v2/bob/x/blobs/uploads/?mount={digest}"), 201);
}

#[test]
fn nothing_tells_of_what_one_may_not_pull() {
    let quota = registry::server::Quota { repositories: Pattern::new("bob/*"), bytes: 100 };
    let spec = Spec(TestServer::with(|options| {
        options.policy = Some(policy());
        options.quotas = vec![quota];
    }));
    let bob = basic("bob", "hunter2");
    let content = noise(9, 1000);
    let put = |name: &str| {
        let repository = spec.0.store.repository(&name.parse().unwrap());
        let blob = store::Blob::from_bytes(content.clone());
        repository.put_blob(&support::descriptor(&content), blob).unwrap();
    };
    put("local/secret/x");
    let (there, absent) = (Digest::of(&content), Digest::of(b"nowhere"));
    // A quota that says no would say that there is something, and how large.
    for digest in [there, absent] {
        for from in ["&from=acme/api", "&from=secret/x", ""] {
            let path = format!("/v2/bob/x/blobs/uploads/?mount={digest}{from}");
            check(&spec, &bob, "POST", &path, 202);
        }
    }
    // Where he may pull it, he hears that there is no room.
    put("local/acme/api");
    check(&spec, &bob, "POST", &format!("/v2/bob/x/blobs/uploads/?mount={there}&from=acme/api"), 413);
}

#[test]
fn what_came_without_the_server_is_mounted_too() {
    let spec = start();
    let content = noise(10, 1000);
    for name in ["local/secret/x", "local/acme/api"] {
        let repository = spec.0.store.repository(&name.parse().unwrap());
        let blob = store::Blob::from_bytes(content.clone());
        repository.put_blob(&support::descriptor(&content), blob).unwrap();
    }
    let path = format!("/v2/bob/x/blobs/uploads/?mount={}", Digest::of(&content));
    check(&spec, &basic("bob", "hunter2"), "POST", &path, 201);
    let path = format!("/v2/bob/x/blobs/{}", Digest::of(&content));
    check(&spec, &basic("bob", "hunter2"), "HEAD", &path, 200);
}

#[test]
fn the_catalogue_shows_what_one_may_pull() {
    let spec = start();
    for path in ["acme/api", "public/a", "secret/x"] {
        put_image(&spec.0.store.repository(&format!("local/{path}").parse().unwrap()), &[noise(1, 10)]);
    }
    let list = |who: &str| check(&spec, who, "GET", "/v2/_catalog", 200).text();
    assert_eq!(list(""), r#"{"repositories":["public/a"]}"#);
    assert_eq!(list(&basic("bob", "hunter2")), r#"{"repositories":["acme/api"]}"#);
    assert_eq!(list(&basic("ann", "secret")), r#"{"repositories":["acme/api","public/a","secret/x"]}"#);
}

#[test]
fn immutable_tags_cannot_be_removed_either() {
    let spec = Spec::start();
    let image = spec.image(1);
    spec.manifest(&image, "v1");
    let rules = |options: &mut ServerOptions| {
        options.immutable = vec![registry::server::Immutable::new("a:v*")];
    };
    let spec = Spec(TestServer::with(rules));
    let image = spec.image(1);
    assert_eq!(spec.manifest(&image, "v1").status, 201);
    assert_eq!(spec.manifest(&image, "main").status, 201);
    assert_eq!(spec.check("DELETE", "/v2/a/manifests/v1", b"", 409).code(), "DENIED");
    spec.check("DELETE", &format!("/v2/a/manifests/{}", image.digest()), b"", 409);
    spec.check("DELETE", "/v2/a/manifests/main", b"", 202);
    spec.check("GET", "/v2/a/manifests/v1", b"", 200);
}

#[test]
fn a_repository_takes_no_more_than_its_quota() {
    let quota = |pattern: &str, bytes| registry::server::Quota { repositories: Pattern::new(pattern), bytes };
    let spec = Spec(TestServer::with(|options| options.quotas = vec![quota("a", 1000), quota("*", 5000)]));
    let push = |repository: &str, content: &[u8]| {
        let digest = Digest::of(content);
        spec.ask("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], content).status
    };
    assert_eq!(push("a", &noise(1, 600)), 201);
    assert_eq!(push("a", &noise(1, 600)), 201, "what is there takes no room");
    assert_eq!(push("a", &noise(2, 600)), 413);
    assert_eq!(push("b", &noise(2, 600)), 201);
    let (small, large) = (Digest::of(&noise(1, 600)), Digest::of(&noise(2, 600)));
    spec.check("POST", &format!("/v2/a/blobs/uploads/?mount={large}&from=b"), b"", 413);
    let session = spec.session();
    spec.check("PATCH", &session, &noise(3, 300), 202);
    let response = spec.check("PATCH", &session, &noise(3, 300), 413);
    assert!(response.text().contains("quota of a"), "{}", response.text());
    spec.check("DELETE", &format!("/v2/a/blobs/{small}"), b"", 202);
    spec.check("POST", &format!("/v2/a/blobs/uploads/?mount={large}&from=b"), b"", 201);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn our_client_pushes_and_pulls_with_accounts() {
    let server = TestServer::with(|options| options.policy = Some(policy()));
    let as_client = |name: &str, password: &str| {
        let credential = Credential::Password { username: name.to_owned(), password: Secret::new(password) };
        let credentials = Credentials::anonymous().with(server.handle.registry(), credential);
        TestClient::new(|options| options.credentials = Arc::new(credentials))
    };
    let ann = as_client("ann", "secret");
    let remote = ann.client.repository(&server.repository("acme/api"));
    let image = put_image(&remote, &[noise(1, 3_000_000), noise(2, 10)]);
    remote.tag(&tag("v1"), &image).unwrap();
    let bob = as_client("bob", "hunter2");
    let remote = bob.client.repository(&server.repository("acme/api"));
    assert_eq!(remote.resolve(&tag("v1")).unwrap().digest, image.digest());
    let layer = &image.as_image().unwrap().layers[0];
    assert!(support::read(remote.open_blob(&layer.digest).unwrap()).unwrap() == noise(1, 3_000_000));
    assert!(matches!(remote.tag(&tag("v2"), &image), Err(StoreError::Denied { .. })));
    let unknown = as_client("ann", "wrong").client.repository(&server.repository("acme/api")).tags();
    assert!(matches!(unknown, Err(StoreError::Denied { .. })));
}

#[test]
fn a_blob_over_tls_with_a_certificate_of_ones_own() {
    let server = Encrypted::start(|_| {});
    let spec = &server.spec;
    let content = noise(1, 3_000_000);
    let repository = spec.0.store.repository(&"local/a".parse().unwrap());
    let digest = support::descriptor(&content).digest;
    repository.put_blob(&support::descriptor(&content), store::Blob::from_bytes(content.clone())).unwrap();
    let mut stream = server.connect();
    let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&content));
    let plain = wire::open(spec.address(), "GET", "/v2/", &[], 0);
    let mut refused = Vec::new();
    let _ = (&plain).read_to_end(&mut refused);
    assert!(!refused.starts_with(b"HTTP"), "plain HTTP is not spoken beside TLS");
}

#[test]
fn a_certificate_that_is_renewed_is_shown_to_those_who_come() {
    let mut shown = None;
    let server = Encrypted::start(|options| shown.clone_from(&options.tls));
    let shown = shown.unwrap();
    let ask = |stream: &mut encrypted::Stream| {
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).map(|()| answer)
    };
    let mut open = server.connect();
    assert_eq!(&ask(&mut open).unwrap(), b"HTTP/1.1 200 OK");
    let made = SelfSigned::new(&["127.0.0.1".to_owned()], NOW.parse().unwrap()).unwrap();
    let renewed = Tls::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
    assert_ne!(shown.fingerprint(), renewed.fingerprint());
    shown.renew(&renewed);
    assert_eq!(shown.fingerprint(), renewed.fingerprint());
    assert!(ask(&mut server.connect()).is_err(), "the first certificate is all that this client trusts");
    // What came before goes on.
    open.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("HTTP/1.1 200 OK"));
}

#[test]
fn rules_that_change_count_from_the_next_request_on() {
    let spec = start();
    let book = spec.0.handle.rule_book();
    let status = |headers: &[(&str, &str)]| {
        wire::receive(wire::open(spec.address(), "GET", "/v2/acme/api/manifests/x", headers, 0), false).status
    };
    let deploy = [("Authorization", "Bearer t0ken")];
    assert_eq!((status(&deploy), status(&[])), (404, 401));
    let mut changed = policy();
    changed.tokens.clear();
    changed.rules.push(rule("anonymous", "acme/*", "pull"));
    book.change(Rules { policy: Some(changed), ..Rules::default() });
    assert_eq!((status(&deploy), status(&[])), (401, 404));
    // Nobody is let in because nothing is said.
    book.change(Rules::default());
    assert_eq!((status(&deploy), status(&[])), (401, 404));
    drop(spec);
    book.change(Rules::default());
}

#[test]
fn quotas_and_tags_that_change_count_from_the_next_request_on() {
    let spec = Spec(TestServer::with(|_| {}));
    let book = spec.0.handle.rule_book();
    let quota = |bytes| registry::server::Quota { repositories: Pattern::new("*"), bytes };
    spec.blob(&noise(1, 1000));
    let post = |content: &[u8]| {
        let digest = Digest::of(content);
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        spec.ask("POST", &path, &[("Content-Type", "application/octet-stream")], content).status
    };
    book.change(Rules { quotas: vec![quota(1500)], ..Rules::default() });
    assert_eq!((post(&noise(2, 1000)), post(&noise(3, 100))), (413, 201));
    book.change(Rules { quotas: vec![quota(5000)], ..Rules::default() });
    assert_eq!(post(&noise(2, 1000)), 201);
    let (first, second) = (spec.image(1), spec.image(2));
    let put = |document| spec.manifest(document, "v1").status;
    assert_eq!((put(&first), put(&second)), (201, 201));
    book.change(Rules { immutable: vec![registry::server::Immutable::new("v*")], ..Rules::default() });
    assert_eq!((put(&first), put(&second)), (409, 201));
}
