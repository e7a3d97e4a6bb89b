//! Readers of foreign bytes, one function each, for fuzz targets and for the bounded runs of the tests.

pub mod readers;
