//! Getting a token from the service a registry names.
//!
//! | credential | request |
//! |---|---|
//! | none | GET |
//! | password | GET with Basic |
//! | identity token | POST (OAuth 2 refresh); where that is not known (404, 405), GET with Basic |
//!
//! Source: distribution project, token authentication and OAuth 2 token authentication.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;

use super::auth::{self, Audience, Token, unauthorized};
use super::credentials::Credential;
use super::host::{JSON_LIMIT, read_error};
use super::payload::Payload;
use super::transport::Reply;
use super::{Failure, Secret};
use crate::protocol::Challenge;
use crate::protocol::query::{encode, with_pair};

/// How we are named to token services.
const CLIENT_ID: &str = "plimsoll";
/// How long a token lives whose answer does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// A number, or one in quotes.
    expires_in: Option<serde_json::Value>,
}

/// Fetches a token for the audience. Not retried here: the request that needs it is.
pub(crate) fn fetch(
    audience: Audience<'_>,
    challenge: &Challenge,
    credential: Option<Credential>,
) -> Result<Token, Failure> {
    let Challenge::Bearer { realm, service, scope } = challenge else {
        return Err(unauthorized(audience, "a token was wanted where none is asked for"));
    };
    let realm = checked_realm(audience, realm)?;
    let scope = audience.scope.clone().with_text(scope.as_deref());
    let scopes = scope.parts();
    let service = service.as_deref();
    let reply = match credential {
        Some(Credential::IdentityToken(token)) => {
            let reply = refresh(audience, &realm, service, &scope.to_string(), &token)?;
            match reply.status {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                    reply.body.discard();
                    get(audience, &realm, service, &scopes, Some(&auth::basic("<token>", &token)))?
                }
                _ => reply,
            }
        }
        Some(Credential::Password { username, password }) => {
            get(audience, &realm, service, &scopes, Some(&auth::basic(&username, &password)))?
        }
        Some(Credential::RegistryToken(_)) | None => get(audience, &realm, service, &scopes, None)?,
    };
    read(audience, &realm, reply)
}

/// Credentials go to the realm, so a registry must not be able to choose just any.
fn checked_realm(audience: Audience<'_>, realm: &str) -> Result<Uri, Failure> {
    let refused = |reason: &str| Failure::Address {
        address: super::address::without_query(realm),
        reason: reason.to_owned(),
    };
    let address: Uri = realm.parse().map_err(|_| refused("the token service has no valid address"))?;
    if !audience.host.origin()?.trusts_realm(&address) {
        return Err(refused("a token service must be reached by https, or be the registry's own host"));
    }
    Ok(address)
}

fn get(
    audience: Audience<'_>,
    realm: &Uri,
    service: Option<&str>,
    scopes: &[String],
    basic: Option<&Secret>,
) -> Result<Reply, Failure> {
    let mut address = realm.to_string();
    for (key, value) in service.map(|service| ("service", service)).into_iter().chain(
        // One pair for each scope: some services read only the first of a list in one pair.
        scopes.iter().map(|scope| ("scope", scope.as_str())),
    ) {
        address = with_pair(&address, key, value);
    }
    let mut request = Request::builder().method(Method::GET).uri(address);
    if let Some(header) = basic.and_then(auth::sensitive) {
        request = request.header(AUTHORIZATION, header);
    }
    audience.host.send_bare(request, &Payload::empty())
}

fn refresh(
    audience: Audience<'_>,
    realm: &Uri,
    service: Option<&str>,
    scope: &str,
    token: &Secret,
) -> Result<Reply, Failure> {
    let form = format!(
        "grant_type=refresh_token&client_id={CLIENT_ID}&service={}&scope={}&refresh_token={}",
        encode(service.unwrap_or_default()),
        encode(scope),
        encode(token.expose())
    );
    let request = Request::builder()
        .method(Method::POST)
        .uri(realm)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    audience.host.send_bare(request, &Payload::Bytes(Bytes::from(form)))
}

fn read(audience: Audience<'_>, realm: &Uri, reply: Reply) -> Result<Token, Failure> {
    let service = super::address::without_query(&realm.to_string());
    match reply.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            let words = read_error(reply, audience.host.clock());
            let reason = format!("the token service {service} refused: {words}");
            return Err(unauthorized(audience, &reason));
        }
        _ => return Err(read_error(reply, audience.host.clock())),
    }
    let body = reply.body.all(JSON_LIMIT)?;
    let invalid = || Failure::protocol(format!("the token service {service} sent no token"));
    // Not with serde's words, which may quote what came.
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| invalid())?;
    let text = answer.token.or(answer.access_token).filter(|text| !text.is_empty()).ok_or_else(invalid)?;
    let seconds = |value: serde_json::Value| match value.as_f64() {
        Some(seconds) => Some(seconds),
        None => value.as_str()?.trim().parse().ok(),
    };
    let lifetime =
        answer.expires_in.and_then(seconds).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero()).unwrap_or(DEFAULT_LIFETIME);
    Ok(Token { secret: Secret::new(text), expires: auth::expiry(audience.host.clock().now(), lifetime) })
}
