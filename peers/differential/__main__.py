"""The same Dockerfiles built here and with Docker 28's BuildKit, and the images compared entry by entry.

    python3 peers/differential [-v] [NAME...]

A NAME is a case or the start of one; -v prints all that the two said. Compared are path, kind, mode, owner, size, content, link target, other
names and extended attributes of every file, the configuration, and the history; not times: ours are fixed.
Where Docker cannot be had, everything is skipped and said to be. The last line is
`N the same, N differ for a known reason, N failed, N skipped`. PLIMSOLL=program takes another binary
than the debug build."""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import case as cases
import image

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent
TARGET = os.environ.get("CARGO_TARGET_DIR", PEERS.parent / "target")
PLIMSOLL = os.environ.get("PLIMSOLL", f"{TARGET}/debug/plimsoll")
FOLDERS = ("bin", "dev", "etc", "home", "home/app", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/local/bin", "var")


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], text=True, errors="replace", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    return done.returncode, done.stdout


def must(*words, **options):
    code, output = run(*words, **options)
    assert code == 0, f"{' '.join(map(str, words))}\n{output}"
    return output


class Engines:
    """Ours and Docker's, with the same base images."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.docker = None

    def start(self):
        must(PEERS / "docker28", "start", "--store", "containerd")
        self.docker = pathlib.Path(must(PEERS / "docker28", "state").strip()) / "docker"

    def stop(self):
        must(PEERS / "docker28", "stop")

    def base(self, name, tree, *options):
        must(PLIMSOLL, "import", tree, name, "--root", self.root, *options)
        archive = self.folder / "base.tar"
        must(PLIMSOLL, "save", name, "-o", archive, "--archive", "docker-archive", "--root", self.root)
        must(self.docker, "load", "-i", archive)
        archive.unlink()

    def ours(self, case, context, archive):
        name = f"local/differential/{case.name}:1"
        code, output = run(PLIMSOLL, "build", "-t", name, *case.options, ".", "--root", self.root, cwd=context,
                           env={**os.environ, **case.environment})
        if code == 0:
            must(PLIMSOLL, "save", name, "-o", archive, "--archive", "oci-archive", "--root", self.root)
        return code, output

    def theirs(self, case, context, archive):
        return run(self.docker, "buildx", "build", "--network=none", "--provenance=false", "--progress=plain",
                   "-o", f"type=oci,dest={archive}", *case.options, ".", cwd=context,
                   env={**os.environ, **case.environment})


def busybox(folder):
    """A base of busybox, two users and the usual folders."""
    tree = folder / "busybox"
    for name in FOLDERS:
        (tree / name).mkdir(parents=True)
    (tree / "tmp").chmod(0o1777)
    shutil.copy(shutil.which("busybox"), tree / "bin/busybox")
    for applet in must(shutil.which("busybox"), "--list").split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\napp:x:1001:\nstaff:x:50:app\n")
    os.chown(tree / "home/app", 1000, 1001)
    return tree


def compare(ours, theirs, ignore):
    """Returns a line for each difference."""
    differences = []
    for what, one, other in zip(("file", "config", "history"), ours, theirs):
        if what in ignore:
            continue
        if isinstance(one, list):
            one, other = dict(enumerate(one)), dict(enumerate(other))
        for key in sorted({*one, *other}, key=str):
            if one.get(key) != other.get(key) and f"{what} {key}" not in ignore:
                differences.append(f"{what} {key}:\n      ours   {one.get(key)}\n      theirs {other.get(key)}")
    return differences


def check(engines, case):
    """Builds one case in both and returns what became of it, with what there is to say."""
    context = case.write(engines.folder / "contexts")
    archives = [engines.folder / f"{case.name}.{who}.tar" for who in ("ours", "theirs")]
    (code, output), (their_code, their_output) = engines.ours(case, context, archives[0]), engines.theirs(case, context, archives[1])
    if case.fails or code or their_code:
        if code and their_code and case.fails:
            return "same", last(output) + "\n      theirs: " + last(their_output)
        said = "\n".join(f"    {who} ended with {number}:\n{tail(text)}"
                         for who, number, text in (("ours", code, output), ("theirs", their_code, their_output)))
        return ("known" if case.why_different and not case.ignore else "failed"), said
    differences = compare(image.read(archives[0]), image.read(archives[1]), case.ignore)
    for archive in archives:
        archive.unlink()
    if differences:
        return "failed", "\n".join(f"    {line}" for line in differences)
    return ("known" if case.why_different else "same"), case.why_different or ""


def last(output):
    return next((line for line in reversed(output.splitlines()) if "error" in line.lower()), "")


def tail(output):
    return "\n".join("      " + line for line in output.splitlines()[-12:])


def chosen(words):
    selected = [case for case in cases.ALL if not words or any(case.name.startswith(word) for word in words)]
    return selected or sys.exit(f"no case begins with {' or '.join(words)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    for module in sorted(HERE.glob("cases_*.py")):
        __import__(module.stem)
    selected = chosen(arguments.names)
    if "PLIMSOLL" not in os.environ:
        must("cargo", "build", "--quiet", "-p", "plimsoll", cwd=PEERS.parent)
    counts = {"same": 0, "known": 0, "failed": 0}
    with tempfile.TemporaryDirectory(prefix="plimsoll-differential-") as folder:
        engines = Engines(pathlib.Path(folder))
        try:
            engines.start()
        except AssertionError as error:
            print(f"skipped: {str(error).splitlines()[-1]}")
            print(f"0 the same, 0 differ for a known reason, 0 failed, {len(selected)} skipped")
            return 0
        try:
            engines.base("local/busybox:1", busybox(engines.folder), "--env", "PATH=/bin:/usr/bin", "--label", "base=yes", "--cmd", '["sh"]')
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                results = pool.map(lambda case: guarded(engines, case), selected)
                for case, (what, said) in zip(selected, results):
                    counts[what] += 1
                    words = {"same": "ok", "known": "differs as known", "failed": "FAILED"}[what]
                    print(f"{words}: {case.name}" + (f"\n{said}" if what != "same" or arguments.verbose else ""), flush=True)
        finally:
            engines.stop()
    print(f"{counts['same']} the same, {counts['known']} differ for a known reason, {counts['failed']} failed, 0 skipped")
    return 1 if counts["failed"] else 0


def guarded(engines, case):
    try:
        return check(engines, case)
    except (AssertionError, OSError, KeyError, ValueError, TypeError) as error:
        return "failed", f"    {type(error).__name__}: {error}"


sys.exit(main())
