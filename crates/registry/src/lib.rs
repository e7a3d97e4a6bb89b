//! The OCI distribution protocol, both ends.
//!
//! This crate is the only one that knows the paths, headers and error codes of the distribution
//! specification. [`client`] reaches a repository of any registry as a [`store::ImageStore`];
//! [`server`] offers a [`store::LayoutStore`] to any client; [`loan`] one image to one program. Both block: tokio is an inner matter.
//! Copying between stores belongs to `store`, deciding what to push to `pipeline`.
//!
//! Source: distribution-spec v1.1; the token flow of the distribution project.

pub mod client;
pub mod loan;
pub mod protocol;
pub mod server;
