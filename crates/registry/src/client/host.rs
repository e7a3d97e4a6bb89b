//! Requests to one registry: attempts, redirects, credentials, and what an error answer says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode, Uri};
use oci::{Registry, Repository};

use super::address::Origin;
use super::auth::{Audience, unauthorized};
use super::credentials::Credentials;
use super::gate::Lane;
use super::payload::{CHUNK_BYTES, Payload};
use super::retry::{Next, Notice, Retry};
use super::route::{InvalidRoute, Security, Site};
use super::scope::Scope;
use super::transport::{Patience, Reply};
use super::{Clock, Failure, Shared};
use crate::protocol::{Challenge, ErrorBody, retry_after};

/// The longest body that is read for its JSON: token answers, pages of lists.
pub(crate) const JSON_LIMIT: u64 = 8 << 20;
/// The longest body of an error that is read.
const ERROR_LIMIT: u64 = 64 << 10;
const MAX_REDIRECTS: usize = 5;
/// How long a host may think before it answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The same after content was sent, which some hosts first copy to another place.
const COMMIT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// One registry as the client sees it.
#[derive(Clone)]
pub(crate) struct Host {
    pub shared: Arc<Shared>,
    pub registry: Registry,
    /// How it wants to be asked, where that is not as every registry.
    pub site: Option<Arc<Site>>,
    /// Whether others can be asked instead: then each request is made once.
    pub is_mirror: bool,
    /// Why it is not to be asked at all.
    pub refused: Option<InvalidRoute>,
    /// Whether all addresses are somebody else's, also those at its own host: no credentials go there.
    pub is_stranger: bool,
}

/// A request that can be made any number of times.
pub(crate) struct Call<'a> {
    pub method: Method,
    pub address: Uri,
    pub headers: Vec<(HeaderName, String)>,
    pub payload: Payload,
    /// Whose credentials are used.
    pub repository: Option<&'a Repository>,
    pub scope: Scope,
    /// The statuses that are an answer; every other one is a failure.
    pub expected: &'static [StatusCode],
    /// For people: `push of blob sha256:... to ghcr.io/acme/api`.
    pub what: String,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.registry)
    }
}

impl Host {
    /// Returns a registry that is where its name says.
    pub fn new(shared: Arc<Shared>, registry: Registry) -> Self {
        Self { shared, registry, site: None, is_mirror: false, refused: None, is_stranger: false }
    }

    /// Returns where the registry is reached.
    pub fn origin(&self) -> Result<Origin, Failure> {
        if let Some(refused) = &self.refused {
            return Err(Failure::Route(refused.clone()));
        }
        let usual = Origin::of(&self.registry, self.shared.options.plain_http.contains(&self.registry))?;
        Ok(match self.site.as_ref().map(|site| site.security) {
            None | Some(Security::Usual) => usual,
            Some(Security::Verified | Security::Unverified) => usual.over(true),
            Some(Security::Plain) => usual.over(false),
            Some(Security::Either) => {
                let plain = self.site.as_ref().is_some_and(|site| {
                    *site.plain.get_or_init(|| !self.speaks_tls(&usual.clone().over(true)))
                });
                usual.over(!plain)
            }
        })
    }

    /// Whether a host that may be either answers an encrypted request at all.
    fn speaks_tls(&self, origin: &Origin) -> bool {
        let Ok(address) = origin.at("/v2/") else { return true };
        let request = Request::builder().method(Method::GET).uri(address);
        match self.send_bare(request, &Payload::empty()) {
            Ok(reply) => {
                reply.body.discard();
                true
            }
            Err(failure) => !matches!(failure, Failure::Connect { .. }),
        }
    }

    /// Returns the address of a path of the protocol at this registry.
    pub fn at(&self, path: &str) -> Result<Uri, Failure> {
        let origin = self.origin()?;
        match &self.site {
            Some(site) => origin.at(&site.path(path)),
            None => origin.at(path),
        }
    }

    pub fn credentials(&self) -> &Credentials {
        &self.shared.options.credentials
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.options.clock
    }

    /// Makes the request until it succeeds or the policy gives up.
    pub fn call(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let mut retry = self.retry(call.what.clone());
        loop {
            match self.attempt(call) {
                Ok(reply) => return Ok(reply),
                Err(failure) => retry.again(failure)?,
            }
        }
    }

