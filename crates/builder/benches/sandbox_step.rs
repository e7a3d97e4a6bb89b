//! What a step costs beside its command: a program that does nothing, started plainly and in a sandbox.
//!
//! Prints the best, the median and the processor time of fifty runs each, in milliseconds; on a busy machine
//! the median says how busy it is. Run as root and as an ordinary user:
//! `cargo bench -p builder --bench sandbox_step`.
#![allow(clippy::unwrap_used, reason = "what fails here is the measurement")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use builder::sandbox::{Command, RootFs, Sandbox, probe};

const RUNS: usize = 50;
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"];

fn main() {
    let Some(busybox) = BUSYBOX.iter().find(|path| Path::new(path).exists()) else {
        return println!("skipped: no static busybox");
    };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    for name in ["bin", "etc", "proc", "dev", "sys"] {
        fs::create_dir_all(image.join(name)).unwrap();
    }
    fs::copy(busybox, image.join("bin/busybox")).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_sandbox-runner"));
    let found = match probe(&program, folder.path()) {
        Ok(found) => found,
        Err(error) => return println!("skipped: {error}"),
    };
    let sandbox = Sandbox::new(program, found.mode.clone()).unwrap();
    println!("{}; median of {RUNS} runs", found.mode.name());
    let plain = measure(|_| plain_run(busybox));
    println!("plain fork and exec   {plain}");
    for layers in [1, 10, 100] {
        let lowers = lowers(folder.path(), &image, layers);
        let step = measure(|run| sandbox_run(&sandbox, folder.path(), &lowers, run));
        println!("sandbox, {layers:3} layers   {step}");
        for run in 0..=RUNS {
            fs::remove_dir_all(folder.path().join(format!("run{run}"))).unwrap();
        }
    }
}

fn lowers(folder: &Path, image: &Path, count: usize) -> Vec<PathBuf> {
    let mut lowers = vec![image.to_owned()];
    for number in 1..count {
        let layer = folder.join(format!("layer{number}"));
        fs::create_dir_all(layer.join("etc")).unwrap();
        lowers.push(layer);
    }
    lowers
}

/// Milliseconds.
struct Measured {
    best: f64,
    median: f64,
    processor: f64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { best, median, processor } = self;
        write!(out, "best {best:6.2}, median {median:6.2}, processor {processor:6.2}")
    }
}

fn measure(mut run: impl FnMut(usize) -> Duration) -> Measured {
    run(RUNS);
    let before = processor_time();
    let mut times: Vec<_> = (0..RUNS).map(run).map(milliseconds).collect();
    let processor = (processor_time() - before) / RUNS as f64;
    times.sort_unstable_by(f64::total_cmp);
    Measured { best: times[0], median: times[RUNS / 2], processor }
}

/// What this process and its ended children have used, in milliseconds. Source: proc_pid_stat(5).
fn processor_time() -> f64 {
    const MILLISECONDS_PER_TICK: f64 = 10.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = after_name.split_whitespace().skip(11).take(4).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() * MILLISECONDS_PER_TICK
}

fn plain_run(busybox: &str) -> Duration {
    let started = Instant::now();
    assert!(std::process::Command::new(busybox).arg("true").status().unwrap().success());
    started.elapsed()
}

fn sandbox_run(sandbox: &Sandbox, folder: &Path, lowers: &[PathBuf], run: usize) -> Duration {
    let place = folder.join(format!("run{run}"));
    let [upper, work] = ["upper", "work"].map(|name| place.join(name));
    let started = Instant::now();
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let root = RootFs { lowers: lowers.to_vec(), upper, work, read_only: false, merged: None };
    let command = Command::new(&["/bin/busybox", "true"]);
    assert!(sandbox.run(&root, &command, &mut |_, _| {}).unwrap().success());
    started.elapsed()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
