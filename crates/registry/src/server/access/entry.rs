//! From the headers of a request to who makes it, and what is asked of those who may not.
//! Source: RFC 7617; RFC 6750; distribution project, token authentication.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, HOST, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use oci::{Digest, Repository};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::Policy;
use super::grant::{Action, Principal};
use super::jwt::Unchecked;
use super::ticket::{Booth, LIFETIME_SECONDS};
use crate::protocol::ErrorCode;
use crate::server::answer;
use crate::server::body::Content;
use crate::server::public_url::PublicUrl;
use crate::server::refusal::Refusal;
use crate::server::rules::Current;

/// Whom tokens are for, as challenges name it.
const SERVICE: &str = "plimsoll registry";
/// How many credentials may wait to be checked. The check is slow on purpose.
const MAX_WAITING: usize = 256;

/// The door.
pub(in crate::server) struct Entry {
    policy: Current<Policy>,
    booth: Booth,
    scheme: &'static str,
    public: Option<PublicUrl>,
    turn: Semaphore,
    waiting: AtomicUsize,
}

/// What a request needs.
#[derive(Clone, Copy)]
pub(in crate::server) enum Want<'a> {
    /// To be known.
    Name,
    /// To do this.
    Action(Action, &'a Repository),
    /// Nothing: everybody gets an answer, if only of what they may see.
    Nothing,
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    access_token: &'a str,
    // Counted from the answer on, whatever clock the client has: without the time of issue, which it
    // would compare with its own.
    expires_in: i64,
}

impl Entry {
    /// Returns the door of a server that clients reach by `scheme` at the host they name, or at `public`.
    pub fn new(
        policy: Policy,
        scheme: &'static str,
        public: Option<PublicUrl>,
    ) -> Result<Self, getrandom::Error> {
        Ok(Self {
            policy: Current::new(policy),
            booth: Booth::new()?,
            scheme,
            public,
            turn: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Goes by another policy from now on. Tickets that were issued stay good for their few minutes.
    pub fn change(&self, policy: Policy) {
        self.policy.set(policy);
    }

    /// Returns who makes the request: nobody known where it has no credentials.
    pub async fn admit(&self, head: &Parts) -> Result<Principal, Refusal> {
        let policy = &*self.policy.get();
        let Some(value) = head.headers.get(AUTHORIZATION) else {
            let grants = policy.of_anonymous();
            return Ok(Principal { name: String::new(), grants, scope: None });
        };
        let refuse = |reason: String| self.challenge(head, Want::Name, &reason, None);
        let value = value.to_str().map_err(|_| refuse("the credentials are not text".to_owned()))?;
        let (kind, rest) = value.split_once(' ').unwrap_or((value, ""));
        match kind.to_ascii_lowercase().as_str() {
            "bearer" => self.bearer(policy, rest.trim()).await.map_err(refuse),
            "basic" => self.basic(policy, rest.trim()).await.map_err(refuse),
            _ => Err(refuse("credentials are taken as Basic or Bearer".to_owned())),
        }
    }

    /// Refuses a request whose sender may not do what it wants.
    pub fn check(&self, who: &Principal, want: Want<'_>, head: &Parts) -> Result<(), Refusal> {
        match want {
            Want::Nothing => Ok(()),
            Want::Name if who.is_anonymous() && who.scope.is_none() => {
                Err(self.challenge(head, want, "who are you?", None))
            }
            Want::Name => Ok(()),
            Want::Action(action, repository) if who.may(action, repository) => Ok(()),
            Want::Action(action, repository) => {
                let granted = who.granted(repository.path()).has(action);
                if who.is_anonymous() || granted {
                    let error = who.scope.is_some().then_some("insufficient_scope");
                    return Err(self.challenge(head, want, "credentials that allow this are needed", error));
                }
                let message = format!("{} may not {} {}", who.name, action.as_str(), repository.path());
                Err(Refusal::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message))
            }
        }
    }

    /// Answers the request for a token.
    pub fn ticket<'a>(&self, who: &Principal, scopes: impl Iterator<Item = &'a str>) -> Response<Content> {
        let now = (self.policy.get().now)();
        let token = self.booth.issue(who, scopes, now.as_second());
        let token = Token { token: &token, access_token: &token, expires_in: LIFETIME_SECONDS };
        answer::with(answer::list(&token), CACHE_CONTROL, "no-store")
    }

    async fn bearer(&self, policy: &Policy, token: &str) -> Result<Principal, String> {
        let now = (policy.now)().as_second();
        if let Some(who) = self.booth.read(token, now) {
            return Ok(who);
        }
        if let Some(who) = fixed(policy, token) {
            return Ok(who);
        }
        let job = self.slowly(|| job(policy, token, now)).await?;
        job.unwrap_or_else(|| Err("the token is not known here, or has expired".to_owned()))
    }

    /// Passwords of accounts; tokens too, because clients that know only passwords bring them so.
    async fn basic(&self, policy: &Policy, text: &str) -> Result<Principal, String> {
        let broken = || "the credentials are not NAME:PASSWORD in base64".to_owned();
        let text = STANDARD.decode(text).map_err(|_| broken())?;
        let text = String::from_utf8(text).map_err(|_| broken())?;
        let (name, password) = text.split_once(':').ok_or_else(broken)?;
        if let Some(accounts) = &policy.accounts {
            let right = match accounts.remembers(name, password) {
                true => true,
                false => self.slowly(|| accounts.check(name, password)).await?,
            };
            if right {
                let grants = policy.of_account(name);
                return Ok(Principal { name: name.to_owned(), grants, scope: None });
            }
        }
        self.bearer(policy, password).await.map_err(|_| "name or password is wrong".to_owned())
    }

    /// Does what takes long, for one request at a time.
    async fn slowly<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        let _place = Place::take(&self.waiting).ok_or("too many credentials wait to be checked")?;
        let _turn = self.turn.acquire().await.map_err(|error| error.to_string())?;
        Ok(tokio::task::block_in_place(work))
    }