    /// Returns the tries of something that makes its own requests.
    pub fn retry(&self, what: String) -> Retry<'_> {
        let options = &self.shared.options;
        let budget = self.shared.budgets.of(&self.registry);
        let retry =
            Retry::new(options.retry_of(&self.registry), &options.clock, &options.notice, budget, what);
        if self.is_mirror { retry.once() } else { retry }
    }

    /// Whether this is a mirror that failed before in another way than by not having something.
    pub fn has_failed(&self) -> bool {
        let failed = self.shared.failed_mirrors.lock().expect("nothing panics while it holds the lock");
        self.is_mirror && failed.contains(&self.registry)
    }

    /// Takes note that another place is asked because this one failed. Not having something is no failure.
    pub fn go_on(&self, repository: &Repository, failure: &Failure, next: &Repository) {
        if failure.status() == Some(StatusCode::NOT_FOUND) {
            return;
        }
        let mut failed = self.shared.failed_mirrors.lock().expect("nothing panics while it holds the lock");
        // One manifest with a wrong digest says nothing of the next.
        let first = matches!(failure, Failure::Corrupt { .. }) || failed.insert(self.registry.clone());
        drop(failed);
        if first {
            (self.shared.options.notice)(&Notice {
                attempt: 1,
                attempts: 1,
                what: format!("pull from the mirror {repository}"),
                reason: store::with_causes(failure),
                next: Next::Elsewhere(next.to_string()),
            });
        }
    }

    /// Makes the request once, following redirects.
    pub fn attempt(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let deadline = Instant::now() + self.shared.options.retry_of(&self.registry).timeout;
        let mut address = call.address.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.let_in(call, &address, deadline)?;
            if call.expected.contains(&reply.status) {
                return Ok(reply);
            }
            match redirect(call, &reply) {
                None => return Err(read_error(reply, self.clock())),
                Some(location) => address = self.origin()?.follow(&address, &location)?,
            }
            reply.body.discard();
        }
        let address = super::address::without_query(&call.address.to_string());
        Err(Failure::Address {
            address,
            reason: format!("it leads through more than {MAX_REDIRECTS} redirects"),
        })
    }

    /// Whether an address is the registry's own, where its credentials and headers may go.
    fn is_own(&self, address: &Uri) -> Result<bool, Failure> {
        Ok(!self.is_stranger && self.origin()?.holds(address))
    }

    /// Makes the request with what the host wants to see, and once more where it refuses that.
    fn let_in(&self, call: &Call<'_>, address: &Uri, deadline: Instant) -> Result<Reply, Failure> {
        if !self.is_own(address)? {
            return self.send(call, address, None, deadline);
        }
        let audience = Audience { host: self, repository: call.repository, scope: &call.scope };
        let header = self.shared.authenticator.header(audience)?;
        let reply = self.send(call, address, header.as_ref(), deadline)?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let challenges = reply.headers.get_all(WWW_AUTHENTICATE);
        let mut challenges: Vec<Challenge> =
            challenges.iter().filter_map(|header| Challenge::parse(header.to_str().ok()?)).collect();
        challenges.sort_by_key(|challenge| *challenge == Challenge::Basic);
        reply.body.discard();
        let challenge = challenges.into_iter().next();
        let header = self.shared.authenticator.renew(audience, challenge, header.as_ref())?;
        let reply = self.send(call, address, Some(&header), deadline)?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let words = read_error(reply, self.clock());
        Err(unauthorized(audience, &format!("it refused a fresh token or password: {words}")))
    }

    fn send(
        &self,
        call: &Call<'_>,
        address: &Uri,
        authorization: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(call.method.clone()).uri(address);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(site) = self.site.as_ref().filter(|site| !site.headers.is_empty())
            && self.is_own(address)?
        {
            for (name, value) in &site.headers {
                request = request.header(name, value);
            }
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.send_until(request, &call.payload, deadline)
    }

    /// Sends a request that is not for the registry itself, without its credentials.
    pub fn send_bare(&self, request: Builder, payload: &Payload) -> Result<Reply, Failure> {
        self.send_until(request, payload, Instant::now() + ANSWER_LIMIT)
    }

    /// Sends a request as it is; it may take until `deadline`.
    pub fn send_until(
        &self,
        request: Builder,
        payload: &Payload,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let mut request = request.header(USER_AGENT, &self.shared.options.user_agent);
        let has_body =
            request.method_ref().is_some_and(|method| *method != Method::GET && *method != Method::HEAD);
        if has_body && payload.len() == 0 {
            // Without it some registries answer 411.
            request = request.header(CONTENT_LENGTH, 0);
        }
        let request = request.body(()).map_err(|error| Failure::protocol(error.to_string()))?;
        let is_upload = payload.len() > CHUNK_BYTES as u64;
        let lane = if is_upload { Lane::Upload } else { Lane::Exchange };
        let answer = if is_upload { COMMIT_LIMIT } else { ANSWER_LIMIT };
        let host = request.uri().authority().map_or("", |authority| authority.as_str());
        let options = &self.shared.options;
        let _pass = self.shared.gates.enter(host, lane, options.requests_of(&self.registry));
        let silence = options.retry_of(&self.registry).silence;
        let reply = self.shared.transport.send(request, payload, Patience { answer, silence, deadline })?;
        if !super::failure::is_transient(reply.status) {
            self.shared.budgets.of(&self.registry).answered();
        }
        Ok(reply)
    }
}

