//! Contexts on disk and what is selected from them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use layer::{Entry, Kind, LayerIndex, Tree};
use tempfile::TempDir;

use super::*;

/// Makes a folder of a notation such as `src/ a.txt=text link->target other~a.txt`, the last one another name of a file.
pub(crate) fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for word in text.split_whitespace() {
        let at = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((path, target)) = word.split_once("->") {
            symlink(target, at(path)).unwrap();
        } else if let Some((path, other)) = word.split_once('~') {
            fs::hard_link(at(other), at(path)).unwrap();
        } else if let Some((path, text)) = word.split_once('=') {
            fs::write(at(path), text).unwrap();
        } else {
            fs::create_dir_all(folder.path().join(word)).unwrap();
        }
    }
    folder
}

fn options(cache_folder: Option<&Path>) -> ContextOptions {
    ContextOptions {
        threads: 2,
        // Later than any file made here, so that all of them are settled.
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33),
        cache_folder: cache_folder.map(Path::to_owned),
        permissions: Permissions::AsFound,
    }
}

pub(crate) fn open(folder: &TempDir, ignore: &str) -> Context {
    let ignore = IgnoreFile::parse(ignore.as_bytes(), ".dockerignore").unwrap();
    Context::open(folder.path(), &ignore, options(None)).unwrap()
}

fn paths(context: &Context) -> Vec<String> {
    context.paths().map(|path| String::from_utf8_lossy(&path).into_owned()).collect()
}

#[track_caller]
fn check_walk(files: &str, ignore: &str, expected: &[&str]) {
    assert_eq!(paths(&open(&folder(files), ignore)), expected, "{files} without {ignore:?}");
}

#[test]
fn a_folder_comes_before_what_it_holds_and_names_ascend() {
    check_walk("", "", &[]);
    check_walk("b=1 a/y=1 a/x=1 a.b=1 a-b=1 empty/", "", &["a", "a/x", "a/y", "a-b", "a.b", "b", "empty"]);
    check_walk("a->b b->../../x", "", &["a", "b"]);
}

#[test]
fn what_the_ignore_file_leaves_out_is_not_there() {
    check_walk("a=1 b=1 d/a=1", "a", &["b", "d", "d/a"]);
    check_walk("a=1 d/a=1 d/b=1", "d", &["a"]);
    check_walk("a=1 d/a=1 d/b=1", "d\n!d/b", &["a", "d", "d/b"]);
    check_walk("a=1 d/e/f=1 d/e/g=1 d/h/i=1", "*\n!d/e/f", &["d", "d/e", "d/e/f"]);
    check_walk("a=1 d/e/f=1", "*\n!d/e/nothing", &[]);
    check_walk(
        "a.md=1 d/b.md=1 d/c=1 e/f/g.md=1",
        "**\n!**/*.md",
        &["a.md", "d", "d/b.md", "e", "e/f", "e/f/g.md"],
    );
    check_walk("d->a a=1", "a", &["d"]);
}

