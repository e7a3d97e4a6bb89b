//! ECR: a password for twelve hours, made by `GetAuthorizationToken` with the keys of a job or machine.
//!
//! | keys, in this order | from |
//! |---|---|
//! | variables | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | web identity (EKS, CI) | `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, exchanged at STS |
//! | profile | `AWS_PROFILE`, else `default`, in `~/.aws/credentials`; keys alone, no single sign-on, no chained roles |
//! | container (ECS, EKS) | `AWS_CONTAINER_CREDENTIALS_FULL_URI`, `..._RELATIVE_URI` |
//! | machine (EC2) | the metadata service, version 2, on machines of Amazon EC2 |
//!
//! `AWS_ENDPOINT_URL_ECR`, `..._STS`, `..._ECR_PUBLIC` and `AWS_ENDPOINT_URL` move the services.
//! Source: AWS SDKs and Tools Reference Guide; Amazon ECR API Reference.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;

use super::signature::{self, Keys, Signed};
use super::{Asker, Login, Question};
use crate::client::credentials::Credential;
use crate::client::{Failure, Secret};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: String,
    expires_at: Option<f64>,
}

/// Returns the login for a private registry.
pub(super) fn ecr(
    asker: &Asker<'_>,
    region: &str,
    account: &str,
    domain: &str,
) -> Result<Option<Login>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "authorizationData")]
        data: Vec<Authorization>,
    }
    let Some(keys) = keys(asker, region)? else { return Ok(None) };
    let url = endpoint(asker, "ECR", || format!("https://api.ecr.{region}.{domain}"));
    let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
    let body = format!("{{\"registryIds\":[\"{account}\"]}}");
    let answer: Answer = call(asker, &keys, &url, region, "ecr", target, &body)?;
    login(answer.data.into_iter().next())
}

/// Returns the login for the public registry, which is one for all regions.
pub(super) fn public(asker: &Asker<'_>) -> Result<Option<Login>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "authorizationData")]
        data: Authorization,
    }
    let region = "us-east-1";
    let Some(keys) = keys(asker, region)? else { return Ok(None) };
    let url = endpoint(asker, "ECR_PUBLIC", || "https://api.ecr-public.us-east-1.amazonaws.com".to_owned());
    let target = "SpencerFrontendService.GetAuthorizationToken";
    let answer: Answer = call(asker, &keys, &url, region, "ecr-public", target, "{}")?;
    login(Some(answer.data))
}

fn login(found: Option<Authorization>) -> Result<Option<Login>, Failure> {
    let invalid = || Failure::protocol("ECR sent no token");
    let found = found.ok_or_else(invalid)?;
    let text =
        STANDARD.decode(&found.authorization_token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(invalid)?;
    let (username, password) = text.split_once(':').ok_or_else(invalid)?;
    let credential =
        Credential::Password { username: username.to_owned(), password: Secret::new(password.to_owned()) };
    #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970; a nonsensical number is no time")]
    let expires = found.expires_at.and_then(|seconds| Timestamp::from_second(seconds as i64).ok());
    Ok(Some(Login { credential, expires }))
}

fn call<T: serde::de::DeserializeOwned>(
    asker: &Asker<'_>,
    keys: &Keys,
    url: &str,
    region: &str,
    service: &str,
    target: &str,
    body: &str,
) -> Result<T, Failure> {
    let host = url.split("://").nth(1).unwrap_or(url).trim_end_matches('/');
    let content_type = "application/x-amz-json-1.1";
    let signed = Signed { host, region, service, target, content_type, body };
    let headers = signature::headers(keys, &signed, asker.now);
    asker.json(Question {
        method: Method::POST,
        url: &format!("{}/", url.trim_end_matches('/')),
        headers,
        body: body.to_owned(),
    })
}

fn endpoint(asker: &Asker<'_>, service: &str, usual: impl FnOnce() -> String) -> String {
    let own = asker.variable(&format!("AWS_ENDPOINT_URL_{service}"));
    own.or_else(|| asker.variable("AWS_ENDPOINT_URL")).map_or_else(usual, str::to_owned)
}

fn keys(asker: &Asker<'_>, region: &str) -> Result<Option<Keys>, Failure> {
    if let (Some(id), Some(secret)) =
        (asker.variable("AWS_ACCESS_KEY_ID"), asker.variable("AWS_SECRET_ACCESS_KEY"))
    {
        let session = asker.variable("AWS_SESSION_TOKEN").map(str::to_owned);
        return Ok(Some(Keys { id: id.to_owned(), secret: secret.to_owned(), session }));
    }
    if let (Some(file), Some(role)) =
        (asker.variable("AWS_WEB_IDENTITY_TOKEN_FILE"), asker.variable("AWS_ROLE_ARN"))
    {
        return web_identity(asker, region, file, role).map(Some);
    }
    if let Some(keys) = profile(asker)? {
        return Ok(Some(keys));
    }
    if let Some(keys) = container(asker)? {
        return Ok(Some(keys));
    }
    machine(asker)
}

fn web_identity(asker: &Asker<'_>, region: &str, file: &str, role: &str) -> Result<Keys, Failure> {
    let token = asker.file(file)?;
    let session = asker.variable("AWS_ROLE_SESSION_NAME").unwrap_or("plimsoll");
    let url = endpoint(asker, "STS", || format!("https://sts.{region}.amazonaws.com"));
    let url = format!("{}/", url.trim_end_matches('/'));
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("WebIdentityToken", &token),
    ];
    let text = asker.text(Question::form(&url, &form))?;
    // STS speaks XML; three fields of letters and digits need no reader of it.
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    };
    let invalid = || Failure::protocol("STS sent no keys");
    Ok(Keys {
        id: field("AccessKeyId").ok_or_else(invalid)?,
        secret: field("SecretAccessKey").ok_or_else(invalid)?,
        session: field("SessionToken"),
    })
}

