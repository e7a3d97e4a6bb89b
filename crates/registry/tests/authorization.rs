//! How the client is let in, and whom it never shows a secret.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oci::{Digest, Registry};
use registry::client::{Credential, Credentials, Secret};
use store::{Blob, BlobStore, ImageStore, StoreError};
use support::scripted::{Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise, read, tag};

fn client(registry: &Registry, credential: Option<Credential>) -> TestClient {
    TestClient::new(|options| {
        if let Some(credential) = credential {
            options.credentials = Arc::new(Credentials::anonymous().with(registry.clone(), credential));
        }
    })
}

fn password() -> Option<Credential> {
    Some(Credential::Password { username: "user".to_owned(), password: Secret::new("hunter2") })
}

const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

fn tags() -> Answer {
    Answer::status(200).body(r#"{"name":"a","tags":["x"]}"#)
}

fn reason(error: &StoreError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

/// A registry that takes the tokens `T1`, `T2`, ... of its token service, each for `uses` requests.
struct TokenRegistry {
    registry: Scripted,
    tokens: Scripted,
}

impl TokenRegistry {
    fn start(uses: usize, answer: impl Fn(&Asked, usize) -> Answer + Send + 'static) -> Self {
        let issued = Arc::new(AtomicUsize::new(0));
        let count = issued.clone();
        let tokens =
            Scripted::start(move |asked: &Asked| answer(asked, count.fetch_add(1, Ordering::SeqCst) + 1));
        let realm = tokens.url("/token");
        let mut used = 0;
        let registry = Scripted::start(move |asked: &Asked| {
            let valid = format!("Bearer T{}", issued.load(Ordering::SeqCst));
            if asked.header("authorization") == Some(&valid) && used < uses {
                used += 1;
                return if asked.path.contains("/blobs/") {
                    Answer::status(200).header("Content-Length", 1)
                } else {
                    tags()
                };
            }
            used = 0;
            let name = asked.path.split('/').nth(2).unwrap_or_default().to_owned();
            Answer::status(401).header(
                "WWW-Authenticate",
                format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:{name}:pull\""),
            )
        });
        Self { registry, tokens }
    }

    /// One whose tokens live for ever.
    fn lasting() -> Self {
        Self::start(usize::MAX, |_, n| {
            Answer::status(200).body(format!(r#"{{"token":"T{n}","expires_in":3600}}"#))
        })
    }
}

#[test]
fn a_password_is_sent_only_after_it_was_asked_for() {
    let server = Scripted::start(|asked: &Asked| match asked.header("authorization") {
        Some(BASIC) => tags(),
        _ => Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let test = client(&server.registry(), password());
    let remote = test.client.repository(&server.repository("a"));
    remote.tags().unwrap();
    remote.tags().unwrap();
    let sent: Vec<bool> =
        server.asked().iter().map(|asked| asked.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true, true]);
}

#[test]
fn missing_and_wrong_passwords_are_denied_once() {
    let server =
        Scripted::start(|_: &Asked| Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\""));
    let nobody = client(&server.registry(), None);
    let error = nobody.client.repository(&server.repository("a")).tags().unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }) && reason(&error).contains("log in first"), "{error}");
    assert_eq!(server.asked().len(), 1);
    let somebody = client(&server.registry(), password());
    let error = somebody.client.repository(&server.repository("a")).tags().unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(!reason(&error).contains("hunter2"));
    assert_eq!(server.asked().len(), 3, "no loop of 401");
    assert_eq!(somebody.notices(), []);
}

#[test]
fn tokens_are_fetched_once_for_each_scope() {
    let server = TokenRegistry::lasting();
    let test = client(&server.registry.registry(), password());
    let remote = test.client.repository(&server.registry.repository("a"));
    remote.tags().unwrap();
    remote.tags().unwrap();
    remote.blob_size(&Digest::of(b"x")).unwrap();
    let asked = server.tokens.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/token?service=reg&scope=repository:a:pull");
    assert_eq!(asked[0].header("authorization"), Some(BASIC));
}

#[test]
fn several_threads_share_one_token() {
    let server = TokenRegistry::lasting();
    let test = client(&server.registry.registry(), password());
    let remote = test.client.repository(&server.registry.repository("a"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| remote.tags().unwrap());
        }
    });
    assert_eq!(server.tokens.asked().len(), 1);
}

