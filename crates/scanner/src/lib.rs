//! What is in an image and what it wastes.
//!
//! This crate owns questions asked of layers' file indexes. It reads no layers itself: whoever has
//! the indexes (`layer` makes them, `store` keeps them) hands them in as values.

pub mod efficiency;

pub use efficiency::Efficiency;