/// Returns where the answer sends us. Requests that change something follow only the redirects
/// that keep method and body.
fn redirect(call: &Call<'_>, reply: &Reply) -> Option<String> {
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    let follows = match reply.status.as_u16() {
        307 | 308 => true,
        301..=303 => reads,
        _ => false,
    };
    if follows { reply.header(LOCATION.as_str()).map(str::to_owned) } else { None }
}

/// Returns the failure that an error answer stands for.
pub(crate) fn read_error(reply: Reply, clock: &Clock) -> Failure {
    let status = reply.status;
    // The server's own clock says how far off its date is; ours may be wrong.
    let date = reply.header(DATE.as_str()).and_then(retry_after::parse_date);
    let now = date.unwrap_or_else(|| clock.now());
    let header = reply.header(RETRY_AFTER.as_str()).and_then(|text| retry_after::parse(text, now));
    let is_html = reply.header(CONTENT_TYPE.as_str()).is_some_and(|text| text.starts_with("text/html"));
    let limit = rate_limit(&reply);
    // An error whose words cannot be read is still an error.
    let bytes = reply.body.all(ERROR_LIMIT).unwrap_or_default();
    let body = ErrorBody::parse(&bytes).filter(|body| !body.errors.is_empty());
    let text = String::from_utf8_lossy(&bytes);
    let retry_after = header.or_else(|| retry_after::find_in(&text));
    let limit = limit.filter(|_| status == StatusCode::TOO_MANY_REQUESTS).unwrap_or_default();
    Failure::Status { status, body, text: first_words(&text, is_html), limit, retry_after }
}

/// Returns what Docker Hub and its kin say of the limit that was reached, for people: how many requests in
/// how long, and for whom they are counted.
fn rate_limit(reply: &Reply) -> Option<String> {
    let word = |name: &str| Some(first_words(reply.header(name)?, false)).filter(|word| !word.is_empty());
    let (limit, window) = match word("ratelimit-limit")?.split_once(";w=") {
        Some((limit, seconds)) => (limit.to_owned(), format!(" in {seconds} s")),
        None => (word("ratelimit-limit")?, String::new()),
    };
    let remaining =
        word("ratelimit-remaining").map(|left| left.split(';').next().unwrap_or_default().to_owned());
    let remaining = remaining.map(|left| format!(", {left} left")).unwrap_or_default();
    let source = word("docker-ratelimit-source").map(|source| format!(", counted for {source}"));
    Some(format!(" (the limit is {limit} requests{window}{remaining}{})", source.unwrap_or_default()))
}

/// Returns the beginning of a body for people; a page of HTML is only named.
pub(crate) fn first_words(text: &str, is_html: bool) -> String {
    if is_html || text.trim_start().starts_with('<') {
        return "the answer is an HTML page, as proxies and login pages send it, not a registry's".to_owned();
    }
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(200).collect::<String>().trim().to_owned()
}
