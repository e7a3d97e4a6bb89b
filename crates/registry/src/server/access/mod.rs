//! Who may do what: accounts, tokens, jobs of a CI host, and rules about repositories.
//!
//! | room | owns |
//! |---|---|
//! | `grant` | actions on repositories, and what somebody holds of them |
//! | `accounts` | names and passwords of an htpasswd file |
//! | `ticket` | tokens that this server signs for a few minutes; it signs and reads nobody else's |
//! | `jwt`, `issuer` | tokens that a CI host signs for a job, checked with keys that are configured |
//! | `entry` | from the headers of a request to a [`Principal`], and what is asked of strangers |
//!
//! Keys come from the configuration alone, never from a token (CVE-2025-24976). What is not
//! granted is refused; a repository one may not pull from is also no source of mounts.
//!
//! Source: distribution project, token authentication; RFC 7519; OpenID Connect Core 1.0.

mod accounts;
mod entry;
mod grant;
mod issuer;
mod jwt;
mod ticket;

use std::sync::Arc;

use jiff::Timestamp;
use oci::Digest;

pub use accounts::{Accounts, InvalidAccounts};
pub use grant::{Action, Actions, Grant, InvalidAction};
pub use issuer::{InvalidIssuer, Issuer, IssuerRule, KeySource};

pub(super) use entry::{Entry, Want};
pub(super) use grant::Principal;

use super::pattern::Pattern;

/// Where the time comes from.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Who may do what.
#[derive(Clone)]
pub struct Policy {
    /// The time it is.
    pub now: Now,
    /// Names and passwords; nobody has an account where there are none.
    pub accounts: Option<Arc<Accounts>>,
    /// What accounts may do, and [`ANONYMOUS`]; what no rule allows is refused.
    pub rules: Vec<Rule>,
    /// Tokens that do not change.
    pub tokens: Vec<FixedToken>,
    /// CI hosts whose jobs are let in without a secret.
    pub issuers: Vec<Arc<Issuer>>,
}

/// The name under which rules speak of those who did not say who they are. No account can have it.
pub const ANONYMOUS: &str = "anonymous";

/// What some accounts may do.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Names of accounts, or [`ANONYMOUS`]; a pattern never covers the anonymous.
    pub who: Vec<Pattern>,
    /// What they may do where.
    pub grant: Grant,
}

/// A token that somebody was given. Only its digest is known here.
#[derive(Clone, Debug)]
pub struct FixedToken {
    /// What the log calls it.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: Digest,
    /// What it allows.
    pub grants: Vec<Grant>,
}

impl Policy {
    /// Returns a policy under which nobody may do anything.
    pub fn new(now: Now) -> Self {
        Self { now, accounts: None, rules: Vec::new(), tokens: Vec::new(), issuers: Vec::new() }
    }

    /// Returns what an account may do.
    fn of_account(&self, name: &str) -> Vec<Grant> {
        let covers = |rule: &&Rule| rule.who.iter().any(|who| who.as_str() != ANONYMOUS && who.matches(name));
        self.rules.iter().filter(covers).map(|rule| rule.grant.clone()).collect()
    }

    /// Returns what those may do who did not say who they are.
    fn of_anonymous(&self) -> Vec<Grant> {
        let covers = |rule: &&Rule| rule.who.iter().any(|who| who.as_str() == ANONYMOUS);
        self.rules.iter().filter(covers).map(|rule| rule.grant.clone()).collect()
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("rules", &self.rules).finish_non_exhaustive()
    }
}
