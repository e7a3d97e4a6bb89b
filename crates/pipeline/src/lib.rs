//! .
pub mod place;