/// Reads keys of a profile. One that is named and has none, but a way to get some, is an error: whoever
/// named it expects it to work.
fn profile(asker: &Asker<'_>) -> Result<Option<Keys>, Failure> {
    let named = asker.variable("AWS_PROFILE").or_else(|| asker.variable("AWS_DEFAULT_PROFILE"));
    let name = named.unwrap_or("default");
    let file = match (asker.variable("AWS_SHARED_CREDENTIALS_FILE"), &asker.settings.home) {
        (Some(file), _) => file.into(),
        (None, Some(home)) => home.join(".aws/credentials"),
        (None, None) => return Ok(None),
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let value = |key: &str| ini_value(&text, name, key);
    if let (Some(id), Some(secret)) = (value("aws_access_key_id"), value("aws_secret_access_key")) {
        return Ok(Some(Keys { id, secret, session: value("aws_session_token") }));
    }
    match named {
        Some(name) => Err(Failure::protocol(format!(
            "the profile {name} has no keys in {}; single sign-on and chained roles are not read",
            file.display()
        ))),
        None => Ok(None),
    }
}

/// Returns the value of a key in the section `[name]`.
fn ini_value(text: &str, name: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = section.trim() == name;
        } else if inside
            && let Some((found, value)) = line.split_once('=')
            && found.trim() == key
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

impl From<Role> for Keys {
    fn from(role: Role) -> Self {
        Self { id: role.access_key_id, secret: role.secret_access_key, session: role.token }
    }
}

fn container(asker: &Asker<'_>) -> Result<Option<Keys>, Failure> {
    let relative = asker.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = match (asker.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"), relative) {
        (_, Some(path)) => format!("http://169.254.170.2{path}"),
        (Some(url), None) => url.to_owned(),
        (None, None) => return Ok(None),
    };
    let token = match asker.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(asker.file(file)?),
        None => asker.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
    };
    let mut question = Question::get(&url);
    question.headers.extend(token.map(|token| ("authorization", token)));
    asker.json::<Role>(question).map(|role| Some(role.into()))
}

fn machine(asker: &Asker<'_>) -> Result<Option<Keys>, Failure> {
    let moved = asker.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let is_off =
        asker.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if is_off || (moved.is_none() && !asker.settings.machine.contains("Amazon")) {
        return Ok(None);
    }
    let base = format!("{}/latest", moved.unwrap_or("http://169.254.169.254").trim_end_matches('/'));
    let url = format!("{base}/api/token");
    let question = Question { method: Method::PUT, ..Question::get(&url) };
    let token = asker.text(question.header("x-aws-ec2-metadata-token-ttl-seconds", "300"))?;
    let ask = |url: &str| asker.text(Question::get(url).header("x-aws-ec2-metadata-token", token.trim()));
    let roles = format!("{base}/meta-data/iam/security-credentials/");
    let role = match ask(&roles) {
        Ok(names) => names.lines().next().unwrap_or_default().trim().to_owned(),
        // A machine without a role.
        Err(Failure::Status { status, .. }) if status.as_u16() == 404 => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let role: Role = serde_json::from_str(&ask(&format!("{roles}{role}"))?)
        .map_err(|_| Failure::protocol("the metadata service sent no keys"))?;
    Ok(Some(role.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_by_their_sections() {
        let text = "# x\n[default]\naws_access_key_id = A\n[other]\naws_access_key_id=B=\n";
        let value = |name| ini_value(text, name, "aws_access_key_id");
        assert_eq!(value("default").as_deref(), Some("A"));
        assert_eq!(value("other").as_deref(), Some("B="));
        assert_eq!(value("none"), None);
        assert_eq!(ini_value(text, "default", "aws_secret_access_key"), None);
    }
}
