//! .
pub mod image;
pub mod import;
pub mod place;