    /// Returns the refusal that tells a client how to show who it is.
    fn challenge(&self, head: &Parts, want: Want<'_>, message: &str, error: Option<&str>) -> Refusal {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_host(host));
        let here = match &self.public {
            Some(public) => Some(public.to_string()),
            None => host.map(|host| format!("{}://{host}", self.scheme)),
        };
        let mut challenge = match &here {
            Some(here) => format!("Bearer realm=\"{here}/token\",service=\"{SERVICE}\""),
            None => "Basic realm=\"plimsoll registry\"".to_owned(),
        };
        if let (Some(_), Want::Action(action, repository)) = (&here, want) {
            let words = match action {
                Action::Pull => "pull",
                Action::Push => "pull,push",
                Action::Delete => "delete",
            };
            challenge.push_str(&format!(",scope=\"repository:{}:{words}\"", repository.path()));
        }
        if let Some(error) = error {
            challenge.push_str(&format!(",error=\"{error}\""));
        }
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message);
        refusal.with(WWW_AUTHENTICATE, challenge)
    }
}

fn fixed(policy: &Policy, token: &str) -> Option<Principal> {
    // The digest is what is compared: how long that takes says nothing about the token.
    let digest = Digest::of(token.as_bytes());
    let known = policy.tokens.iter().find(|known| known.digest == digest)?;
    Some(Principal { name: known.name.clone(), grants: known.grants.clone(), scope: None })
}

fn job(policy: &Policy, token: &str, now: i64) -> Option<Result<Principal, String>> {
    let parsed = Unchecked::parse(token)?;
    let issuer = policy.issuers.iter().find(|issuer| issuer.is_of(&parsed))?;
    Some(issuer.admit(token, now))
}

/// A place among those who wait; it is free again when this is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the text can stand in a challenge as it is.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 260
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte))
}
