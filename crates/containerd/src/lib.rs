//! Images in containerd, over the socket that `ctr`, `nerdctl` and the kubelet use.
//!
//! | room | owns |
//! |---|---|
//! | `connection` | finding the socket, one HTTP/2 connection, questions with one answer |
//! | `repository` | one repository of a namespace as an [`store::ImageStore`] |
//! | `content` | blobs in and out: only what is missing moves, and it goes on where it broke off |
//! | `lease` | what keeps containerd's garbage collector away from an image that is not whole yet |
//! | `labels` | what leads that collector from an image to its parts afterwards |
//! | `names` | namespaces, and names of images as containerd's other clients write them |
//! | [`protocol`] | the messages |
//!
//! containerd keeps every blob under its digest and every manifest byte for byte, so an image has the same digest
//! there as elsewhere. A name belongs to a namespace; content is seen by the namespaces that asked for it. What
//! stands here waits for answers on the calling thread; the connection has a thread of its own.

mod connection;
mod content;
mod fault;
mod labels;
mod lease;
mod names;
pub mod protocol;
mod repository;

pub use connection::{ConnectError, Containerd, socket_of};
pub use names::{InvalidNamespace, Namespace, is_same_repository};
pub use repository::{ContainerdRepository, NamedImage};
