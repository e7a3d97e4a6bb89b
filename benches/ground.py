"""What the scripts of this folder stand on: the program under test, its folder, and the peers' daemon."""

import contextlib
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent
BENCH = pathlib.Path(os.environ.get("BENCH", PROJECT / ".bench")).absolute()
TARGET = os.environ.get("CARGO_TARGET_DIR", PROJECT / "target")
PLIMSOLL = os.environ.get("PLIMSOLL", f"{TARGET}/release/plimsoll")
RUNS = int(os.environ.get("RUNS", "5"))
STORE = BENCH / "store"


def output(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, text=True, stdout=subprocess.PIPE, **options).stdout.strip()


def plimsoll(*words, store=STORE):
    return [PLIMSOLL, *words, "--root", store]


@contextlib.contextmanager
def docker28():
    """Docker 28, started and stopped; gives its client."""
    output(PROJECT / "peers/docker28", "start")
    try:
        yield output(PROJECT / "peers/docker28", "state") + "/docker"
    finally:
        output(PROJECT / "peers/docker28", "stop")


def measure(figures, wanted, prepare):
    """Measures the wanted figures, all where none is named, and exits with whether all were met.

    `figures` are functions by name that take what `prepare` returns and return whether they are met."""
    unknown = [name for name in wanted if name not in figures]
    if unknown:
        sys.exit(f"no figure {unknown[0]}; there are {', '.join(figures)}")
    if "PLIMSOLL" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "plimsoll"], check=True, cwd=PROJECT)
    BENCH.mkdir(parents=True, exist_ok=True)
    with docker28() as docker:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
              f"{output(PLIMSOLL, '--version')} against {output(docker, '--version')}")
        ground = prepare(docker)
        met = [figures[name](ground) for name in wanted or figures]
    print(f"\n{sum(met)} of {len(met)} groups of figures met, load {os.getloadavg()[0]:.1f}")
    sys.exit(0 if all(met) else 1)
