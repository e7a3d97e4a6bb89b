//! Tokens that must be let in, and those that must not.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::server::access::Action;

const NOW: i64 = 1_000_000;

struct Host {
    key: EcdsaKeyPair,
}

impl Host {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { key }
    }

    fn keys(&self, kid: &str) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        let key = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y});
        json!({"keys": [{"kty": "oct", "k": "AAAA"}, key]}).to_string().into_bytes()
    }

    fn sign(&self, header: Value, claims: &Value) -> String {
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(json!({"alg": "ES256", "kid": "1"}), claims)
    }
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "https://ci.example", "aud": "registry.example", "sub": "repo:Acme/Shop:ref:refs/heads/main",
        "repository": "Acme/Shop", "ref": "refs/heads/main", "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 300,
    });
    change(&mut claims);
    claims
}

fn rule(claims: &[(&str, &str)], repositories: &[&str], allow: &str) -> IssuerRule {
    IssuerRule {
        claims: claims.iter().map(|(name, text)| ((*name).to_owned(), Pattern::new(*text))).collect(),
        repositories: repositories.iter().map(|text| (*text).to_owned()).collect(),
        allow: Actions::known(allow),
    }
}

fn issuer(source: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Issuer {
    let rules = vec![
        rule(&[("repository", "Acme/*")], &["{repository}", "{repository}/*"], "pull"),
        rule(&[("repository", "Acme/*"), ("ref", "refs/heads/main")], &["{repository}"], "push"),
    ];
    let source = Arc::new(move || Ok(source()));
    Issuer::new("https://ci.example", "registry.example", rules, source).unwrap()
}

fn fixed(host: &Host) -> Issuer {
    let keys = host.keys("1");
    issuer(move || keys.clone())
}

#[test]
fn a_job_may_do_what_its_claims_say() {
    let host = Host::new();
    let issuer = fixed(&host);
    let who = issuer.admit(&host.token(&claims(|_| {})), NOW).unwrap();
    assert_eq!(who.name, "repo:Acme/Shop:ref:refs/heads/main at https://ci.example");
    let may = |who: &Principal, action, path| who.granted(path).has(action);
    assert!(may(&who, Action::Push, "acme/shop") && may(&who, Action::Pull, "acme/shop/api"));
    assert!(!may(&who, Action::Push, "acme/shop/api") && !may(&who, Action::Pull, "acme/web"));
    assert!(!may(&who, Action::Delete, "acme/shop"));
    let branch = claims(|claims| claims["ref"] = "refs/heads/feature".into());
    let who = issuer.admit(&host.token(&branch), NOW).unwrap();
    assert!(!may(&who, Action::Push, "acme/shop") && may(&who, Action::Pull, "acme/shop"));
    let stranger = claims(|claims| claims["repository"] = "mallory/x".into());
    assert_eq!(issuer.admit(&host.token(&stranger), NOW).unwrap().grants, []);
    let pattern = claims(|claims| claims["repository"] = "Acme/*".into());
    assert_eq!(issuer.admit(&host.token(&pattern), NOW).unwrap().grants, [], "a claim is no pattern");
}

#[test]
fn tokens_that_do_not_count() {
    let host = Host::new();
    let issuer = fixed(&host);
    let refused = |token: String| issuer.admit(&token, NOW).unwrap_err();
    let token = |change: fn(&mut Value)| host.token(&claims(change));
    assert!(refused(token(|claims| claims["aud"] = "other".into())).contains("not for"));
    assert!(refused(token(|claims| claims["aud"] = json!(["other"]))).contains("not for"));
    assert!(refused(token(|claims| claims["aud"] = Value::Null)).contains("not for"));
    assert!(refused(token(|claims| claims["exp"] = (NOW - 61).into())).contains("expired"));
    assert!(refused(token(|claims| claims["exp"] = Value::Null)).contains("no end"));
    assert!(refused(token(|claims| claims["nbf"] = (NOW + 61).into())).contains("not good yet"));
    let unsigned = |header: Value| refused(host.sign(header, &claims(|_| {})));
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "1"}),
        json!({"alg": "ES256", "kid": "2"}),
        json!({"alg": "RS256", "kid": "1"}),
    ] {
        assert!(unsigned(header).contains("signed by no key"));
    }
    let other = Host::new();
    let jwk: Value = serde_json::from_slice(&other.keys("1")).unwrap();
    let embedded = json!({"alg": "ES256", "kid": "1", "jwk": jwk["keys"][1]});
    assert!(refused(other.sign(embedded, &claims(|_| {}))).contains("signed by no key"));
    let whole = host.token(&claims(|_| {}));
    assert!(refused(whole[..whole.len() - 8].to_owned()).contains("signed"));
    assert!(refused("a.b.c".to_owned()).contains("not a signed token"));
    assert!(refused("x".repeat(20_000)).contains("not a signed token"));
    let both = token(|claims| claims["aud"] = json!(["other", "registry.example"]));
    assert!(issuer.admit(&both, NOW).is_ok());
}