#[test]
fn a_token_that_ends_in_mid_run_is_renewed() {
    let server =
        TokenRegistry::start(2, |_, n| Answer::status(200).body(format!(r#"{{"access_token":"T{n}"}}"#)));
    let test = client(&server.registry.registry(), password());
    let remote = test.client.repository(&server.registry.repository("a"));
    for _ in 0..5 {
        remote.tags().unwrap();
    }
    assert_eq!(server.tokens.asked().len(), 3);
    assert_eq!(test.notices(), [], "renewing is no failure");
}

#[test]
fn a_token_that_ends_during_an_upload_is_replaced_and_nothing_begins_again() {
    let content = noise(3, 2_000_000);
    let mut issued = 0;
    let tokens = Scripted::start(move |_: &Asked| {
        issued += 1;
        Answer::status(200).body(format!(r#"{{"token":"T{issued}"}}"#))
    });
    let realm = tokens.url("/token");
    // The token that the first chunk came with ends behind it.
    let mut ended = None;
    let server = Scripted::start(move |asked: &Asked| {
        let token = asked.header("authorization").map(str::to_owned);
        if token.is_none() || token == ended {
            return Answer::status(401).header("WWW-Authenticate", format!("Bearer realm=\"{realm}\""));
        }
        match asked.method.as_str() {
            "POST" => Answer::status(202).header("Location", "/upload/1"),
            "PATCH" if asked.path == "/upload/1" => {
                ended = token;
                Answer::status(202).header("Location", "/upload/2")
            }
            "PATCH" => Answer::status(202).header("Location", "/upload/3"),
            "PUT" => Answer::status(201),
            _ => Answer::status(404),
        }
    });
    let test = TestClient::new(|options| options.chunks = BTreeMap::from([(server.registry(), 1_000_000)]));
    let remote = test.client.repository(&server.repository("a"));
    remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap();
    let asked = server.asked();
    let sent: Vec<(&str, &str)> = asked
        .iter()
        .filter(|asked| ["POST", "PATCH", "PUT"].contains(&asked.method.as_str()))
        .filter(|asked| asked.header("authorization").is_some())
        .map(|asked| (asked.method.as_str(), asked.header("content-range").unwrap_or_default()))
        .collect();
    // What was refused is sent once more, what was taken is not.
    let second = ("PATCH", "1000000-1999999");
    assert_eq!(sent, [("POST", ""), ("PATCH", "0-999999"), second, second, ("PUT", "")]);
    let taken = asked.iter().rfind(|asked| asked.path.starts_with("/upload/2"));
    assert!(taken.unwrap().body == content[1_000_000..]);
    assert_eq!(test.notices(), [], "a token that ends is no failure");
}

#[test]
fn a_token_without_a_time_lives_for_a_minute() {
    let server =
        TokenRegistry::start(usize::MAX, |_, n| Answer::status(200).body(format!(r#"{{"token":"T{n}"}}"#)));
    let test = client(&server.registry.registry(), password());
    let remote = test.client.repository(&server.registry.repository("a"));
    let pass = |seconds| test.slept.lock().unwrap().push(Duration::from_secs(seconds));
    remote.tags().unwrap();
    pass(40);
    remote.tags().unwrap();
    assert_eq!(server.tokens.asked().len(), 1);
    pass(20);
    remote.tags().unwrap();
    assert_eq!(server.tokens.asked().len(), 2, "replaced ahead of its end");
    assert_eq!(server.registry.asked().len(), 4, "no request was refused for it");
}

#[test]
fn tokens_nobody_takes_end_in_denied() {
    let server = TokenRegistry::start(0, |_, n| Answer::status(200).body(format!(r#"{{"token":"T{n}"}}"#)));
    let test = client(&server.registry.registry(), password());
    let error = test.client.repository(&server.registry.repository("a")).tags().unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert_eq!((server.registry.asked().len(), server.tokens.asked().len()), (2, 1));
}

#[test]
fn an_identity_token_is_exchanged() {
    let server = TokenRegistry::start(usize::MAX, |asked, n| match asked.method.as_str() {
        "POST" => Answer::status(200).body(format!(r#"{{"access_token":"T{n}","expires_in":300}}"#)),
        _ => Answer::status(400),
    });
    let identity = Some(Credential::IdentityToken(Secret::new("re/fresh")));
    let test = client(&server.registry.registry(), identity);
    test.client.repository(&server.registry.repository("a")).tags().unwrap();
    let asked = &server.tokens.asked()[0];
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        "grant_type=refresh_token&client_id=plimsoll&service=reg&scope=repository:a:pull&refresh_token=re/fresh"
    );
}

#[test]
fn a_service_without_oauth_gets_the_identity_token_as_password() {
    let server = TokenRegistry::start(usize::MAX, |asked, n| match asked.method.as_str() {
        "POST" => Answer::status(404),
        _ => Answer::status(200).body(format!(r#"{{"token":"T{n}"}}"#)),
    });
    let identity = Some(Credential::IdentityToken(Secret::new("refresh")));
    let test = client(&server.registry.registry(), identity);
    test.client.repository(&server.registry.repository("a")).tags().unwrap();
    assert_eq!(server.tokens.lines(), ["POST /token", "GET /token"]);
}

#[test]
fn a_token_service_that_fails_is_asked_again_and_one_that_refuses_is_not() {
    let server = TokenRegistry::start(usize::MAX, |_, n| match n {
        1 => Answer::status(503),
        _ => Answer::status(200).body(format!(r#"{{"token":"T{n}"}}"#)),
    });
    let test = client(&server.registry.registry(), password());
    test.client.repository(&server.registry.repository("a")).tags().unwrap();
    assert_eq!(test.slept(), [Duration::from_secs(10)]);

    let server = TokenRegistry::start(usize::MAX, |_, _| Answer::status(401).body("wrong password"));
    let test = client(&server.registry.registry(), password());
    let error = test.client.repository(&server.registry.repository("a")).tags().unwrap_err();
    assert!(
        matches!(&error, StoreError::Denied { .. }) && reason(&error).contains("wrong password"),
        "{error}"
    );
    assert_eq!(server.tokens.asked().len(), 1);
}

#[test]
fn what_a_token_service_says_is_never_shown() {
    let server =
        TokenRegistry::start(usize::MAX, |_, _| Answer::status(200).body(r#"{"token":5,"x":"secret"}"#));
    let test = client(&server.registry.registry(), password());
    let error = test.client.repository(&server.registry.repository("a")).tags().unwrap_err();
    assert!(
        reason(&error).contains("sent no token") && !reason(&error).contains("secret"),
        "{}",
        reason(&error)
    );
}

#[test]
fn a_realm_elsewhere_gets_no_password() {
    let server = Scripted::start(|_: &Asked| {
        Answer::status(401).header("WWW-Authenticate", "Bearer realm=\"http://registry.invalid/token\"")
    });
    let test = client(&server.registry(), password());
    let error = test.client.repository(&server.repository("a")).tags().unwrap_err();
    assert!(reason(&error).contains("token service must be reached by https"), "{}", reason(&error));
}

#[test]
fn redirects_to_another_host_carry_no_credentials() {
    let content = noise(1, 10_000);
    let served = content.clone();
    let elsewhere = Scripted::start(move |_: &Asked| Answer::status(200).body(served.clone()));
    let target = elsewhere.url("/bucket/blob?signature=abc");
    let server = Scripted::start(move |asked: &Asked| match asked.header("authorization") {
        Some(BASIC) => Answer::status(307).header("Location", &target),
        _ => Answer::status(401).header("WWW-Authenticate", "Basic"),
    });
    let test = client(&server.registry(), password());
    let remote = test.client.repository(&server.repository("a"));
    assert!(read(remote.open_blob(&Digest::of(&content)).unwrap()).unwrap() == content);
    let asked = elsewhere.asked();
    assert_eq!(asked[0].path, "/bucket/blob?signature=abc");
    assert_eq!(asked[0].header("authorization"), None);
}

#[test]
fn a_host_that_was_redirected_to_cannot_ask_for_credentials() {
    let elsewhere =
        Scripted::start(|_: &Asked| Answer::status(401).header("WWW-Authenticate", "Basic realm=\"mine\""));
    let target = elsewhere.url("/");
    let server = Scripted::start(move |_: &Asked| Answer::status(302).header("Location", &target));
    let test = client(&server.registry(), password());
    assert!(test.client.repository(&server.repository("a")).open_blob(&Digest::of(b"x")).is_err());
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert_eq!(elsewhere.asked().len(), 1);
}

#[test]
fn an_upload_to_another_host_carries_no_credentials() {
    let elsewhere = Scripted::start(|_: &Asked| Answer::status(201));
    let target = elsewhere.url("/upload?signature=abc");
    let server =
        Scripted::start(move |asked: &Asked| match (asked.header("authorization"), asked.method.as_str()) {
            (Some(BASIC), "HEAD") => Answer::status(404),
            (Some(BASIC), _) => Answer::status(202).header("Location", &target),
            _ => Answer::status(401).header("WWW-Authenticate", "Basic"),
        });
    let test = client(&server.registry(), password());
    let content = noise(1, 1000);
    let remote = test.client.repository(&server.repository("a"));
    remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap();
    let asked = elsewhere.asked();
    assert!(asked[0].path.starts_with("/upload?signature=abc&digest=sha256:"), "{}", asked[0].path);
    assert_eq!(asked[0].header("authorization"), None);
    assert!(asked[0].body == content);
}

#[test]
fn redirects_in_a_circle_end() {
    let server = Scripted::start(|asked: &Asked| Answer::status(307).header("Location", &asked.path));
    let test = client(&server.registry(), None);
    let error = test.client.repository(&server.repository("a")).resolve(&tag("x")).unwrap_err();
    assert!(reason(&error).contains("redirects"), "{}", reason(&error));
    assert_eq!(server.asked().len(), 6);
}

#[test]
fn pushes_ask_for_the_right_to_push() {
    let server =
        TokenRegistry::start(usize::MAX, |_, n| Answer::status(200).body(format!(r#"{{"token":"T{n}"}}"#)));
    let test = client(&server.registry.registry(), password());
    let remote = test.client.repository(&server.registry.repository("a"));
    remote.untag(&tag("x")).unwrap();
    let asked = server.tokens.asked();
    assert_eq!(asked[0].path, "/token?service=reg&scope=repository:a:delete,pull,push");
}
