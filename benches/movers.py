"""What benches/registry moves, from where, with what and to where: images, a file system, programs and servers."""

import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
GIGABYTES = 12


def output(*words, **options):
    words = [str(word) for word in words]
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options).stdout.strip()


class Disk:
    """A new ext4 in a file, on which nothing was deleted before."""

    def __init__(self, folder):
        self.image, self.mount = folder.with_suffix(".ext4"), folder

    def __enter__(self):
        self.mount.mkdir(parents=True, exist_ok=True)
        subprocess.run(["umount", self.mount], stderr=subprocess.DEVNULL)
        with open(self.image, "wb") as file:
            file.truncate(GIGABYTES << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.mount], check=True)
        return self.mount

    def __exit__(self, *_):
        subprocess.run(["umount", self.mount], check=True)
        self.image.unlink()


class Layout:
    """An image of random layers in an OCI layout, under the tag 1. Nobody on the way looks into them."""

    def __init__(self, folder, sizes):
        self.folder, self.blobs = folder, folder / "blobs/sha256"
        self.blobs.mkdir(parents=True)
        self.layers = [self.random(size) for size in sizes]
        diff_ids = [layer["digest"] for layer in self.layers]
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.put("config.v1+json", json.dumps(config).encode()), "layers": self.layers}
        named = self.put("manifest.v1+json", json.dumps(manifest).encode())
        named["annotations"] = {"org.opencontainers.image.ref.name": "1"}
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))

    def random(self, size):
        """Makes a layer, a piece at a time: what this process holds would count as its children's memory."""
        hash, file = hashlib.sha256(), self.blobs / "new"
        with open(file, "wb") as new:
            for start in range(0, size, 1 << 20):
                piece = os.urandom(min(1 << 20, size - start))
                hash.update(piece)
                new.write(piece)
        file.rename(self.blobs / hash.hexdigest())
        return self.describe("layer.v1.tar+gzip", hash.hexdigest(), size)

    def put(self, kind, content):
        name = hashlib.sha256(content).hexdigest()
        (self.blobs / name).write_bytes(content)
        return self.describe(kind, name, len(content))

    def describe(self, kind, name, size):
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": size}


class Tools:
    """The command lines that push a layout."""

    def __init__(self, plimsoll, peers):
        self.plimsoll, self.peers = plimsoll, peers

    def ours(self, layout, reference):
        return [self.plimsoll, "copy", "-q", f"oci:{layout.folder}:1", reference]

    def push(self, layout, address):
        place = f"{address}/bench/image:1"
        return [("plimsoll", self.ours(layout, place)),
                ("skopeo", [f"{self.peers}/skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{layout.folder}:1", f"docker://{place}"]),
                ("crane", [f"{self.peers}/crane", "push", "--insecure", layout.folder, place]),
                ("oras", [f"{self.peers}/oras", "cp", "--from-oci-layout", "--to-plain-http", f"{layout.folder}:1", place])]


class Server:
    """A registry on a loopback port that it keeps, and what the kernel says of its process."""

    def __init__(self, name, program, root):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.name, self.program, self.root, self.process, self.last = name, program, root, None, None

    def restart_empty(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        words = [str(word) for word in self.words()]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.ask("/v2/")
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError(f"{self.name} does not answer")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None

    def ask(self, path):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection.request("GET", path)
        content = connection.getresponse().read()
        connection.close()
        return content

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024

    def pull(self, repository, layers):
        connection = http.client.HTTPConnection(self.address)
        buffer = memoryview(bytearray(1 << 20))
        for layer in layers:
            connection.request("GET", f"/v2/{repository}/blobs/{layer['digest']}")
            answer = connection.getresponse()
            while answer.readinto(buffer):
                pass
        connection.close()

    def reads(self, repository, connections, seconds):
        """Returns manifest reads a second."""
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Accept: {MANIFEST}", f"http://{self.address}/v2/{repository}/manifests/1"]
        text = output(*words)
        assert "Non-2xx" not in text, text
        return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))


class Ours(Server):
    def __init__(self, program, root):
        super().__init__("plimsoll serve registry", program, root)

    def words(self):
        return [self.program, "-q", "serve", "registry", "--metrics", "--listen", self.address, "--root", self.root]

    def requests(self):
        """Returns how many requests were answered; the difference of two readings holds that for the first."""
        counts = re.findall(r"^plimsoll\w*requests_total\{[^}]*\} (\d+)", self.ask("/metrics").decode(), re.M)
        return sum(map(int, counts))


class DockerRegistry(Server):
    def __init__(self, program, root):
        super().__init__("Debian's docker-registry", program, root)

    def words(self):
        config = self.root / "config.yml"
        config.write_text(f"""version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {self.root}/data}}
  delete: {{enabled: true}}
http: {{addr: "{self.address}"}}
""")
        return [self.program, "serve", config]