#[test]
fn keys_are_asked_for_once_and_not_for_every_wrong_token() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let host = Host::new();
    let keys = host.keys("1");
    let issuer = issuer(move || {
        ASKED.fetch_add(1, Ordering::Relaxed);
        keys.clone()
    });
    for _ in 0..5 {
        assert!(issuer.admit(&host.token(&claims(|_| {})), NOW).is_ok());
        assert!(issuer.admit(&Host::new().token(&claims(|_| {})), NOW).is_err());
    }
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}

#[test]
fn issuers_that_would_let_in_everybody_are_refused() {
    let source: KeySource = Arc::new(|| Ok(Vec::new()));
    let new = |audience: &str, claims: &[(&str, &str)]| {
        Issuer::new("i", audience, vec![rule(claims, &["x"], "pull")], source.clone()).map(|_| ())
    };
    assert!(matches!(new("", &[("repository", "a/b")]), Err(InvalidIssuer::Audience { .. })));
    assert!(matches!(new("a", &[]), Err(InvalidIssuer::Claims { number: 1, .. })));
    assert!(matches!(new("a", &[("repository", "*")]), Err(InvalidIssuer::Claims { .. })));
    assert!(new("a", &[("repository", "acme/*")]).is_ok());
}

#[test]
fn rsa_signatures_of_openssl() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |words: &[&str]| {
        let run =
            Command::new("openssl").args(words).current_dir(folder.path()).stderr(Stdio::null()).output();
        run.ok().filter(|output| output.status.success()).map(|output| output.stdout)
    };
    if openssl(&["genrsa", "-out", "key.pem", "2048"]).is_none() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let modulus =
        String::from_utf8(openssl(&["rsa", "-in", "key.pem", "-modulus", "-noout"]).unwrap()).unwrap();
    let modulus = modulus.trim().strip_prefix("Modulus=").unwrap();
    let n: Vec<u8> = (0..modulus.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&modulus[at..at + 2], 16).unwrap())
        .collect();
    let keys = json!({"keys": [{"kty": "RSA", "n": BASE64.encode(n), "e": "AQAB"}]}).to_string();
    let issuer = issuer(move || keys.clone().into_bytes());
    let header = BASE64.encode(r#"{"alg":"RS256","kid":"any"}"#);
    let signed = format!("{header}.{}", BASE64.encode(claims(|_| {}).to_string()));
    std::fs::write(folder.path().join("signed"), &signed).unwrap();
    let signature = openssl(&["dgst", "-sha256", "-sign", "key.pem", "signed"]).unwrap();
    // The key in the set has no name, the token names one.
    let token = format!("{signed}.{}", BASE64.encode(&signature));
    assert!(issuer.admit(&token, NOW).is_err());
    let header = BASE64.encode(r#"{"alg":"RS256"}"#);
    let signed = format!("{header}.{}", signed.split_once('.').unwrap().1);
    std::fs::write(folder.path().join("signed"), &signed).unwrap();
    let signature = openssl(&["dgst", "-sha256", "-sign", "key.pem", "signed"]).unwrap();
    issuer.admit(&format!("{signed}.{}", BASE64.encode(&signature)), NOW).unwrap();
}

#[test]
fn keys_count_on_while_new_ones_cannot_be_had() {
    let host = Host::new();
    let (raw, count) = (host.keys("1"), Arc::new(AtomicUsize::new(0)));
    let asked = count.clone();
    let source: KeySource = Arc::new(move || match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(raw.clone()),
        1 => Err("nobody answers".to_owned()),
        _ => Ok(b"<html>".to_vec()),
    });
    let rules = vec![rule(&[("repository", "Acme/*")], &["{repository}"], "push")];
    let issuer = Issuer::new("https://ci.example", "registry.example", rules, source).unwrap();
    for _ in 0..3 {
        assert_eq!(issuer.keys(Duration::ZERO).map(|_| ()), Ok(()));
        assert!(issuer.admit(&host.token(&claims(|_| {})), NOW).is_ok());
    }
    assert_eq!(count.load(Ordering::Relaxed), 3, "a source that fails is not asked for every token");
}

#[test]
fn clocks_may_be_a_minute_apart() {
    let host = Host::new();
    let raw = host.keys("1");
    let rules = vec![rule(&[("repository", "Acme/*")], &["{repository}"], "push")];
    let source: KeySource = Arc::new(move || Ok(raw.clone()));
    let issuer = Issuer::new("https://ci.example", "registry.example", rules, source).unwrap();
    let admitted = |now: i64| issuer.admit(&host.token(&claims(|_| {})), now).is_ok();
    // Its time runs from NOW - 10 to NOW + 300.
    let times = [NOW - 71, NOW - 70, NOW + 359, NOW + 360];
    assert_eq!(times.map(admitted), [false, true, true, false]);
}
