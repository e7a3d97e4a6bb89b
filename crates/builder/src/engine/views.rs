//! Merged views of layers, made of their indexes and kept while a build may ask for them again.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use layer::{LayerError, LayerIndex, Listing, StoredIndex, Tree};

use super::workspace::{LayerRef, Workspace};
use crate::BuildError;

/// So many views are kept, and of how many names all but the newest may be.
const KEPT: usize = 4;
const KEPT_NAMES: usize = 200_000;
/// Indexes of more entries are not taken into memory whole.
const MANY_ENTRIES: u64 = 1 << 15;

/// The views that were asked for last, the newest first.
#[derive(Default)]
pub(super) struct Views(Mutex<Vec<View>>);

/// A merged view and the layers it is of.
struct View {
    layers: Vec<LayerRef>,
    tree: Arc<Tree>,
}

impl Views {
    /// Returns the view of the most of these layers, and of how many. One that is to be added to is taken out:
    /// whoever adds to it then holds it alone and need not copy it.
    fn take(&self, layers: &[LayerRef]) -> Option<(Arc<Tree>, usize)> {
        let mut views = self.0.lock().expect("no holder panics");
        let fits = views.iter().enumerate().filter(|(_, view)| layers.starts_with(&view.layers));
        let (at, _) = fits.max_by_key(|(_, view)| view.layers.len())?;
        let View { layers: of, tree } = views.remove(at);
        Some((tree, of.len()))
    }

    fn keep(&self, layers: &[LayerRef], tree: &Arc<Tree>) {
        let mut views = self.0.lock().expect("no holder panics");
        views.insert(0, View { layers: layers.to_vec(), tree: Arc::clone(tree) });
        views.truncate(KEPT);
        let mut names = 0;
        let mut is_newest = true;
        views.retain(|view| {
            names += view.tree.names();
            std::mem::take(&mut is_newest) || names <= KEPT_NAMES
        });
    }
}

/// Why layers cannot be added to a view.
enum Failure<'l> {
    /// The index of this layer is not whole.
    Damaged(&'l LayerRef, LayerError),
    Other(BuildError),
}

/// What is to come next into a view.
enum Next {
    Few(LayerIndex),
    Many(StoredIndex),
}

impl Workspace {
    /// Returns the merged view of layers, lowest first, reading indexes only.
    pub(crate) fn merged(&self, layers: &[LayerRef]) -> Result<Arc<Tree>, BuildError> {
        let (mut tree, mut from) = self.views.take(layers).unwrap_or_else(|| (self.no_layers(), 0));
        let mut tries = layers.len();
        while let Err(failure) = self.add(&mut tree, &layers[from..]) {
            let (layer, error) = match failure {
                Failure::Damaged(layer, error) => (layer, error),
                Failure::Other(error) => return Err(error),
            };
            if tries == 0 {
                return Err(BuildError::layer("read a layer index", error));
            }
            tries -= 1;
            // That an index is damaged is found while it is read. It is made again from the blob, which is the truth.
            self.make_index(layer)?;
            (tree, from) = (self.no_layers(), 0);
        }
        self.views.keep(layers, &tree);
        Ok(tree)
    }

    fn no_layers(&self) -> Arc<Tree> {
        Arc::new(Tree::in_folder(self.root()))
    }

    /// Adds layers to a view. Of several, the next is read while one is added.
    fn add<'l>(&self, tree: &mut Arc<Tree>, layers: &'l [LayerRef]) -> Result<(), Failure<'l>> {
        let (first, rest) = match layers {
            [] => return Ok(()),
            [first, rest @ ..] => (first, rest),
        };
        let tree = Arc::make_mut(tree);
        if rest.is_empty() {
            return self.next(first)?.push(first, tree);
        }
        let (send, receive) = sync_channel(0);
        std::thread::scope(|threads| {
            threads.spawn(move || {
                for layer in layers {
                    let next = self.next(layer);
                    let is_last = next.is_err();
                    if send.send((layer, next)).is_err() || is_last {
                        return;
                    }
                }
            });
            receive.into_iter().try_for_each(|(layer, next)| next?.push(layer, tree))
        })
    }

    fn next<'l>(&self, layer: &'l LayerRef) -> Result<Next, Failure<'l>> {
        let index = self.index(layer).map_err(Failure::Other)?;
        if index.count() > MANY_ENTRIES {
            return Ok(Next::Many(index));
        }
        index.whole().map(Next::Few).map_err(|error| Failure::Damaged(layer, error))
    }
}

impl Next {
    fn push<'l>(&self, layer: &'l LayerRef, tree: &mut Tree) -> Result<(), Failure<'l>> {
        let entries: &dyn Listing = match self {
            Self::Few(index) => index,
            Self::Many(index) => index,
        };
        tree.push(entries).map_err(|error| Failure::Damaged(layer, error))
    }
}
