//! Logins made from what clouds give their jobs, against services that are played.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::process::Command;
use std::sync::Arc;

use oci::Registry;
use registry::client::{CloudSettings, Credential, Credentials, Secret};
use store::StoreError;
use support::TestClient;
use support::peer::is_installed;
use support::scripted::{Answer, Asked, Scripted};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const GAR: &str = "europe-docker.pkg.dev";

fn client(variables: &[(&str, &str)], change: impl FnOnce(&mut CloudSettings)) -> TestClient {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut clouds = CloudSettings { variables, ..CloudSettings::default() };
    change(&mut clouds);
    TestClient::new(|options| options.clouds = clouds)
}

fn login(test: &TestClient, registry: &str) -> Result<Option<Credential>, StoreError> {
    test.client.credential(&registry.parse::<Registry>().unwrap())
}

#[track_caller]
fn check(found: Result<Option<Credential>, StoreError>, username: &str, password: &str) {
    let expected = Credential::Password { username: username.to_owned(), password: Secret::new(password) };
    assert!(found.unwrap() == Some(expected), "another login");
}

/// `AWS:password` until an hour from now, as ECR writes it.
fn ecr_token() -> Answer {
    let body =
        r#"{"authorizationData":[{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":1795179600.5}]}"#;
    Answer::status(200).body(body)
}

#[test]
fn ecr_with_keys_in_variables() {
    let server = Scripted::start(|_: &Asked| ecr_token());
    let url = server.url("");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_ENDPOINT_URL_ECR", &url),
    ];
    let test = client(&keys, |_| {});
    check(login(&test, ECR), "AWS", "password");
    check(login(&test, ECR), "AWS", "password");
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "a login is kept until it ends");
    let header = |name| asked[0].header(name).unwrap_or_default();
    assert_eq!(header("x-amz-target"), "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
    assert_eq!(header("x-amz-date"), "20261120T120000Z");
    assert_eq!(header("x-amz-security-token"), "session");
    let signed = header("authorization");
    assert!(
        signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/20261120/eu-west-1/ecr/aws4_request, "),
        "{signed}"
    );
    assert!(!signed.contains("hunter2"), "the secret itself never travels");
    assert_eq!(asked[0].body, br#"{"registryIds":["123456789012"]}"#);
}

#[test]
fn ecr_by_the_role_of_a_job() {
    let server = Scripted::start(|asked: &Asked| match asked.header("x-amz-target") {
        Some(_) => ecr_token(),
        None => Answer::status(200).body(
            "<R><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s/s</SecretAccessKey>\
             <SessionToken>t+t</SessionToken></Credentials></R>",
        ),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "a.jwt.token\n").unwrap();
    let url = server.url("");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/ci"),
        ("AWS_ENDPOINT_URL", &url),
    ];
    check(login(&client(&variables, |_| {}), ECR), "AWS", "password");
    let asked = server.asked();
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(
        form.contains("Action=AssumeRoleWithWebIdentity") && form.contains("WebIdentityToken=a.jwt.token"),
        "{form}"
    );
    assert_eq!(asked[1].header("x-amz-security-token"), Some("t+t"));
}

#[test]
fn ecr_by_a_profile_a_container_and_a_machine() {
    let server = Scripted::start(|asked: &Asked| match asked.path.as_str() {
        "/" => ecr_token(),
        "/latest/api/token" => Answer::status(200).body("imds"),
        "/latest/meta-data/iam/security-credentials/" => Answer::status(200).body("role\n"),
        _ => Answer::status(200).body(r#"{"AccessKeyId":"A","SecretAccessKey":"B","Token":"C"}"#),
    });
    let url = server.url("");
    let ecr = ("AWS_ENDPOINT_URL_ECR", url.as_str());
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let text = "[default]\naws_access_key_id = A\naws_secret_access_key = B\n[sso]\nsso_session = x\n";
    std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
    let at_home = |settings: &mut CloudSettings| settings.home = Some(home.path().to_owned());
    check(login(&client(&[ecr], at_home), ECR), "AWS", "password");
    let error = login(&client(&[ecr, ("AWS_PROFILE", "sso")], at_home), ECR).unwrap_err().to_string();
    assert!(error.contains("profile sso") && error.contains("docker-credential-ecr-login"), "{error}");

    let full = server.url("/role");
    check(
        login(&client(&[ecr, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &full)], |_| {}), ECR),
        "AWS",
        "password",
    );

    let moved = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str());
    check(login(&client(&[ecr, moved], |_| {}), ECR), "AWS", "password");
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.header("x-aws-ec2-metadata-token") == Some("imds")));
    let before = asked.len();
    assert!(login(&client(&[ecr], |_| {}), ECR).unwrap().is_none(), "nothing here is of Amazon");
    assert_eq!(server.asked().len(), before);
}

