//! What BuildKit's own tests of the language must see refused is refused here, at the right line.
//!
//! Source of the facts: BuildKit's `frontend/dockerfile` (the parser's `testfiles-negative` and its tests of lines that
//! are too long and of directives, the tests of `instructions` and the errors of its parser of mounts and flags),
//! and moby's `builder/dockerfile`, of which that came. The texts are ours.

use super::*;

#[track_caller]
fn check(text: &str, line: usize, words: &str) {
    let stages = |file: &Dockerfile| {
        let bases: Vec<String> = file.stages.iter().map(|stage| stage.base.text.clone()).collect();
        let last = file.target(None)?;
        file.stages_needed(&file.graph(&bases)?, last)
    };
    let parsed = Dockerfile::parse(text.as_bytes(), "Dockerfile");
    match parsed.and_then(|file| stages(&file)) {
        Ok(_) => panic!("{text:?} is accepted"),
        Err(error) => {
            assert!(error.message.contains(words), "{text:?}: {error}");
            assert_eq!(error.line(), line, "{text:?}: {error}");
            assert!(error.render().contains(&format!("Dockerfile:{line}:")), "{text:?}: {error}");
        }
    }
}

/// One instruction, which stands on the second line, and what is said.
const INSTRUCTIONS: &[(&str, &str)] = &[
    ("ENV FOO", "ENV FOO has no value"),
    ("ENV a=b c", "\"c\" has no ="),
    ("LABEL foo", "LABEL foo has no value"),
    ("CMD [ 42 ]", "the JSON form holds strings only"),
    ("CMD [ [ \"a\" ] ]", "the JSON form holds strings only"),
    ("RUN [ \"a\", {} ]", "the JSON form holds strings only"),
    ("ENTRYPOINT [null]", "the JSON form holds strings only"),
    ("COPY [ true, \"b\" ]", "the JSON form holds strings only"),
    ("SHELL sh -c", "SHELL takes the JSON form only"),
    ("<!-- x -->", "unknown instruction <!--"),
    ("CMD [ \"echo\", [ \"x\" ] ]", "the JSON form holds strings only"),
    ("ONBUILD FROM scratch", "FROM cannot be an ONBUILD trigger"),
    ("ONBUILD ONBUILD RUN x", "ONBUILD cannot be an ONBUILD trigger"),
    ("ONBUILD MAINTAINER x", "MAINTAINER cannot be an ONBUILD trigger"),
    ("ONBUILD FOO x", "unknown instruction FOO"),
    ("MAINTAINER --boo x", "MAINTAINER has no flag --boo"),
    ("MAINTAINER", "MAINTAINER needs a value"),
    ("WORKDIR", "WORKDIR needs a value"),
    ("USER", "USER needs a value"),
    ("STOPSIGNAL", "STOPSIGNAL needs a value"),
    ("ENV", "ENV needs at least one NAME=value"),
    ("LABEL", "LABEL needs at least one NAME=value"),
    ("ONBUILD", "ONBUILD needs an instruction"),
    ("HEALTHCHECK", "HEALTHCHECK needs CMD and a command, or NONE"),
    ("EXPOSE", "EXPOSE needs at least one value"),
    ("VOLUME", "VOLUME needs at least one path"),
    ("ARG", "ARG needs at least one name"),
    ("RUN", "RUN needs a command"),
    ("COPY a", "COPY needs a source and a destination; there i"),
    ("ADD a", "ADD needs a source and a destination; there is"),
    ("COPY", "COPY needs a source and a destination"),
    ("ENV =x", "ENV needs a name before ="),
    ("LABEL =x", "LABEL needs a name before ="),
    ("ARG =x", "ARG needs a name before ="),
    ("FOO bar", "unknown instruction FOO"),
    ("COPY --from=-1 f /g", "there is no stage -1"),
    ("RUN --mount=from=$X,target=/a x", "--mount: from takes no variables; name a stage"),
    ("RUN --mount=type=foo,target=/a x", "--mount: type=foo is not one of bind, cache, t"),
    ("RUN --mount=type=bind,target x", "--mount: \"target\" must be KEY=VALUE"),
    ("RUN --mount=type=bind,target=/a,ro=maybe x", "--mount: ro=maybe is neither true nor false"),
    ("RUN --mount=type=bind,target=/a,rw=maybe x", "--mount: rw=maybe is neither true nor false"),
    ("RUN --mount=type=bind,target=/a,required x", "--mount: required does not go with type=bind"),
    ("RUN --mount=type=cache,target=/a,required=true x", "--mount: required does not go with type=cache"),
    ("RUN --mount=type=secret,id=a,required=foo x", "--mount: required=foo is neither true nor fals"),
    ("RUN --mount=type=bind,target=/a,size=1m x", "--mount: size does not go with type=bind"),
    ("RUN --mount=type=tmpfs,target=/a,size=foo x", "--mount: size=foo is not a size; write it as 6"),
    ("RUN --mount=type=cache,target=/a,sharing=foo x", "--mount: sharing=foo is not one of shared, pri"),
    ("RUN --mount=type=secret,id=a,sharing=shared x", "--mount: sharing does not go with type=secret"),
    ("RUN --mount=type=bind,target=/a,sharing=shared x", "--mount: sharing does not go with type=bind"),
    ("RUN --mount=type=cache,target=/a,mode=888 x", "--mount: mode=888 is not a number of base 8"),
    ("RUN --mount=type=cache,target=/a,uid=root x", "--mount: uid=root is not a number of base 10"),
    ("RUN --mount=type=cache,target=/a,gid=-1 x", "--mount: gid=-1 is not a number of base 10"),
    ("RUN --mount=type=bind,target=/a,mode=0755 x", "--mount: mode does not go with type=bind"),
    ("RUN --mount=type=tmpfs,target=/a,uid=1 x", "--mount: uid does not go with type=tmpfs"),
    ("RUN --mount=type=secret,id=a,from=x x", "--mount: from does not go with type=secret"),
    ("RUN --mount=type=secret x", "--mount: id is missing: name the secret with i"),
    ("RUN --mount=type=secret,id=a,source=b x", "--mount: id and source name the same thing; gi"),
    ("RUN --mount=type=bind,target=/a,foo=b x", "--mount: \"foo\" is not known"),
    ("RUN --mount=\"type=bind,target=/a x", "RUN needs a command"),
    ("RUN --network=foo x", "--network=foo is not known"),
    ("RUN --security=foo x", "--security=foo is not known"),
    ("HEALTHCHECK FOO x", "HEALTHCHECK FOO is not known"),
    ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
    ("HEALTHCHECK CMD", "HEALTHCHECK CMD needs a command"),
    ("HEALTHCHECK --interval=50ns CMD x", "--interval=50ns is less than 1ms"),
    ("HEALTHCHECK --interval=a CMD x", "--interval=a is not a duration"),
    ("HEALTHCHECK --retries=a CMD x", "--retries=a is not a count"),
    ("HEALTHCHECK --retries=-1 CMD x", "--retries=-1 is not a count"),
    ("HEALTHCHECK --retries=3000000000 CMD x", "--retries=3000000000 is not a count"),
    ("HEALTHCHECK --foo=1 CMD x", "HEALTHCHECK has no flag --foo"),
    ("HEALTHCHECK --start-interval=1us CMD x", "--start-interval=1us is less than 1ms"),
    ("VOLUME [\"\"]", "the path of a VOLUME is empty"),
    ("COPY --link=foo f /", "--link is true or false, not \"foo\""),
    ("ADD --keep-git-dir=foo https://example.org/a.git /", "--keep-git-dir is true or false, not \"foo\""),
    ("COPY --chown=1 --chown=2 f /", "--chown is given twice"),
    ("COPY --chown f /", "--chown needs a value"),
    ("COPY --foo=bar f /", "COPY has no flag --foo"),
    ("CMD --foo x", "CMD has no flag --foo"),
    ("ENV --foo a=b", "ENV has no flag --foo"),
    ("LABEL --foo a=b", "LABEL has no flag --foo"),
    ("WORKDIR --foo /a", "WORKDIR has no flag --foo"),
    ("USER --foo a", "USER has no flag --foo"),
    ("EXPOSE --foo 80", "EXPOSE has no flag --foo"),
    ("VOLUME --foo /a", "VOLUME has no flag --foo"),
    ("SHELL --foo [\"a\"]", "SHELL has no flag --foo"),
    ("ENTRYPOINT --foo x", "ENTRYPOINT has no flag --foo"),
    ("ONBUILD --foo RUN x", "ONBUILD has no flag --foo"),
    ("STOPSIGNAL --foo 9", "STOPSIGNAL has no flag --foo"),
    ("ARG --foo A", "ARG has no flag --foo"),
    ("ENV A=${aaa:-bbb ${foo}", "\"${foo}\" has no ="),
    ("ADD --unpack=foo f /", "--unpack is true or false, not \"foo\""),
    ("COPY --parents=foo f /", "--parents is true or false, not \"foo\""),
];

