//! Artifact Registry and GCR: an access token of an hour, as the password of `oauth2accesstoken`.
//!
//! | token, in this order | from |
//! |---|---|
//! | variable | `CLOUDSDK_AUTH_ACCESS_TOKEN`, `GOOGLE_OAUTH_ACCESS_TOKEN` |
//! | file that `GOOGLE_APPLICATION_CREDENTIALS` names, else gcloud's own | a service account's key, a user's refresh token, workload identity federation |
//! | metadata server | on machines of Google, or where `GCE_METADATA_HOST` names one |
//!
//! Source: Google Cloud, "Application Default Credentials", AIP-4110 and following; RFC 7523; RFC 8693.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, Login, Question};
use crate::client::credentials::Credential;
use crate::client::{Failure, Secret};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKENS: &str = "https://oauth2.googleapis.com/token";

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<i64>,
}

/// A file of credentials, by its `type`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount { client_email: String, private_key: String, token_uri: Option<String> },
    AuthorizedUser { client_id: String, client_secret: String, refresh_token: String },
    ExternalAccount(External),
}

/// Who somebody else's token says we are.
#[derive(Deserialize)]
struct External {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: ExternalSource,
    service_account_impersonation_url: Option<String>,
}

#[derive(Deserialize)]
struct ExternalSource {
    file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    format: Option<ExternalFormat>,
}

#[derive(Deserialize)]
struct ExternalFormat {
    subject_token_field_name: Option<String>,
}

/// Returns the login; `None` where nothing here is Google's.
pub(super) fn login(asker: &Asker<'_>) -> Result<Option<Login>, Failure> {
    let given = asker.variable("CLOUDSDK_AUTH_ACCESS_TOKEN");
    if let Some(token) = given.or_else(|| asker.variable("GOOGLE_OAUTH_ACCESS_TOKEN")) {
        return Ok(Some(of_token(token.to_owned(), None)));
    }
    let named = asker.variable("GOOGLE_APPLICATION_CREDENTIALS").map(str::to_owned);
    let usual = || {
        let home = asker.settings.home.as_ref()?;
        let file = home.join(".config/gcloud/application_default_credentials.json");
        file.is_file().then(|| file.display().to_string())
    };
    let token = match named.or_else(usual) {
        Some(path) => of_file(asker, &path)?,
        None => match machine(asker)? {
            Some(token) => token,
            None => return Ok(None),
        },
    };
    let expires = token.expires_in.and_then(|seconds| asker.after(seconds));
    Ok(Some(of_token(token.access_token, expires)))
}

fn of_token(token: String, expires: Option<Timestamp>) -> Login {
    let username = "oauth2accesstoken".to_owned();
    Login { credential: Credential::Password { username, password: Secret::new(token) }, expires }
}

fn of_file(asker: &Asker<'_>, path: &str) -> Result<Token, Failure> {
    let text = asker.file(path)?;
    // Not with serde's words, which may quote a key.
    let file: File = serde_json::from_str(&text).map_err(|_| {
        Failure::protocol(format!(
            "{path} is no service_account, authorized_user or external_account of Google"
        ))
    })?;
    match file {
        File::ServiceAccount { client_email, private_key, token_uri } => {
            let uri = token_uri.as_deref().unwrap_or(TOKENS);
            let assertion = assertion(asker, &client_email, &private_key, uri)?;
            let kind = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            asker.json(Question::form(uri, &[("grant_type", kind), ("assertion", &assertion)]))
        }
        File::AuthorizedUser { client_id, client_secret, refresh_token } => asker.json(Question::form(
            TOKENS,
            &[
                ("grant_type", "refresh_token"),
                ("client_id", &client_id),
                ("client_secret", &client_secret),
                ("refresh_token", &refresh_token),
            ],
        )),
        File::ExternalAccount(external) => federated(asker, &external),
    }
}

/// Returns a token request signed with a service account's key.
fn assertion(asker: &Asker<'_>, email: &str, key: &str, audience: &str) -> Result<String, Failure> {
    let invalid = |what: &str| Failure::protocol(format!("the private key of {email} {what}"));
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| invalid("is no PEM"))?;
    let pair = RsaKeyPair::from_pkcs8(key.secret_der()).map_err(|_| invalid("is no RSA key"))?;
    let issued = asker.now.as_second();
    let claims = json!({"iss": email, "scope": SCOPE, "aud": audience, "iat": issued, "exp": issued + 3600});
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| invalid("does not sign"))?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Exchanges the token of a CI host or another cloud, and becomes a service account where one is named.
fn federated(asker: &Asker<'_>, external: &External) -> Result<Token, Failure> {
    let source = &external.credential_source;
    let text = match (&source.file, &source.url) {
        (Some(file), _) => asker.file(file)?,
        (None, Some(url)) => {
            let question = Question::get(url);
            asker.text(
                source.headers.iter().fold(question, |question, (name, value)| question.header(name, value)),
            )?
        }
        (None, None) => {
            return Err(Failure::protocol(
                "federation from AWS, or by a program, is not spoken; only file and url",
            ));
        }
    };
    let field = source.format.as_ref().and_then(|format| format.subject_token_field_name.as_ref());
    let subject = match field {
        None => text.trim().to_owned(),
        Some(field) => serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value.get(field)?.as_str()?.to_owned()))
            .ok_or_else(|| Failure::protocol(format!("the subject token has no field {field}")))?,
    };
    let token: Token = asker.json(Question::form(
        &external.token_url,
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &external.audience),
            ("scope", SCOPE),
            ("subject_token_type", &external.subject_token_type),
            ("subject_token", &subject),
        ],
    ))?;
    let Some(url) = &external.service_account_impersonation_url else { return Ok(token) };
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Impersonated {
        access_token: String,
    }
    let question = Question {
        method: hyper::Method::POST,
        body: json!({"scope": [SCOPE]}).to_string(),
        ..Question::get(url)
    };
    let question = question.header("content-type", "application/json");
    let found: Impersonated =
        asker.json(question.header("authorization", format!("Bearer {}", token.access_token)))?;
    Ok(Token { access_token: found.access_token, expires_in: Some(3600) })
}

fn machine(asker: &Asker<'_>) -> Result<Option<Token>, Failure> {
    let moved = asker.variable("GCE_METADATA_HOST");
    if moved.is_none() && !asker.settings.machine.contains("Google") {
        return Ok(None);
    }
    let host = moved.unwrap_or("metadata.google.internal");
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    asker.json(Question::get(&url).header("metadata-flavor", "Google")).map(Some)
}