#[test]
fn a_cloud_that_refuses_is_told_with_the_helper_that_does_more() {
    let server =
        Scripted::start(|_: &Asked| Answer::status(400).body(r#"{"__type":"UnrecognizedClientException"}"#));
    let url = server.url("");
    let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B"), ("AWS_ENDPOINT_URL", &url)];
    let error = login(&client(&keys, |_| {}), ECR).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("UnrecognizedClientException") && text.contains("docker-credential-ecr-login"),
        "{text}"
    );
}

#[test]
fn other_hosts_get_nothing_and_files_come_first() {
    let server = Scripted::start(|_: &Asked| ecr_token());
    let url = server.url("");
    let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B"), ("AWS_ENDPOINT_URL", &url)];
    let test = client(&keys, |_| {});
    assert!(login(&test, "registry.example").unwrap().is_none());
    assert!(login(&test, &format!("{ECR}.evil.example")).unwrap().is_none());
    let own = Credential::Password { username: "me".to_owned(), password: Secret::new("mine") };
    let settings = CloudSettings {
        variables: keys.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..CloudSettings::default()
    };
    let test = TestClient::new(|options| {
        options.clouds = settings;
        options.credentials = Arc::new(Credentials::anonymous().with(ECR.parse().unwrap(), own));
    });
    check(login(&test, ECR), "me", "mine");
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn google_with_a_token_and_with_a_machines_account() {
    check(login(&client(&[("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29")], |_| {}), GAR), "oauth2accesstoken", "ya29");
    let server = Scripted::start(|asked: &Asked| match asked.header("metadata-flavor") {
        Some("Google") => Answer::status(200).body(r#"{"access_token":"of the machine","expires_in":3599}"#),
        _ => Answer::status(403),
    });
    let host = server.address().to_string();
    let test = client(&[("GCE_METADATA_HOST", &host)], |_| {});
    check(login(&test, "gcr.io"), "oauth2accesstoken", "of the machine");
    assert!(login(&client(&[], |_| {}), GAR).unwrap().is_none());
}

#[test]
fn google_with_the_key_of_a_service_account() {
    if !is_installed("openssl") {
        return;
    }
    let server =
        Scripted::start(|_: &Asked| Answer::status(200).body(r#"{"access_token":"ya29","expires_in":3599}"#));
    let folder = tempfile::tempdir().unwrap();
    let key = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output();
    let key = String::from_utf8(key.unwrap().stdout).unwrap();
    let file = folder.path().join("key.json");
    let json = serde_json::json!({
        "type": "service_account", "client_email": "ci@x.iam", "private_key": key, "token_uri": server.url("/token"),
    });
    std::fs::write(&file, json.to_string()).unwrap();
    let variables = [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())];
    check(login(&client(&variables, |_| {}), GAR), "oauth2accesstoken", "ya29");
    let form = String::from_utf8(server.asked()[0].body.clone()).unwrap();
    let assertion = form.split("assertion=").nth(1).unwrap();
    assert_eq!(assertion.split('.').count(), 3, "{form}");
    assert!(form.starts_with("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&"), "{form}");

    let broken =
        serde_json::json!({"type": "service_account", "client_email": "ci@x.iam", "private_key": "secret"});
    std::fs::write(&file, broken.to_string()).unwrap();
    let error = login(&client(&variables, |_| {}), GAR).unwrap_err().to_string();
    assert!(error.contains("is no PEM") && !error.contains("secret"), "{error}");
}

#[test]
fn google_with_the_token_of_a_ci_host() {
    let server = Scripted::start(|asked: &Asked| match asked.path.as_str() {
        "/subject" => Answer::status(200).body(r#"{"value":"of the host"}"#),
        "/sts" => Answer::status(200).body(r#"{"access_token":"federated","expires_in":3599}"#),
        _ => match asked.header("authorization") {
            Some("Bearer federated") => Answer::status(200).body(r#"{"accessToken":"of the account"}"#),
            _ => Answer::status(401),
        },
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("federation.json");
    let json = serde_json::json!({
        "type": "external_account", "audience": "//iam/x", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": server.url("/sts"), "service_account_impersonation_url": server.url("/impersonate"),
        "credential_source": {
            "url": server.url("/subject"), "headers": {"authorization": "bearer x"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    });
    std::fs::write(&file, json.to_string()).unwrap();
    let variables = [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())];
    check(login(&client(&variables, |_| {}), GAR), "oauth2accesstoken", "of the account");
    assert!(
        String::from_utf8(server.asked()[1].body.clone()).unwrap().contains("subject_token=of%20the%20host")
    );
}

/// The registry's part of Azure's way is at the registry's own host, which no test can be; so far it
/// is Entra ID that is asked, and its answer that leads on.
#[test]
fn azure_asks_entra_id_first() {
    let server = Scripted::start(|_: &Asked| Answer::status(401).body(r#"{"error":"invalid_client"}"#));
    let url = server.url("");
    let variables = [
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
        ("AZURE_AUTHORITY_HOST", &url),
    ];
    let error = login(&client(&variables, |_| {}), "acme.azurecr.io").unwrap_err().to_string();
    assert!(error.contains("invalid_client") && !error.contains("hunter2"), "{error}");
    let asked = server.asked();
    assert_eq!(asked[0].line(), "POST /tenant/oauth2/v2.0/token");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(form.contains("scope=https://containerregistry.azure.net/.default"), "{form}");
    assert!(login(&client(&[], |_| {}), "acme.azurecr.io").unwrap().is_none());
}
