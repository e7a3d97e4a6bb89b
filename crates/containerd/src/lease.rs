//! A lease: while it is held, containerd's garbage collector takes nothing that was written or named under it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use oci::Digest;
use tonic::Status;

use crate::connection::{Connection, Scope};
use crate::labels::EXPIRE;
use crate::names::Namespace;
use crate::protocol::{AddResourceRequest, CreateLeaseRequest, DeleteLeaseRequest, Empty, Resource, method};

/// When a lease ends by itself, should nobody be left to end it; containerd's own clients wait as long.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// A lease that ends with the value.
pub(crate) struct Lease {
    connection: Arc<Connection>,
    scope: Scope,
    id: String,
}

impl Lease {
    pub fn take(connection: &Arc<Connection>, namespace: &Namespace, now: Timestamp) -> Result<Self, Status> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Status::internal(error.to_string()))?;
        let id = format!("plimsoll-{:016x}", u64::from_ne_bytes(random));
        let end = now.saturating_add(LIFETIME).map_err(|error| Status::internal(error.to_string()))?;
        let labels = HashMap::from([(EXPIRE.to_owned(), format!("{end:.0}"))]);
        let scope = Scope { namespace: namespace.clone(), lease: None };
        connection.ask::<_, Empty>(
            &scope,
            method::CREATE_LEASE,
            CreateLeaseRequest { id: id.clone(), labels },
        )?;
        Ok(Self { connection: Arc::clone(connection), scope, id })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Holds content, whether it is there or not.
    pub fn hold(&self, digest: &Digest) -> Result<(), Status> {
        let resource = Resource { id: digest.to_string(), kind: "content".to_owned() };
        let request = AddResourceRequest { id: self.id.clone(), resource: Some(resource) };
        self.connection.ask::<_, Empty>(&self.scope, method::ADD_RESOURCE, request).map(drop)
    }
}

impl Drop for Lease {
    /// One that cannot be ended now ends by itself.
    fn drop(&mut self) {
        let request = DeleteLeaseRequest { id: self.id.clone() };
        drop(self.connection.ask::<_, Empty>(&self.scope, method::DELETE_LEASE, request));
    }
}
