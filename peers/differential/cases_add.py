"""ADD: archives, and what is none; real-world shapes."""

import bz2
import gzip
import io
import lzma
import tarfile

from case import File, case, folder, link, program


def tar(entries, mode="w:"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime, info.uid, info.gid, info.mode = 1_000_000_000, 7, 8, 0o640
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o750
                archive.addfile(info)
            elif isinstance(content, File):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, content.link, 0o777
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


TAR = tar({"d/": b"", "d/one": b"1\n", "top": b"t\n", "l": link("top")})

case("add-file", "ADD a.txt /x", {"a.txt": "a\n"})
case("add-folder", "ADD src /x", {"src/one": "1\n", "src/two": "2\n"})
case("add-tar", "ADD a.tar /x", {"a.tar": TAR})
case("add-tar-to-root", "ADD a.tar /", {"a.tar": TAR})
case("add-tar-gz", "ADD a.tar.gz /x/", {"a.tar.gz": gzip.compress(TAR, mtime=0)})
case("add-tar-xz", "ADD a.tar.xz /x/", {"a.tar.xz": lzma.compress(TAR)}, different="the Docker unpacked by peers/unpack has no program xz and copies the file", ignore=["file"])
case("add-tar-bz2", "ADD a.tar.bz2 /x/", {"a.tar.bz2": bz2.compress(TAR)})
case("add-tar-other-name", "ADD data.bin /x/", {"data.bin": TAR})
case("add-gz-no-tar", "ADD a.gz /x/", {"a.gz": gzip.compress(b"no tar\n", mtime=0)})
case("add-not-a-tar", "ADD a.tar /x", {"a.tar": "no tar\n"})
case("add-tar-copied", "COPY a.tar /x", {"a.tar": TAR})
case("add-tar-not-unpacked", "ADD --unpack=false a.tar /x", {"a.tar": TAR})
case("add-tar-chown", "ADD --chown=5:6 a.tar /x", {"a.tar": TAR})
case("add-tar-chmod", "ADD --chmod=600 a.tar /x", {"a.tar": TAR})
case("add-tar-over-existing", "RUN mkdir -m 700 -p /x/d && echo old >/x/top\nADD a.tar /x", {"a.tar": TAR})
case("add-tar-and-file", "ADD a.tar b.txt /x/", {"a.tar": TAR, "b.txt": "b\n"})
case("add-tar-glob", "ADD *.tar /x/", {"a.tar": TAR, "b.tar": tar({"other": b"o\n"})})
case("add-tar-in-folder", "ADD src /x", {"src/a.tar": TAR})
case("add-tar-dot-paths", "ADD a.tar /x", {"a.tar": tar({"./": b"", "./f": b"f\n"})})
case("add-tar-through-link", "RUN mkdir /real && ln -s real /x\nADD a.tar /x", {"a.tar": TAR})
case("add-chown", "ADD --chown=app a.txt /x/", {"a.txt": "a\n"})
case("add-link", "ADD --link a.txt /x/", {"a.txt": "a\n"})
case("add-exclude", "ADD --exclude=*.o src /x", {"src/a.o": "a", "src/b": "b"})
case("add-heredoc", "ADD <<END /x\nhello\nEND")
case("add-missing", "ADD nothing /x", fails=True)
case("add-checksum-of-file", "ADD --checksum=sha256:" + "0" * 64 + " a.txt /x", {"a.txt": "a"}, fails=True)

case("shape-multi-stage-compile", """FROM local/busybox:1 AS deps
WORKDIR /src
COPY go.mod .
RUN --mount=type=cache,target=/root/.cache cp go.mod /root/.cache/deps
FROM deps AS build
COPY . .
RUN --mount=type=cache,target=/root/.cache cat /root/.cache/deps main.go >/out && chmod 755 /out
FROM scratch
COPY --from=build --chown=65532:65532 /out /app
USER 65532:65532
ENTRYPOINT ["/app"]
""", {"go.mod": "module x\n", "main.go": "package main\n", ".dockerignore": "Dockerfile\n"})
case("shape-node", """FROM local/busybox:1 AS base
WORKDIR /app
ENV NODE_ENV=production
FROM base AS deps
COPY package*.json ./
RUN mkdir node_modules && cp package.json node_modules/dep
FROM base
COPY --from=deps /app/node_modules ./node_modules
COPY --chown=app:app . .
USER app
EXPOSE 3000
HEALTHCHECK --interval=30s CMD wget -q localhost:3000
CMD ["node", "server.js"]
""", {"package.json": "{}", "package-lock.json": "{}", "server.js": "x", "node_modules/local": "no", ".dockerignore": "node_modules\n"},
     different="the words of HEALTHCHECK in the history", ignore=["history"])
case("shape-python", """FROM local/busybox:1 AS build
RUN mkdir -p /venv/bin && echo '#!/venv' >/venv/bin/pip && chmod +x /venv/bin/pip && ln -s pip /venv/bin/pip3
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip cat requirements.txt >/venv/installed
FROM local/busybox:1
ENV PATH="/venv/bin:$PATH" PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
WORKDIR /app
COPY app app
CMD ["python", "-m", "app"]
""", {"requirements.txt": "x==1\n", "app/__init__.py": "", "app/__main__.py": "print()\n"})
case("shape-apt", """RUN mkdir -p /var/lib/apt/lists /usr/share/x && \\
    echo list >/var/lib/apt/lists/l && \\
    echo pkg >/usr/share/x/pkg && \\
    rm -rf /var/lib/apt/lists/*
""")
case("shape-cross-compile", """FROM --platform=$BUILDPLATFORM local/busybox:1 AS build
ARG TARGETOS TARGETARCH
COPY main.c .
RUN echo "cc -target $TARGETOS-$TARGETARCH" >/out
FROM scratch
COPY --from=build /out /app
""", {"main.c": "int main;"})
case("shape-shared-base", """FROM local/busybox:1 AS common
RUN echo c >/c
FROM common AS one
RUN echo 1 >/one
FROM common AS two
RUN echo 2 >/two
FROM common
COPY --from=one /one /
COPY --from=two /two /
COPY --from=one /c /c1
""")
case("shape-entry-script", """COPY --chmod=755 <<'END' /entry.sh
#!/bin/sh
exec "$@"
END
ENTRYPOINT ["/entry.sh"]
CMD ["sh"]
RUN /entry.sh touch /ran
""")
case("shape-delete-and-add-again", "COPY d /d\nRUN rm -r /d\nCOPY d/a /d/a\nRUN rm /d/a && mkdir /d/a && touch /d/a/b", {"d/a": "a", "d/b": "b"})
case("shape-many-layers", "\n".join(f"RUN echo {n} >/f{n}" for n in range(20)))
