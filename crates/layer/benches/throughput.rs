//! How fast layers are written, opened, extracted and indexed here. Prints one line a figure: time on the
//! clock, time of all processors (which other work on the machine disturbs less), and throughput of each.
//!
//! `cargo bench -p layer -- FOLDER [PART...]` packs FOLDER (for figures that compare, 100 MB or more with
//! many files) and measures the parts `observe`, `compress`, `write`, `index`, `extract`, or all.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use layer::{
    ApplyOptions, Devices, LayerIndex, LayerWriter, Observer, OverlayAttributes, Owners, PackOptions,
    Settings, Tree, Whiteouts, apply, compressor, decompress, write_folder,
};
use oci::Compression;
use rustix::time::{ClockId, clock_gettime};

type Measure = fn(&[u8]);
const PARTS: [(&str, Measure); 5] =
    [("observe", observe), ("compress", compress), ("write", write), ("index", index), ("extract", extract)];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "/usr/share/doc".to_owned()));
    let parts: Vec<String> = arguments.collect();
    let mut tar = Vec::new();
    let packed = timed("pack the folder", None, || {
        write_folder(&folder, &mut tar, &PackOptions::default()).expect("the folder can be packed")
    });
    println!("{} entries, {} MB", packed.entries, tar.len() / 1_000_000);
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    for (part, measure) in PARTS {
        if wanted(part) {
            measure(&tar);
        }
    }
}

fn timed<T>(what: &str, bytes: Option<usize>, work: impl FnOnce() -> T) -> T {
    timed_entries(what, bytes, 0, work)
}

fn timed_entries<T>(what: &str, bytes: Option<usize>, entries: usize, work: impl FnOnce() -> T) -> T {
    let (started, cpu_started) = (Instant::now(), cpu_time());
    let result = work();
    let (time, cpu) = (started.elapsed(), cpu_time() - cpu_started);
    let per_second = |count: f64, time: Duration| count / time.as_secs_f64();
    print!("{what:44} {:8.1} ms {:8.1} ms cpu", time.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3);
    if let Some(bytes) = bytes {
        let megabytes = bytes as f64 / 1e6;
        print!(" {:6.0} MB/s {:6.0} MB/s cpu", per_second(megabytes, time), per_second(megabytes, cpu));
    }
    if entries > 0 {
        let entries = entries as f64;
        print!(" {:6.0} entries/s {:6.0} entries/s cpu", per_second(entries, time), per_second(entries, cpu));
    }
    println!();
    result
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn observe(tar: &[u8]) {
    timed("diff id, file digests, index", Some(tar.len()), || observed(tar));
}

fn observed(tar: &[u8]) -> LayerIndex {
    let mut observer = Observer::new();
    tar.chunks(256 << 10).for_each(|piece| observer.write_all(piece).expect("the tar is ours"));
    observer.finish().expect("the tar is ours").index
}

fn compress(tar: &[u8]) {
    for (format, levels) in [(Compression::Gzip, &[1, 3, 4, 5, 6, 9][..]), (Compression::Zstd, &[1, 2, 3, 6])]
    {
        for level in levels {
            for workers in [1, 2] {
                let settings =
                    Settings::new(format).with_level(*level).expect("it exists").with_workers(workers);
                let name = format!("compress {format:?} level {level}, {workers} workers");
                let blob = timed(&name, Some(tar.len()), || {
                    let mut output = compressor(settings, Vec::with_capacity(tar.len())).expect("memory");
                    output.write_all(tar).expect("memory does not fail");
                    output.finish().expect("memory does not fail")
                });
                if workers == 2 {
                    println!(
                        "    {:.1} MB, {:.1} %",
                        blob.len() as f64 / 1e6,
                        100.0 * blob.len() as f64 / tar.len() as f64
                    );
                    open(&blob, tar.len());
                }
            }
        }
    }
}

fn open(blob: &[u8], size: usize) {
    let blob = blob.to_vec();
    timed("    open it again", Some(size), || {
        let mut plain = decompress(Cursor::new(blob)).expect("memory does not fail");
        io::copy(&mut plain, &mut io::sink()).expect("the blob is ours")
    });
}

fn write(tar: &[u8]) {
    for format in [Compression::None, Compression::Zstd, Compression::Gzip] {
        timed(&format!("LayerWriter, all in, {format:?}"), Some(tar.len()), || {
            let sink = Vec::with_capacity(tar.len());
            let mut writer = LayerWriter::new(sink, Settings::new(format)).expect("memory");
            tar.chunks(256 << 10).for_each(|piece| writer.write_all(piece).expect("memory does not fail"));
            writer.finish().expect("the tar is ours")
        });
    }
}

fn index(tar: &[u8]) {
    let index = observed(tar);
    // As many entries as the folder has, but at least 50,000.
    let mut many = index.clone();
    let mut copy = 0;
    while many.entries.len() < 50_000 {
        copy += 1;
        many.entries.extend(index.entries.iter().cloned().map(|mut entry| {
            entry.path.splice(..0, format!("copy{copy}/").bytes());
            entry
        }));
    }
    many.entries.truncate(50_000);
    let mut bytes = Vec::new();
    timed("write an index of 50,000 entries", None, || {
        many.write_to(&mut bytes).expect("memory does not fail")
    });
    let read = timed("read it", None, || LayerIndex::read_from(&bytes[..]).expect("the index is ours"));
    println!("    {} KB", bytes.len() / 1000);
    let layer = Arc::new(read);
    let mut tree = timed("build a tree of it", None, || Tree::new(&[Arc::clone(&layer)]));
    timed("push it again", None, || tree.push(&*layer).expect("the index is in memory"));
    timed("walk it", None, || assert!(tree.walk(b"").count() > 50_000 - 1));
}

fn extract(tar: &[u8]) {
    let entries = observed(tar).entries.len();
    let options = ApplyOptions {
        whiteouts: Whiteouts::Overlay(OverlayAttributes::User),
        owners: Owners::Ignore,
        devices: Devices::Skip,
        lower: None,
    };
    let mut targets = Vec::new();
    for round in 1..=3 {
        let target = std::env::temp_dir().join(format!("layer-bench-{}-{round}", std::process::id()));
        fs::create_dir(&target).expect("the temporary folder can be written");
        timed_entries("extract", Some(tar.len()), entries, || {
            apply(tar, &target, &options).expect("the temporary folder can be written")
        });
        targets.push(target);
    }
    // Not before: some file systems create slowly after much was removed.
    for target in targets {
        fs::remove_dir_all(target).expect("the folder is ours");
    }
}
