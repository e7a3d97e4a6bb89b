//! .
pub mod image;
pub mod place;
