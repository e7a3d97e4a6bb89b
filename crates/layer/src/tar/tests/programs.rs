//! Archives of other programs, read by us, and ours, read by them. What is not installed is skipped and said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::{archive, entry, file, observe, pull};
use crate::{Kind, TarReader};

/// Runs a command that writes `out.tar` beside the folder it starts in; `None` where it is not installed.
fn run(name: &str, mut command: Command, folder: &Path) -> Option<Vec<u8>> {
    match command.current_dir(folder).status() {
        Ok(status) => assert!(status.success(), "{name}"),
        Err(error) => {
            println!("skipped: {name}: {error}");
            return None;
        }
    }
    Some(fs::read(folder.with_file_name("out.tar")).unwrap())
}

/// Makes an archive of a tree with every program that is there; says which are not.
fn real_archives() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    fs::create_dir_all(root.join("sub/".to_owned() + &"long".repeat(40))).unwrap();
    fs::write(root.join("sub").join("long".repeat(40)).join("x".repeat(120)), vec![7; 3000]).unwrap();
    fs::write(root.join("größe"), b"content").unwrap();
    fs::hard_link(root.join("größe"), root.join("zweite")).unwrap();
    std::os::unix::fs::symlink("y".repeat(150), root.join("link")).unwrap();
    let script = "import sys,tarfile\nwith tarfile.open(sys.argv[2],'w',format=getattr(tarfile,sys.argv[1])) as t: t.add('.')";
    let mut commands: Vec<(String, Command)> = Vec::new();
    for format in ["gnu", "pax", "oldgnu"] {
        let mut command = Command::new("tar");
        command.args(["--format", format, "-cf", "../out.tar", "."]);
        commands.push((format!("tar --format {format}"), command));
    }
    for format in ["GNU_FORMAT", "PAX_FORMAT"] {
        let mut command = Command::new("python3");
        command.args(["-c", script, format, "../out.tar"]);
        commands.push((format!("python3 tarfile.{format}"), command));
    }
    let run = |(name, command): (String, Command)| Some((name.clone(), run(&name, command, &root)?));
    commands.into_iter().filter_map(run).collect()
}

#[test]
fn archives_of_other_programs_are_read() {
    for (name, bytes) in real_archives() {
        let observed = observe(&bytes, 4096).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut paths: Vec<_> = observed.index.entries.iter().map(|entry| entry.path.clone()).collect();
        paths.sort();
        let long = format!("sub/{}", "long".repeat(40));
        let expected = ["", "größe", "link", "sub", &long, &format!("{long}/{}", "x".repeat(120)), "zweite"];
        assert_eq!(paths, expected.map(|path| path.as_bytes().to_vec()), "{name}");
        let kinds: BTreeMap<_, _> =
            observed.index.entries.into_iter().map(|entry| (entry.path, entry.kind)).collect();
        assert_eq!(kinds[&b"link"[..]], Kind::Symlink(vec![b'y'; 150]), "{name}");
        let links = [&kinds["größe".as_bytes()], &kinds[&b"zweite"[..]]];
        assert!(links.iter().any(|kind| matches!(kind, Kind::Hardlink(_))), "{name}: {links:?}");
        assert_eq!(pull(&bytes).unwrap().len(), 7, "{name}");
    }
}

#[test]
fn other_programs_read_our_archives() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "p".repeat(160), "n".repeat(120));
    let entries = [entry("a", file(5)), entry(&long, file(9)), entry("ü", Kind::Symlink(b"a".to_vec()))];
    let path = folder.path().join("ours.tar");
    fs::write(&path, archive(&entries)).unwrap();
    let script = "import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name)";
    for (program, args) in
        [("tar", &["--quoting-style=literal", "-tf"][..]), ("python3", &["-X", "utf8", "-c", script])]
    {
        match Command::new(program).args(args).arg(&path).output() {
            Ok(output) => {
                let expected = format!("a\n{long}\nü\n");
                assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{program}: {output:?}");
            }
            Err(error) => println!("skipped: {program}: {error}"),
        }
    }
}

/// Makes a file of holes and so many pieces; one of 40 has maps that go on in further blocks.
fn sparse_file(path: &Path, pieces: u64) {
    let file = File::create(path).unwrap();
    for piece in 0..pieces {
        file.write_all_at(&[piece as u8 + 1; 4096], piece * 65536 + 16384).unwrap();
    }
    file.set_len(pieces * 65536 + 99).unwrap();
}

#[test]
fn sparse_files_are_expanded() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    fs::create_dir(&root).unwrap();
    for pieces in [0, 3, 40] {
        sparse_file(&root.join(format!("sparse-{pieces}")), pieces);
    }
    fs::write(root.join("after"), "text").unwrap();
    for form in
        ["gnu", "oldgnu", "pax --sparse-version=0.0", "pax --sparse-version=0.1", "pax --sparse-version=1.0"]
    {
        let mut command = Command::new("tar");
        command.args(["--sparse", "-cf", "../out.tar", "--format"]).args(form.split(' '));
        command.args(["after", "sparse-0", "sparse-3", "sparse-40"]);
        let Some(bytes) = run(form, command, &root) else { return };
        assert!(bytes.len() < 400_000, "{form}: {} bytes", bytes.len());
        let found = pull(&bytes).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(found.len(), 4, "{form}");
        for (entry, content) in found {
            let path = String::from_utf8(entry.path).unwrap();
            let expected = fs::read(root.join(&path)).unwrap();
            assert!(content == expected, "{form}: {path}");
            assert!(
                matches!(entry.kind, Kind::File { size, .. } if size == expected.len() as u64),
                "{form}: {path}"
            );
        }
        let message = observe(&bytes, 4096).unwrap_err().to_string();
        assert!(message.contains("sparse"), "{message}");
    }
}

#[test]
fn the_entry_after_a_sparse_file_is_found_wherever_reading_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    fs::create_dir(&root).unwrap();
    sparse_file(&root.join("sparse"), 3);
    fs::write(root.join("x"), "text").unwrap();
    let mut command = Command::new("tar");
    command.args(["--sparse", "-cf", "../out.tar", "sparse", "x"]);
    let Some(bytes) = run("tar --sparse", command, &root) else { return };
    for count in [0, 1, 16_384, 16_385, 30_000, 100_000, 200_000] {
        let mut reader = TarReader::new(&bytes[..]);
        reader.next_entry().unwrap();
        reader.content().take(count).read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(reader.next_entry().unwrap().unwrap().path, b"x");
        let mut text = String::new();
        reader.content().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
