//! Where a server keeps images: in the store of this machine, or in a bucket.

use pipeline::configuration::{ServeRegistry, ServeStorage, Timespan};
use registry::client::Client;
use registry::server::InBucket;
use store::{ObjectStore, S3Place};

use crate::elsewhere;
use crate::error::Error;
use crate::session::Session;

/// Where images are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A bucket for the images")]
pub struct Storage {
    /// Keeps images in a bucket, s3://BUCKET/PREFIX[?region=NAME&endpoint=ADDRESS], instead of the store
    #[arg(long, value_name = "PLACE")]
    storage: Option<ServeStorage>,
    /// Sends clients that pull a blob to the bucket, by an address that is valid for so long, such as 20m
    #[arg(long, value_name = "TIME")]
    redirect_blobs: Option<Timespan>,
}

impl Storage {
    /// Puts the flags into the settings.
    pub fn put(&self, settings: &mut ServeRegistry) {
        settings.storage = self.storage.clone();
        settings.redirect_blobs = self.redirect_blobs;
    }
}

/// Returns the bucket, which has answered; `None` for the store of this machine.
///
/// # Errors
/// There is no such bucket, it cannot be reached, or refuses us.
pub fn bucket(session: &Session, settings: &ServeRegistry) -> Result<Option<InBucket>, Error> {
    let Some(storage) = &settings.storage else { return Ok(None) };
    let store = open(session, &storage.place)?;
    Ok(Some(InBucket { store, redirect: settings.redirect_blobs.map(|time| time.0) }))
}

/// Opens the store in a bucket.
///
/// # Errors
/// There is no such bucket, it cannot be reached, or refuses us.
pub fn open(session: &Session, place: &S3Place) -> Result<ObjectStore, Error> {
    let client = Client::new(session.client_options()?)?;
    let bucket = elsewhere::bucket(&session.environment, place, &client)?;
    Ok(ObjectStore::open(bucket)?)
}
