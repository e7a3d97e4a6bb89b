"""An OCI archive as plain data: what a container of it would see, and its configuration."""

import functools
import hashlib
import io
import json
import tarfile
import zlib

CONFIG_KEYS = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
               "StopSignal", "Healthcheck", "Shell", "OnBuild", "ArgsEscaped")


def read(path):
    """Returns the tree, the configuration and the history of the one image in an OCI archive."""
    with tarfile.open(path) as archive:
        blob = lambda digest: archive.extractfile("blobs/" + digest.replace(":", "/")).read()
        document = json.loads(archive.extractfile("index.json").read())
        while "manifests" in document:
            document = json.loads(blob(document["manifests"][0]["digest"]))
        config = json.loads(blob(document["config"]["digest"]))
        tree = {}
        for layer in document["layers"] or []:
            apply(tree, entries(blob(layer["digest"])))
    inner = {key: config.get("config", {}).get(key) for key in CONFIG_KEYS}
    outer = {key: config.get(key) for key in ("architecture", "os", "variant", "author")}
    history = [{key: entry.get(key) for key in ("created_by", "comment", "empty_layer", "author")}
               for entry in config.get("history") or []]
    return shown(tree), {**outer, **{key: value for key, value in inner.items() if value}}, history


@functools.lru_cache(maxsize=8)
def entries(blob):
    """Returns the entries of a layer: path, and what is there."""
    if blob[:2] == b"\x1f\x8b":
        blob = zlib.decompress(blob, wbits=31) if single(blob) else gunzip(blob)
    found = []
    with tarfile.open(fileobj=io.BytesIO(blob)) as layer:
        for member in layer:
            entry = {"mode": f"{member.mode:04o}", "uid": member.uid, "gid": member.gid}
            entry["type"] = next(kind for kind in KINDS if getattr(member, "is" + kind)())
            if member.isreg():
                content = layer.extractfile(member).read()
                entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()[:16]}
            if member.issym() or member.islnk():
                entry["link"] = member.linkname
            if member.ischr() or member.isblk():
                entry["device"] = f"{member.devmajor}:{member.devminor}"
            xattrs = {key.removeprefix("SCHILY.xattr."): value for key, value in member.pax_headers.items()
                      if key.startswith("SCHILY.xattr.")}
            if xattrs:
                entry["xattrs"] = xattrs
            found.append((member.name.removeprefix("./").strip("/"), entry))
    return found


KINDS = ("lnk", "reg", "dir", "sym", "chr", "blk", "fifo")


def single(blob):
    stream = zlib.decompressobj(wbits=31)
    stream.decompress(blob)
    return stream.eof and not stream.unused_data


def gunzip(blob):
    import gzip
    return gzip.decompress(blob)


def apply(tree, layer):
    """Puts a layer on a tree: files, whiteouts, opaque folders. Names of one file share an entry."""
    written = set()
    for path, entry in layer:
        folder, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            remove(tree, folder, written, itself=False)
        elif name.startswith(".wh."):
            remove(tree, f"{folder}/{name[4:]}".strip("/"), written)
        elif path not in ("", "."):
            if not (entry["type"] == "dir" and tree.get(path, {}).get("type") == "dir"):
                remove(tree, path, written)
            if entry["type"] == "lnk":
                entry = tree[entry["link"].removeprefix("./").strip("/")]
            tree[path] = entry if entry["type"] != "dir" else dict(entry)
            written.add(path)


def remove(tree, path, written, itself=True):
    for other in [other for other in tree if other.startswith(path + "/") or (itself and other == path)]:
        if other not in written:
            del tree[other]


def shown(tree):
    """Returns the tree with the other names of each file instead of its identity."""
    names = {}
    for path, entry in tree.items():
        names.setdefault(id(entry), []).append(path)
    lines = {}
    for path, entry in sorted(tree.items()):
        same = sorted(names[id(entry)])
        lines[path] = {**entry, **({"names": same} if len(same) > 1 and entry["type"] == "reg" else {})}
    return lines
