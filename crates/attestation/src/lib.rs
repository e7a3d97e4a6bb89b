//! Statements about a digest and the envelopes they are signed in.
//!
//! This crate owns the in-toto statement, its predicates, and the DSSE envelope with the exact bytes
//! a signature is over. It makes and checks no signatures yet; an [`Envelope`] without signatures
//! claims nothing. Where attestations lie is `store`'s and `registry`'s.
//!
//! Source: in-toto attestation framework v1.0; DSSE v1.0.2.

pub mod envelope;
pub mod resource;
pub mod statement;
pub mod test_result;

pub use envelope::{Envelope, InvalidEnvelope, Signature};
pub use resource::{DigestSet, Resource};
pub use statement::{InvalidStatement, Statement};
pub use test_result::TestResult;
