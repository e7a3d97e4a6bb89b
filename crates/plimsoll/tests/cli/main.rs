//! What a user sees: the real binary, its exit code, its two outputs.

mod run;

mod basics;
mod init;
