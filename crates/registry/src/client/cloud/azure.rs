//! ACR: a token of Entra ID, exchanged at the registry for one of its own.
//!
//! | who we are, in this order | from |
//! |---|---|
//! | service principal | `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_CLIENT_SECRET` |
//! | workload identity (AKS, CI) | the same with `AZURE_FEDERATED_TOKEN_FILE` instead of the secret |
//! | managed identity | `IDENTITY_ENDPOINT` with `IDENTITY_HEADER`, else the metadata service on machines of Microsoft |
//!
//! `AZURE_AUTHORITY_HOST` moves Entra ID. Source: Azure/acr, docs/AAD-OAuth.md; Microsoft identity
//! platform, "OAuth 2.0 client credentials flow".

use serde::Deserialize;

use super::{Asker, Login, Question};
use crate::client::credentials::Credential;
use crate::client::{Failure, Secret};
use crate::protocol::query::encode;

const RESOURCE: &str = "https://containerregistry.azure.net";

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
struct Exchanged {
    refresh_token: String,
}

/// Returns the login; `None` where nothing here is Azure's.
pub(super) fn login(asker: &Asker<'_>) -> Result<Option<Login>, Failure> {
    let client = asker.variable("AZURE_CLIENT_ID");
    let tenant = asker.variable("AZURE_TENANT_ID");
    let token = match (client, tenant) {
        (Some(client), Some(tenant)) => match entra(asker, client, tenant)? {
            Some(token) => token,
            None => match machine(asker, Some(client))? {
                Some(token) => token,
                None => return Ok(None),
            },
        },
        (client, _) => match machine(asker, client)? {
            Some(token) => token,
            None => return Ok(None),
        },
    };
    exchange(asker, tenant, &token).map(Some)
}

fn entra(asker: &Asker<'_>, client: &str, tenant: &str) -> Result<Option<String>, Failure> {
    let authority = asker.variable("AZURE_AUTHORITY_HOST").unwrap_or("https://login.microsoftonline.com");
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    let scope = format!("{RESOURCE}/.default");
    let mut form = vec![("grant_type", "client_credentials"), ("client_id", client), ("scope", &scope)];
    let assertion;
    if let Some(secret) = asker.variable("AZURE_CLIENT_SECRET") {
        form.push(("client_secret", secret));
    } else if let Some(file) = asker.variable("AZURE_FEDERATED_TOKEN_FILE") {
        assertion = asker.file(file)?;
        form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        form.push(("client_assertion", &assertion));
    } else {
        return Ok(None);
    }
    asker.json::<Token>(Question::form(&url, &form)).map(|token| Some(token.access_token))
}

fn machine(asker: &Asker<'_>, client: Option<&str>) -> Result<Option<String>, Failure> {
    let client = client.map(|client| format!("&client_id={}", encode(client))).unwrap_or_default();
    let resource = encode(RESOURCE);
    if let (Some(url), Some(header)) =
        (asker.variable("IDENTITY_ENDPOINT"), asker.variable("IDENTITY_HEADER"))
    {
        let url = format!("{url}?api-version=2019-08-01&resource={resource}{client}");
        return asker
            .json::<Token>(Question::get(&url).header("x-identity-header", header))
            .map(|token| Some(token.access_token));
    }
    if !asker.settings.machine.contains("Microsoft") {
        return Ok(None);
    }
    let url = format!(
        "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{client}"
    );
    asker.json::<Token>(Question::get(&url).header("metadata", "true")).map(|token| Some(token.access_token))
}

/// Exchanges a token of Entra ID for a refresh token of the registry, which its token service takes.
fn exchange(asker: &Asker<'_>, tenant: Option<&str>, token: &str) -> Result<Login, Failure> {
    let origin = asker.host.origin()?;
    let url = origin.at("/oauth2/exchange")?.to_string();
    let service = asker.host.registry.as_str();
    let mut form = vec![("grant_type", "access_token"), ("service", service), ("access_token", token)];
    form.extend(tenant.map(|tenant| ("tenant", tenant)));
    let found: Exchanged = asker.json(Question::form(&url, &form))?;
    // The token lives for three hours.
    Ok(Login {
        credential: Credential::IdentityToken(Secret::new(found.refresh_token)),
        expires: asker.after(3600),
    })
}