/// A line, a whole file that is refused there, and what is said.
const FILES: &[(usize, &str, &str)] = &[
    (1, "", "the file has no instructions"),
    (1, "# a\n\n# b\n", "the file has no instructions"),
    (1, "# escape=foo\nFROM scratch\n", "the escape character cannot be foo"),
    (2, "# escape=\\\n# escape=`\nFROM scratch\n", "the parser directive escape is already on line"),
    (
        2,
        "# syntax=docker/dockerfile:1\n# syntax=docker/dockerfile:1\nFROM scratch\n",
        "the parser directive syntax is already on line",
    ),
    (
        2,
        "# check=skip=all\n# check=skip=all\nFROM scratch\n",
        "the parser directive check is already on line",
    ),
    (2, "FROM scratch\nCOPY\t\n\t\tquux \\\n  bar\n", "COPY needs a source and a destination"),
    (1, "FROM a b\n", "FROM takes an image and, after AS, a name"),
    (1, "FROM a as b c\n", "FROM takes an image and, after AS, a name"),
    (1, "FROM scratch AS 1a\n", "\"1a\" cannot be the name of a stage"),
    (1, "FROM scratch AS a/b\n", "\"a/b\" cannot be the name of a stage"),
    (1, "FROM --foo=x scratch\n", "FROM has no flag --foo"),
    (2, "FROM scratch AS a\nCOPY --from=a f /g\n", "stage a cannot take files from itself"),
    (
        2,
        "FROM scratch AS a\nCOPY --from=c f /g\nFROM scratch AS b\nCOPY --from=a f /g\nFROM scratch AS c\nCOPY --from=b f /g\n",
        "stage a cannot take files from stage c, which",
    ),
    (3, "FROM scratch\nARG X\nCOPY --from=$X f /g\n", "--from takes no variables"),
    (2, "FROM scratch\nRUN <<EOF\nx\n", "the here-document EOF has no end"),
    (2, "FROM scratch\nCOPY <<EOF /x\nx\n", "the here-document EOF has no end"),
    (2, "FROM scratch\nCOPY f <<EOF\nx\nEOF\n", "a here-document cannot be COPY's destination"),
    (2, "FROM scratch\nADD f <<EOF\nx\nEOF\n", "a here-document cannot be ADD's destination"),
    (2, "FROM scratch\nCOPY <<A <<B /x/\nx\nA\ny\n", "the here-document B has no end"),
    (1, "RUN x\nFROM scratch\n", "RUN stands before the first FROM"),
    (1, "ENV a=b\nFROM scratch\n", "ENV stands before the first FROM"),
    (1, "ARG a\n", "the file has no FROM"),
    (1, "FROM scratch AS\n", "FROM takes an image and, after AS, a name"),
];

#[test]
fn instructions_that_others_refuse_are_refused() {
    for (instruction, words) in INSTRUCTIONS {
        check(&format!("FROM scratch\n{instruction}\n"), 2, words);
        check(&format!("# a comment\n\nFROM scratch AS a\nENV a=b \\\n  c=d\n\n{instruction}\n"), 7, words);
    }
}

#[test]
fn files_that_others_refuse_are_refused() {
    for (line, text, words) in FILES {
        check(text, *line, words);
    }
}

#[test]
fn lines_are_no_longer_than_others_read() {
    let file = |bytes: usize| format!("FROM scratch\nLABEL a=b\nLABEL a={}\nUSER c\n", "x".repeat(bytes - 8));
    assert!(Dockerfile::parse(file(65_535).as_bytes(), "Dockerfile").is_ok());
    check(&file(65_536), 3, "the line has 65536 bytes");
    let comment = format!("FROM scratch\n# {}\n", "x".repeat(70_000));
    check(&comment, 2, "the line has 70002 bytes");
    let document = format!("FROM scratch\nCOPY <<A /a\n{}\nA\n", "x".repeat(70_000));
    check(&document, 3, "the line has 70000 bytes");
}
