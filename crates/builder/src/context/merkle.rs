//! One digest over everything a COPY or ADD selects, for cache keys.
//!
//! | part of it | not part of it |
//! |---|---|
//! | destination as given, kind of each item, paths below the destination | times |
//! | permission bits, as the context has them; see [`super::Permissions`] | the name of the tree, where in it things lie |
//! | targets of links, device numbers, SHA-256 of contents, extended attributes | which names are one file |
//! | owners, which are 0 throughout in a context | |
//!
//! Every field has its length in front, so that no two selections write the same bytes.

use oci::{Digest, Hasher};

use super::ContextError;
use super::select::{Selected, SelectedItem};
use super::tree::{NodeKind, SourceTree};

/// Returns the digest of a selection that goes to `destination`.
///
/// # Errors
/// A selected file cannot be read.
pub fn selection_digest(
    tree: &dyn SourceTree,
    selection: &[Selected],
    destination: &str,
) -> Result<Digest, ContextError> {
    let is_file = |item: &SelectedItem| matches!(item.node.kind, NodeKind::File { .. });
    let files =
        selection.iter().flat_map(|one| one.items(tree).filter(is_file).map(|item| one.path_of(&item)));
    let mut digests = tree.digests(&files.collect::<Vec<_>>())?.into_iter();
    let mut fields = Fields(Hasher::default());
    fields.text(b"selection 1");
    fields.text(destination.as_bytes());
    fields.number(selection.len() as u64);
    for selected in selection {
        fields.text(if selected.is_folder { b"folder" } else { &b"single"[..] });
        fields.text(if selected.is_folder { b"" } else { &selected.name });
        fields.number(selected.items(tree).count() as u64);
        for item in selected.items(tree) {
            let digest = if is_file(&item) { digests.next() } else { None };
            fields.item(&item, digest);
        }
    }
    Ok(fields.0.finish())
}

struct Fields(Hasher);

impl Fields {
    fn item(&mut self, item: &SelectedItem, digest: Option<Digest>) {
        self.text(&item.relative);
        let (kind, content): (&[u8], Vec<u8>) = match &item.node.kind {
            NodeKind::File { .. } => {
                (b"file", digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default())
            }
            NodeKind::Directory => (b"directory", Vec::new()),
            NodeKind::Symlink(target) => (b"symlink", target.clone()),
            NodeKind::Fifo => (b"fifo", Vec::new()),
            NodeKind::CharDevice { major, minor } => (b"char", format!("{major}:{minor}").into_bytes()),
            NodeKind::BlockDevice { major, minor } => (b"block", format!("{major}:{minor}").into_bytes()),
        };
        self.text(kind);
        self.text(&content);
        // What permissions a link has is the file system's to say and means nothing.
        let mode = if matches!(item.node.kind, NodeKind::Symlink(_)) { 0o777 } else { item.node.mode };
        self.number(u64::from(mode));
        self.number(u64::from(item.node.uid));
        self.number(u64::from(item.node.gid));
        self.number(item.node.xattrs.len() as u64);
        for (name, value) in &item.node.xattrs {
            self.text(name);
            self.text(value);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }
}