#[test]
fn folders_that_are_left_out_are_not_read() {
    let folder = folder("a=1 private/x=1");
    fs::set_permissions(folder.path().join("private"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(paths(&open(&folder, "private")), ["a"]);
    fs::set_permissions(folder.path().join("private"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn sockets_are_left_out_and_pipes_are_not() {
    let folder = folder("a=1");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
    let pipe = folder.path().join("p");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from(0o644), 0).unwrap();
    let context = open(&folder, "");
    assert_eq!(paths(&context), ["a", "p"]);
    assert_eq!(context.node(b"p").unwrap().kind, NodeKind::Fifo);
    assert!(context.open_file(b"p").is_err(), "a pipe would block its reader");
}

#[test]
fn a_deep_folder_is_walked_without_a_deep_stack() {
    let folder = tempfile::tempdir().unwrap();
    let deep: PathBuf = std::iter::repeat_n("d", 600).collect();
    fs::create_dir_all(folder.path().join(&deep)).unwrap();
    let context = open(&folder, "");
    assert_eq!(context.len(), 600);
    assert_eq!(context.select(".").unwrap()[0].items(&context).count(), 600);
}

#[test]
fn what_cannot_be_opened_is_named() {
    let missing =
        Context::open(Path::new("/nonexistent/app"), &IgnoreFile::empty(), options(None)).unwrap_err();
    assert_eq!(missing.to_string(), "cannot open the context /nonexistent/app");
}

#[test]
fn nodes_say_what_was_found() {
    let folder = folder("bin/run=1 link->bin/run");
    fs::set_permissions(folder.path().join("bin/run"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(folder.path().join("bin/run"), folder.path().join("again")).unwrap();
    let context = open(&folder, "");
    let run = context.node(b"bin/run").unwrap();
    assert_eq!((run.kind.clone(), run.mode, run.uid, run.gid), (NodeKind::File { size: 1 }, 0o4711, 0, 0));
    let again = context.node(b"again").unwrap();
    assert_eq!((run.first_name, &again), (again.record, &Node { record: again.record, ..run }));
    assert_eq!(context.node(b"link").unwrap().kind, NodeKind::Symlink(b"bin/run".to_vec()));
    assert_eq!(context.node(b"bin").unwrap().kind, NodeKind::Directory);
    assert_eq!(context.node(b"").unwrap().kind, NodeKind::Directory);
    assert_eq!(context.node(b"none"), None);
}

#[test]
fn portable_permissions_are_those_git_keeps() {
    let folder = folder("d/a=1 d/x=1");
    for (path, mode) in [("d", 0o700), ("d/a", 0o660), ("d/x", 0o4770)] {
        fs::set_permissions(folder.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let options = ContextOptions { permissions: Permissions::Portable, ..options(None) };
    let context = Context::open(folder.path(), &IgnoreFile::empty(), options).unwrap();
    let modes: Vec<u32> = ["d", "d/a", "d/x"].map(|path| context.node(path.as_bytes()).unwrap().mode).into();
    assert_eq!(modes, [0o755, 0o644, 0o755]);
}

/// Says in one word what is selected: folders with what they hold, files with a colon and their name.
fn told(tree: &dyn SourceTree, selection: &[Selected]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let one = |selected: &Selected| {
        let items: Vec<String> = selected.items(tree).map(|item| text(&item.relative)).collect();
        match selected.is_folder {
            true => format!("{}/({})", text(&selected.path), items.join(" ")),
            false => format!("{}:{}", text(&selected.path), text(&selected.name)),
        }
    };
    selection.iter().map(one).collect()
}

/// The same files as the merged layers of an image.
fn layers(files: &str) -> Tree {
    let entries = files.split_whitespace().map(|word| {
        let (path, kind) = if let Some((path, target)) = word.split_once("->") {
            (path, Kind::Symlink(target.into()))
        } else if let Some((path, text)) = word.split_once('=') {
            let digest = Some(Digest::of(text.as_bytes()));
            (path, Kind::File { size: text.len() as u64, digest, offset: 0 })
        } else {
            (word.trim_end_matches('/'), Kind::Directory)
        };
        Entry { path: path.into(), kind, mode: 0o755, uid: 7, gid: 8, mtime: 9, xattrs: BTreeMap::new() }
    });
    let index = LayerIndex { diff_id: oci::DiffId(Digest::of(b"")), size: 0, entries: entries.collect() };
    Tree::new(&[std::sync::Arc::new(index)])
}

#[track_caller]
fn check(files: &str, source: &str, expected: &[&str]) {
    let folder = folder(files);
    let context = open(&folder, "");
    assert_eq!(told(&context, &context.select(source).unwrap()), expected, "{source} of {files}");
    let layers = layers(files);
    let tree = LayerTree { tree: &layers, name: "stage build" };
    assert_eq!(told(&tree, &select(&tree, source).unwrap()), expected, "{source} of layers of {files}");
}

#[test]
fn files_and_folders() {
    check("a=1 b=1", "a", &["a:a"]);
    check("a=1", "/a", &["a:a"]);
    check("a=1", "./a", &["a:a"]);
    check("a=1", "a/", &["a:a"]);
    check("d/a=1", "d/a", &["d/a:a"]);
    check("d/a=1", "x/../d//a", &["d/a:a"]);
    check("d/a=1", "../../d/a", &["d/a:a"]);
    check("d/a=1 d/e/b=1 c=1", "d", &["d/(a e e/b)"]);
    check("d/a=1", "d/", &["d/(a)"]);
    check("d/a=1", "d/.", &["d/(a)"]);
    check("d/a=1 b=1", ".", &["/(b d d/a)"]);
    check("d/a=1 b=1", "/", &["/(b d d/a)"]);
    check("d/a=1 b=1", "..", &["/(b d d/a)"]);
    check("d/", "d", &["d/()"]);
    check("a-b=1 a/x=1 a.b=1", ".", &["/(a a/x a-b a.b)"]);
}

#[test]
fn links_are_followed_for_the_source_and_kept_inside() {
    check("l->a a=1", "l", &["a:l"]);
    check("l->d d/a=1", "l", &["d/(a)"]);
    check("l->d d/a=1", "l/a", &["d/a:a"]);
    check("l->/d/a d/a=1", "l", &["d/a:l"]);
    check("l->../../d d/a=1", "l", &["d/(a)"]);
    check("d/l->../a a=1", "d/l", &["a:l"]);
    check("d/l->../a a=1", "d", &["d/(l)"]);
    check("x->y y->z z=1", "x", &["z:x"]);
    check("etc->/etc", ".", &["/(etc)"]);
}

#[test]
fn patterns() {
    check("a.txt=1 b.txt=1 c.md=1", "*.txt", &["a.txt:a.txt", "b.txt:b.txt"]);
    check("a.txt=1", "*.md", &[]);
    check("a=1 d/b=1", "*", &["a:a", "d/(b)"]);
    check("d/a=1 e/a=1 f=1", "*/a", &["d/a:a", "e/a:a"]);
    check("d/e/a=1", "d/*/a", &["d/e/a:a"]);
    check("d/a=1", "**", &["d/(a)"]);
    check("d/e/a=1 d/a=1", "**/a", &["d/a:a"]);
    check("d/a1=1 d/a2=1", "/d/a?", &["d/a1:a1", "d/a2:a2"]);
    check("a1=1 a2=1 a3=1", "a[1-2]", &["a1:a1", "a2:a2"]);
    check("a[0].txt=1 a0.txt=1", "a[[]0].txt", &["a[0].txt:a[0].txt"]);
    check("l->d d/a=1", "l/*", &["d/a:a"]);
    check("l->d d/a=1", "*/a", &["d/a:a"]);
    check("x->a a=1", "?", &["a:a", "a:x"]);
    check("d/a=1", "d/*.md", &[]);
    check("d/st*r=1 d/star=1", "*/st\\*r", &["d/st*r:st*r"]);
    check("a\\b=1 ab=1", "a\\b", &["a\\b:a\\b"]);
    check("d/a=1", "../*/a", &["d/a:a"]);
    check(".hidden=1 seen=1", "*", &[".hidden:.hidden", "seen:seen"]);
}

#[track_caller]
fn check_missing(files: &str, ignore: &str, source: &str, expected: &str) {
    let folder = folder(files);
    let error = open(&folder, ignore).select(source).unwrap_err().to_string();
    let place = format!("the context {}", folder.path().display());
    assert_eq!(error.replace(&place, "the context"), expected);
}

#[test]
fn sources_that_are_not_there() {
    check_missing("a=1", "", "b", "b is not in the context: did you mean a?");
    check_missing(
        "application.py=1",
        "",
        "aplication.py",
        "aplication.py is not in the context: did you mean application.py?",
    );
    check_missing("a=1", "", "something", "something is not in the context");
    check_missing("src/main.rs=1", "", "Src/main.rs", "Src/main.rs is not in the context: did you mean src?");
    check_missing(
        "key.pem=1",
        "# x\n*.pem",
        "key.pem",
        "key.pem is not in the context: line 2 of .dockerignore (*.pem) leaves it out",
    );
    check_missing(
        "logs/a=1",
        "logs",
        "/logs/a",
        "/logs/a is not in the context: line 1 of .dockerignore (logs) leaves it out",
    );
    check_missing("a=1", "*.pem", "nothing.pem", "nothing.pem is not in the context");
    check_missing("l->gone", "", "l", "l is not in the context: l is a link to gone, which is not there");
    check_missing(
        "l->/etc/passwd",
        "",
        "l",
        "l is not in the context: l is a link to /etc/passwd, which is not there",
    );
    check_missing("l->gone", "", "?", "? is not in the context: l is a link to gone, which is not there");
    check_missing("a=1", "", "a/b", "a/b is not in the context");
    check_missing("a=1", "", "none/*", "none/* is not in the context");
    check_missing("a=1", "", "a/*", "a/* is not in the context");
    check_missing("a=1", "", "../../../etc/passwd", "../../../etc/passwd is not in the context");
    check_missing("a=1", "", "[", "[ is not a pattern: a [ is not closed");
    check_missing("x->y y->x", "", "x", "x in the context leads through more than 255 symbolic links");
}

#[test]
fn names_that_are_not_utf8_are_selected() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder("");
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"a\xff.txt")), "x").unwrap();
    let context = open(&folder, "");
    let selection = context.select("*.txt").unwrap();
    assert_eq!(selection[0].name, b"a\xff.txt");
    assert_eq!(selection[0].items(&context).next().unwrap().node.kind, NodeKind::File { size: 1 });
}

#[test]
fn digests_are_of_the_content() {
    let folder = folder("a=one b=two d/");
    let context = open(&folder, "");
    assert_eq!(context.content_digest(b"a").unwrap(), Digest::of(b"one"));
    let both = context.digests(&[b"b".to_vec(), b"a".to_vec()]).unwrap();
    assert_eq!(both, [Digest::of(b"two"), Digest::of(b"one")]);
    assert!(context.content_digest(b"d").is_err() && context.content_digest(b"none").is_err());
}

#[test]
fn many_files_are_hashed_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..500).map(|number| format!("f{number:03}")).collect();
    for name in &names {
        fs::write(folder.path().join(name), name.repeat(1000)).unwrap();
    }
    let context = open(&folder, "");
    let paths: Vec<LayerPath> = names.iter().map(|name| name.clone().into_bytes()).collect();
    let digests = context.digests(&paths).unwrap();
    for (name, digest) in names.iter().zip(digests) {
        assert_eq!(digest, Digest::of(name.repeat(1000).as_bytes()));
    }
}

#[test]
fn a_file_that_changed_since_the_walk_is_refused() {
    let folder = folder("a=one b=one c=one");
    let context = open(&folder, "");
    fs::write(folder.path().join("a"), "longer").unwrap();
    fs::remove_file(folder.path().join("b")).unwrap();
    symlink("/etc/passwd", folder.path().join("b")).unwrap();
    let message = |path: &[u8]| {
        let place = format!("the context {}", folder.path().display());
        context.content_digest(path).unwrap_err().to_string().replace(&place, "the context")
    };
    assert_eq!(
        message(b"a"),
        "a in the context changed while it was read; build again once nothing writes to it"
    );
    assert_eq!(message(b"b"), "cannot read b in the context; a line in .dockerignore leaves it out");
    assert!(context.content_digest(b"c").is_ok());
}

fn known_in(context: &Context) -> usize {
    context.digests.read().unwrap().count()
}

#[test]
fn digests_are_kept_for_files_that_did_not_change() {
    let folder = folder("a=one b=two d/c=three");
    let kept = tempfile::tempdir().unwrap();
    let open = || Context::open(folder.path(), &IgnoreFile::empty(), options(Some(kept.path()))).unwrap();
    let paths = [b"a".to_vec(), b"b".to_vec(), b"d/c".to_vec()];

    let first = open();
    assert_eq!(known_in(&first), 0);
    let digests = first.digests(&paths).unwrap();
    first.save().unwrap();

    let second = open();
    assert_eq!(known_in(&second), 3);
    assert_eq!(second.digests(&paths).unwrap(), digests);
    second.save().unwrap();

    fs::write(folder.path().join("b"), "new").unwrap();
    fs::write(folder.path().join("aa"), "more").unwrap();
    let third = open();
    assert_eq!(known_in(&third), 2);
    assert_eq!(third.content_digest(b"b").unwrap(), Digest::of(b"new"));
}

#[test]
fn same_size_and_time_with_other_content_is_seen_by_ctime() {
    let folder = folder("a=one");
    let kept = tempfile::tempdir().unwrap();
    let open = || Context::open(folder.path(), &IgnoreFile::empty(), options(Some(kept.path()))).unwrap();
    let first = open();
    first.content_digest(b"a").unwrap();
    first.save().unwrap();
    let file = fs::File::options().write(true).open(folder.path().join("a")).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    // The clock of the file system goes in steps; write until one has passed.
    let stat = || rustix::fs::fstat(&file).unwrap();
    let seen = stat();
    while records::change_time(&stat()) == records::change_time(&seen) {
        std::os::unix::fs::FileExt::write_all_at(&file, b"two", 0).unwrap();
        file.set_modified(before).unwrap();
    }
    let second = open();
    assert_eq!((stat().st_size, stat().st_mtime_nsec), (seen.st_size, seen.st_mtime_nsec));
    assert_eq!(second.content_digest(b"a").unwrap(), Digest::of(b"two"));
}

#[test]
fn files_changed_just_before_are_not_kept() {
    let folder = folder("a=one");
    let kept = tempfile::tempdir().unwrap();
    let changed = fs::metadata(folder.path().join("a")).unwrap().modified().unwrap();
    let open = |now| {
        let options = ContextOptions { now, ..options(Some(kept.path())) };
        Context::open(folder.path(), &IgnoreFile::empty(), options).unwrap()
    };
    let known_after = |now| {
        let context = open(now);
        context.content_digest(b"a").unwrap();
        context.save().unwrap();
        known_in(&open(now)) == 1
    };
    assert!(!known_after(changed));
    assert!(!known_after(changed - Duration::from_secs(60)));
    assert!(known_after(changed + Duration::from_secs(60)));
}

#[test]
fn a_damaged_cache_counts_as_empty() {
    let folder = folder("a=one b=two");
    let kept = tempfile::tempdir().unwrap();
    let open = || Context::open(folder.path(), &IgnoreFile::empty(), options(Some(kept.path()))).unwrap();
    let first = open();
    first.content_digest(b"a").unwrap();
    first.save().unwrap();
    let file = fs::read_dir(kept.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[30] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..10], b"", &flipped] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(known_in(&open()), 0);
    }
    fs::write(&file, &whole).unwrap();
    assert!(known_in(&open()) > 0);
}

#[test]
fn each_ignore_file_has_a_cache_of_its_own() {
    let folder = folder("a=one b=two");
    let kept = tempfile::tempdir().unwrap();
    for lines in ["", "b"] {
        let ignore = IgnoreFile::parse(lines.as_bytes(), ".dockerignore").unwrap();
        let context = Context::open(folder.path(), &ignore, options(Some(kept.path()))).unwrap();
        context.content_digest(b"a").unwrap();
        context.save().unwrap();
    }
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 2);
}

#[test]
fn layers_give_digests_and_owners() {
    let layers = layers("d/ d/a=1");
    let tree = LayerTree { tree: &layers, name: "stage build" };
    let selection = select(&tree, "d").unwrap();
    let item = selection[0].items(&tree).next().unwrap();
    assert_eq!((item.node.uid, item.node.gid), (7, 8));
    assert_eq!(select(&tree, "e").unwrap_err().to_string(), "e is not in stage build: did you mean d?");
}
