//! The messages of containerd's services, as far as images need them. Numbers and types of fields are the
//! format; names of services and methods are in [`method`].
//!
//! Source: containerd 2.2, api/services/{content,images,leases,namespaces,version}/v1/*.proto,
//! api/types/descriptor.proto.

use std::collections::HashMap;

use bytes::Bytes;

/// Paths of the methods that are called.
pub mod method {
    #![allow(missing_docs, reason = "each is the method that its path names")]
    pub const VERSION: &str = "/containerd.services.version.v1.Version/Version";
    pub const LIST_NAMESPACES: &str = "/containerd.services.namespaces.v1.Namespaces/List";
    pub const INFO: &str = "/containerd.services.content.v1.Content/Info";
    pub const UPDATE_CONTENT: &str = "/containerd.services.content.v1.Content/Update";
    pub const READ: &str = "/containerd.services.content.v1.Content/Read";
    pub const WRITE: &str = "/containerd.services.content.v1.Content/Write";
    pub const ABORT: &str = "/containerd.services.content.v1.Content/Abort";
    pub const GET_IMAGE: &str = "/containerd.services.images.v1.Images/Get";
    pub const LIST_IMAGES: &str = "/containerd.services.images.v1.Images/List";
    pub const CREATE_IMAGE: &str = "/containerd.services.images.v1.Images/Create";
    pub const UPDATE_IMAGE: &str = "/containerd.services.images.v1.Images/Update";
    pub const DELETE_IMAGE: &str = "/containerd.services.images.v1.Images/Delete";
    pub const CREATE_LEASE: &str = "/containerd.services.leases.v1.Leases/Create";
    pub const DELETE_LEASE: &str = "/containerd.services.leases.v1.Leases/Delete";
    pub const ADD_RESOURCE: &str = "/containerd.services.leases.v1.Leases/AddResource";
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// Who answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VersionResponse {
    /// Such as `v2.2.0`.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The commit it was built from.
    #[prost(string, tag = "2")]
    pub revision: String,
}

/// Asks for all namespaces.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListNamespacesRequest {
    /// Always empty.
    #[prost(string, tag = "1")]
    pub filter: String,
}

/// All namespaces.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListNamespacesResponse {
    /// In no order.
    #[prost(message, repeated, tag = "1")]
    pub namespaces: Vec<NamespaceRecord>,
}

/// A namespace.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NamespaceRecord {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What is known of a blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Info {
    /// Its digest.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Its size in bytes.
    #[prost(int64, tag = "2")]
    pub size: i64,
    /// Its labels; some lead the garbage collector.
    #[prost(map = "string, string", tag = "5")]
    pub labels: HashMap<String, String>,
}

/// Asks for a blob's size and labels.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InfoRequest {
    /// The blob.
    #[prost(string, tag = "1")]
    pub digest: String,
}

/// Answers [`InfoRequest`] and [`UpdateRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InfoResponse {
    /// The blob.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

/// Names fields, such as `labels.NAME`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FieldMask {
    /// The fields.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

/// Changes labels of a blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateRequest {
    /// The blob and the new labels.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
    /// Which labels; the others stay.
    #[prost(message, optional, tag = "2")]
    pub update_mask: Option<FieldMask>,
}

/// Asks for content.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReadContentRequest {
    /// The blob.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// How many bytes at its beginning are left out.
    #[prost(int64, tag = "2")]
    pub offset: i64,
    /// How many bytes are wanted; 0 for all.
    #[prost(int64, tag = "3")]
    pub size: i64,
}

/// A piece of content.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReadContentResponse {
    /// How many bytes came before it in this answer.
    #[prost(int64, tag = "1")]
    pub offset: i64,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

/// What a message does with the content being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum WriteAction {
    /// Asks how much is there.
    Stat = 0,
    /// Adds to it.
    Write = 1,
    /// Adds to it and makes it a blob.
    Commit = 2,
}

/// Writes content.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WriteContentRequest {
    /// What is done.
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub action: i32,
    /// By what name the content is called until it is a blob.
    #[prost(string, tag = "2")]
    pub reference: String,
    /// Its size in bytes at the end.
    #[prost(int64, tag = "3")]
    pub total: i64,
    /// Its digest at the end.
    #[prost(string, tag = "4")]
    pub expected: String,
    /// Where `data` begins; 0 takes away what is there.
    #[prost(int64, tag = "5")]
    pub offset: i64,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub data: Bytes,
    /// The labels that the blob gets.
    #[prost(map = "string, string", tag = "7")]
    pub labels: HashMap<String, String>,
}

/// Answers one [`WriteContentRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WriteContentResponse {
    /// What was done.
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub action: i32,
    /// How many bytes are there.
    #[prost(int64, tag = "4")]
    pub offset: i64,
    /// The size in bytes at the end, as far as it was said.
    #[prost(int64, tag = "5")]
    pub total: i64,
    /// The digest of what is there.
    #[prost(string, tag = "6")]
    pub digest: String,
}

/// Throws away content that was not finished.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AbortRequest {
    /// By what name it is called.
    #[prost(string, tag = "1")]
    pub reference: String,
}

/// What an image's name points to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Target {
    /// The media type of the manifest or index.
    #[prost(string, tag = "1")]
    pub media_type: String,
    /// Its digest.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// Its size in bytes.
    #[prost(int64, tag = "3")]
    pub size: i64,
}

/// A name and what it points to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImageRecord {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its labels.
    #[prost(map = "string, string", tag = "2")]
    pub labels: HashMap<String, String>,
    /// What it points to.
    #[prost(message, optional, tag = "3")]
    pub target: Option<Target>,
}

/// Asks what a name points to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetImageRequest {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Answers what is asked of one name. Asks for a new one in the same form.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OneImage {
    /// The name.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageRecord>,
}

/// Asks for names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListImagesRequest {
    /// Which; all where there is none.
    #[prost(string, repeated, tag = "1")]
    pub filters: Vec<String>,
}

/// Names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListImagesResponse {
    /// In no order.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<ImageRecord>,
}

/// Makes a name that is there point elsewhere.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateImageRequest {
    /// The name and what it is to point to.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageRecord>,
    /// Which fields change.
    #[prost(message, optional, tag = "2")]
    pub update_mask: Option<FieldMask>,
}

/// Removes a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteImageRequest {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether what nothing leads to any more is to be gone when the answer comes.
    #[prost(bool, tag = "2")]
    pub sync: bool,
    /// What it must point to; releases before 2.0 do not look.
    #[prost(message, optional, tag = "3")]
    pub target: Option<Target>,
}

/// Makes a lease.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateLeaseRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its labels; one says when it ends by itself.
    #[prost(map = "string, string", tag = "3")]
    pub labels: HashMap<String, String>,
}

/// Ends a lease.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteLeaseRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Holds something by a lease.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddResourceRequest {
    /// The lease.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What is held.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Resource>,
}

/// What a lease can hold.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Resource {
    /// A digest.
    #[prost(string, tag = "1")]
    pub id: String,
    /// `content`.
    #[prost(string, tag = "2")]
    pub kind: String,
}
