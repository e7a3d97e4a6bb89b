"""Other platforms, what an image without a base is for, and flags of the build."""

from case import case

ARM = ("--platform", "linux/arm64")

case("platform-foreign-copy", "FROM scratch\nARG TARGETARCH TARGETPLATFORM\nENV P=$TARGETPLATFORM\nCOPY a.txt /$TARGETARCH",
     {"a.txt": "a\n"}, *ARM)
case("platform-foreign-variant", "FROM scratch\nARG TARGETARCH TARGETVARIANT\nCOPY a.txt /$TARGETARCH$TARGETVARIANT",
     {"a.txt": "a\n"}, "--platform", "linux/arm/v7")
case("platform-build-stage", "FROM --platform=$BUILDPLATFORM local/busybox:1 AS made\nARG TARGETARCH BUILDARCH\n"
     "RUN echo $BUILDARCH $TARGETARCH >/made\nFROM scratch\nCOPY --from=made /made /made", {}, *ARM)
case("platform-build-stage-named", "FROM --platform=linux/amd64 local/busybox:1 AS made\nRUN uname -m >/made\n"
     "FROM scratch\nWORKDIR /w\nCOPY --from=made --chown=5 /made .", {}, *ARM)
case("platform-base-is-another", "COPY a.txt /", {"a.txt": "a\n"}, *ARM,
     different="a base image for another platform is an error here and a warning there")
case("platform-args-before-from", "ARG TARGETOS\nARG X=$TARGETOS\nFROM scratch AS linux-stage\nCOPY a.txt /a\n"
     "FROM $X-stage\nARG X\nENV X=$X", {"a.txt": "a\n"}, *ARM)

case("flag-ulimit", "RUN ulimit -n >/x && ulimit -H -n >>/x", {}, "--ulimit", "nofile=99:120")
case("flag-shm-size", "RUN df -k /dev/shm | awk 'END { print $2 }' >/x", {}, "--shm-size", "2m")
case("flag-add-host", "RUN grep elsewhere /etc/hosts >/x", {}, "--add-host", "elsewhere:10.1.2.3")
case("flag-annotation-of-index", "COPY a.txt /", {"a.txt": "a\n"}, "--annotation", "index:a=b", fails=True)
case("flag-annotation-unknown", "COPY a.txt /", {"a.txt": "a\n"}, "--annotation", "image:a=b", fails=True)
case("flag-output-split-with-one", "COPY a.txt /", {"a.txt": "a\n"}, "--annotation", "manifest:a=b")

case("from-folder-context", "FROM folder\nCOPY a.txt /", {"a.txt": "a\n", "other/b.txt": "b\n"},
     "--build-context", "folder=other", raw=True, ignore=["history"],
     different="there the layer of the folder is named for the step above it")
case("from-folder-context-run", "FROM folder\nCOPY --from=local/busybox:1 /bin/busybox /bin/sh\nRUN test $(cat /sub/b.txt) = b >/x",
     {"other/sub/b.txt": "b\n", "other/skipped": "", "other/.dockerignore": "skipped"}, "--build-context", "folder=other", raw=True,
     ignore=["history", "file dev", "file proc", "file sys"],
     different="there the layer of the folder is named for the step above it, and mount points stay")
case("copy-before-run", "COPY one /d/\nRUN mkdir -m 700 /e && echo x >/d/x\nCOPY two /e/\nCOPY --link three /f/three",
     {"one": "1", "two": "2", "three": "3"})
case("copy-after-run-changed-folder", "RUN mkdir /real && ln -s real /l && chmod 750 /real\nCOPY one /l/one\nCOPY two /l/",
     {"one": "1", "two": "2"})
case("workdir-then-copy-after-run", "RUN echo x >/x\nWORKDIR /w/v\nUSER app\nWORKDIR u\nCOPY one .\nCOPY --chown=app two ./two/",
     {"one": "1", "two": "2"})
case("add-git-odd-query", "ADD https://localhost/r.git?reff=x /x", fails=True)
case("add-git-odd-checksum", "ADD --checksum=xyz https://localhost/r.git /x", fails=True)
