//! The language as a whole: what parses to what, and what is refused with which words.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Dockerfile, DockerfileError> {
    Dockerfile::parse(text.as_bytes(), "Dockerfile")
}

fn texts<'a>(words: impl IntoIterator<Item = &'a Word>) -> Vec<&'a str> {
    words.into_iter().map(Word::as_str).collect()
}

/// Reads one instruction in a stage of its own.
#[track_caller]
fn one(instruction: &str) -> Command {
    let file = parse(&format!("FROM scratch\n{instruction}\n")).unwrap();
    assert_eq!(file.stages[0].instructions.len(), 1, "{instruction}");
    file.stages[0].instructions[0].command.clone()
}

/// Says in one line what an instruction was read as.
fn told(command: &Command) -> String {
    let line = |line: &CommandLine| match line {
        CommandLine::Shell(word) => format!("shell {:?}", word.text),
        CommandLine::Exec(words) => format!("exec {:?}", texts(words)),
    };
    let pairs = |pairs: &Pairs| {
        let mut told = String::from(if pairs.legacy { "legacy" } else { "" });
        for (name, value) in &pairs.pairs {
            let _ = write!(told, " {}={}", name.text, value.text);
        }
        told
    };
    match command {
        Command::Arg(arguments) => {
            let one = |argument: &Argument| match &argument.default {
                Some(default) => format!("{}={}", argument.name.text, default.text),
                None => argument.name.text.clone(),
            };
            arguments.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        Command::Env(all) | Command::Label(all) => pairs(all).trim().to_owned(),
        Command::Workdir(word)
        | Command::User(word)
        | Command::StopSignal(word)
        | Command::Maintainer(word) => word.text.clone(),
        Command::Cmd(all) | Command::Entrypoint(all) => line(all),
        Command::Run(run) => line(&run.line),
        Command::Shell(words) | Command::Expose(words) | Command::Volume(words) => {
            format!("{:?}", texts(words))
        }
        Command::Copy(copy) => {
            let from = copy.from.as_ref().map(|from| format!("from {} ", from.text)).unwrap_or_default();
            format!("{from}{:?} to {:?}", texts(&copy.transfer.sources), copy.transfer.destination.text)
        }
        Command::Add(add) => {
            format!("{:?} to {:?}", texts(&add.transfer.sources), add.transfer.destination.text)
        }
        Command::Healthcheck(Healthcheck::None) => "none".to_owned(),
        Command::Healthcheck(Healthcheck::Command { line: command, options }) => {
            let HealthcheckOptions { interval, timeout, start_period, start_interval, retries } = options;
            format!("{} {interval} {timeout} {start_period} {start_interval} {retries}", line(command))
        }
        Command::Onbuild(onbuild) => {
            format!("{} <{}>", onbuild.instruction.command.keyword(), onbuild.trigger)
        }
    }
}

#[track_caller]
fn check(instruction: &str, expected: &str) {
    assert_eq!(told(&one(instruction)), expected, "{instruction}");
}

#[track_caller]
fn check_refused(instruction: &str, expected: &str) {
    let error = parse(&format!("FROM scratch\n{instruction}\n")).unwrap_err();
    assert_eq!(error.to_string().strip_prefix("Dockerfile:2:"), Some(expected), "{instruction}: {error}");
}

#[test]
fn run_cmd_and_entrypoint_have_two_forms() {
    check("RUN echo hi", "shell \"echo hi\"");
    check("RUN [\"echo\", \"hi there\"]", "exec [\"echo\", \"hi there\"]");
    check("RUN ['echo', 'hi']", "shell \"['echo', 'hi']\"");
    check("RUN [ -f x ] && y", "shell \"[ -f x ] && y\"");
    check("RUN [\"a\"] && b", "shell \"[\\\"a\\\"] && b\"");
    check("RUN a \\\n    b  ", "shell \"a     b\"");
    check("run lower", "shell \"lower\"");
    check("CMD [\"a\"]", "exec [\"a\"]");
    check("CMD []", "exec []");
    check("CMD exec a $HOME", "shell \"exec a $HOME\"");
    check("ENTRYPOINT [\"/bin/a\", \"-b\"]", "exec [\"/bin/a\", \"-b\"]");
    check("ENTRYPOINT a", "shell \"a\"");
    check("CMD", "shell \"\"");
    check("ENTRYPOINT", "shell \"\"");
    check("CMD [\"tab\\t\", \"\\u00e9\"]", "exec [\"tab\\t\", \"é\"]");
    check_refused("RUN", "1: RUN needs a command");
    check_refused(
        "RUN [\"a\", 1]",
        "5: the JSON form holds strings only (put every element in double quotes)",
    );
    check_refused(
        "CMD [[\"a\"]]",
        "5: the JSON form holds strings only (put every element in double quotes)",
    );
    check_refused("CMD --x a", "5: CMD has no flag --x (CMD takes no flags)");
}

#[test]
fn run_has_flags() {
    let Command::Run(run) =
        one("RUN --mount=type=cache,target=/a --mount=type=secret,id=x --network=none --security=insecure \
         --device=nvidia.com/gpu=all make")
    else {
        panic!("it is a RUN");
    };
    assert_eq!(run.mounts.len(), 2);
    assert_eq!(run.network.map(|(network, _)| network), Some(Network::None));
    assert_eq!(run.security.map(|(security, _)| security), Some(Security::Insecure));
    assert_eq!(texts(&run.devices), ["nvidia.com/gpu=all"]);
    assert_eq!(run.program(), Program::Shell("make".to_owned()));
    check("RUN -- --mount=x", "shell \"--mount=x\"");
    check("RUN a --network=b", "shell \"a --network=b\"");
    check_refused(
        "RUN --network=some a",
        "15: --network=some is not known (it is one of default, none, host)",
    );
    check_refused("RUN --mout=type=cache a", "5: RUN has no flag --mout (did you mean --mount?)");
    check_refused(
        "RUN --mount=type=cach,target=/a b",
        "13: --mount: type=cach is not one of bind, cache, tmpfs, secret, ssh; did you mean cache?",
    );
    check_refused("RUN --network=none --network=host a", "20: --network is given twice");
    check_refused("RUN --mount a", "5: --mount needs a value (write --mount=VALUE)");
    check_refused("RUN --mount= a", "13: --mount: the mount is empty");
}

#[test]
fn copy_and_add_have_sources_and_a_destination() {
    check("COPY a /b", "[\"a\"] to \"/b\"");
    check("COPY a b c/ ", "[\"a\", \"b\"] to \"c/\"");
    check("COPY [\"a b\", \"/c d/\"]", "[\"a b\"] to \"/c d/\"");
    check("COPY --from=base /a /b", "from base [\"/a\"] to \"/b\"");
    check("COPY --from=0 /a /b", "from 0 [\"/a\"] to \"/b\"");
    check("COPY --from=base [\"/a\", \"/b\"]", "from base [\"/a\"] to \"/b\"");
    check("COPY $A ${B}/ /c", "[\"$A\", \"${B}/\"] to \"/c\"");
    check("COPY \"a b\" /c", "[\"\\\"a\", \"b\\\"\"] to \"/c\"");
    check("ADD a.tar.gz /", "[\"a.tar.gz\"] to \"/\"");
    check("ADD --checksum=sha256:aa https://example.org/a /a", "[\"https://example.org/a\"] to \"/a\"");
    check_refused("COPY", "1: COPY needs a source and a destination");
    check_refused("COPY a", "6: COPY needs a source and a destination; there is one of them only");
    check_refused("ADD [\"a\"]", "5: ADD needs a source and a destination; there is one of them only");
    check_refused(
        "ADD --from=x a b",
        "5: ADD has no flag --from (it takes --chown, --chmod, --link, --exclude, --checksum, --keep-git-dir, --unpack)",
    );
    check_refused("COPY --form=x a b", "6: COPY has no flag --form (did you mean --from?)");
    check_refused(
        "COPY --from=$X a b",
        "13: --from takes no variables (name a stage with FROM ... AS name and copy from that)",
    );
    check_refused("COPY --link=maybe a b", "6: --link is true or false, not \"maybe\"");
    check_refused("COPY a <<EOF\nx\nEOF", "8: a here-document cannot be COPY's destination");
}

#[test]
fn copy_and_add_have_flags() {
    let Command::Copy(copy) =
        one("COPY --chown=a:b --chmod=u=rwX,go=rX --link --parents=true --exclude=*.o --exclude=x a b")
    else {
        panic!("it is a COPY");
    };
    assert_eq!(copy.transfer.chown.as_ref().map(Word::as_str), Some("a:b"));
    assert_eq!(copy.transfer.chmod.as_ref().map(Word::as_str), Some("u=rwX,go=rX"));
    assert!(copy.transfer.link.is_some() && copy.parents.is_some());
    assert_eq!(texts(&copy.transfer.exclude), ["*.o", "x"]);
    let Command::Copy(copy) = one("COPY --link=false --chown= a b") else { panic!("it is a COPY") };
    assert_eq!((copy.transfer.link, copy.transfer.chown), (None, None));
    let Command::Add(add) = one("ADD --unpack=FALSE --keep-git-dir a b") else { panic!("it is an ADD") };
    assert_eq!(add.unpack.map(|(on, _)| on), Some(false));
    assert!(add.keep_git_dir.is_some() && add.checksum.is_none());
}

#[test]
fn arg_env_and_label() {
    check("ARG A", "A");
    check("ARG A=1 B C=$A", "A=1 B C=$A");
    check("ARG A=\"b c\" D='e f'", "A=\"b c\" D='e f'");
    check("ARG A=", "A=");
    check("ARG A=b=c", "A=b=c");
    check("ENV A=b C=d", "A=b C=d");
    check("ENV A=\"b c\" D=e\\ f", "A=\"b c\" D=e\\ f");
    check("ENV A b c = d", "legacy A=b c = d");
    check("ENV A   b", "legacy A=b");
    check("ENV A=", "A=");
    check("ENV A=b \\\n    C=d", "A=b C=d");
    check("LABEL org.x=\"y z\" a=b", "org.x=\"y z\" a=b");
    check("LABEL \"a b\"=c", "\"a b\"=c");
    check("LABEL a b c", "legacy a=b c");
    check_refused("ARG", "1: ARG needs at least one name");
    check_refused("ARG =x", "5: ARG needs a name before =");
    check_refused("ENV", "1: ENV needs at least one NAME=value");
    check_refused("ENV A", "5: ENV A has no value (write ENV A=value)");
    check_refused(
        "ENV A=b C",
        "9: \"C\" has no = (every pair is NAME=value; quote a value that holds spaces)",
    );
    check_refused("ENV =b", "5: ENV needs a name before =");
    check_refused("LABEL =b", "7: LABEL needs a name before =");
    check_refused("ENV --x A=b", "5: ENV has no flag --x (ENV takes no flags)");
}

#[test]
fn instructions_of_one_word() {
    check("WORKDIR /a b", "/a b");
    check("WORKDIR $HOME/x", "$HOME/x");
    check("USER app:app", "app:app");
    check("STOPSIGNAL SIGTERM", "SIGTERM");
    check("STOPSIGNAL $SIG", "$SIG");
    check("MAINTAINER A B <a@example.org>", "A B <a@example.org>");
    check_refused("WORKDIR", "1: WORKDIR needs a value");
    check_refused("USER  ", "1: USER needs a value");
    check_refused("STOPSIGNAL", "1: STOPSIGNAL needs a value");
}

#[test]
fn expose_volume_and_shell() {
    check("EXPOSE 80 443/tcp $P", "[\"80\", \"443/tcp\", \"$P\"]");
    check("VOLUME /a /b", "[\"/a\", \"/b\"]");
    check("VOLUME [\"/a b\", \"/c\"]", "[\"/a b\", \"/c\"]");
    check("SHELL [\"/bin/bash\", \"-c\"]", "[\"/bin/bash\", \"-c\"]");
    check_refused("EXPOSE", "1: EXPOSE needs at least one value");
    check_refused("VOLUME", "1: VOLUME needs at least one path");
    check_refused("VOLUME []", "1: VOLUME needs at least one path");
    check_refused("VOLUME [\" \"]", "9: the path of a VOLUME is empty");
    check_refused(
        "SHELL /bin/bash -c",
        "7: SHELL takes the JSON form only (write SHELL [\"/bin/bash\", \"-c\"])",
    );
    check_refused("SHELL []", "7: SHELL needs a program");
    check_refused("SHELL", "1: SHELL takes the JSON form only (write SHELL [\"/bin/bash\", \"-c\"])");
}

#[test]
fn healthcheck() {
    check("HEALTHCHECK NONE", "none");
    check("HEALTHCHECK none", "none");
    check("HEALTHCHECK CMD curl -f x", "shell \"curl -f x\" 0 0 0 0 0");
    check("HEALTHCHECK CMD [\"a\", \"b\"]", "exec [\"a\", \"b\"] 0 0 0 0 0");
    check(
        "HEALTHCHECK --interval=5m --timeout=3s --start-period=1.5s --start-interval=500ms --retries=3 CMD a",
        "shell \"a\" 300000000000 3000000000 1500000000 500000000 3",
    );
    check("HEALTHCHECK --interval=0s CMD a", "shell \"a\" 0 0 0 0 0");
    check_refused("HEALTHCHECK", "1: HEALTHCHECK needs CMD and a command, or NONE");
    check_refused("HEALTHCHECK CMD", "1: HEALTHCHECK CMD needs a command");
    check_refused("HEALTHCHECK CMD []", "1: HEALTHCHECK CMD needs a command");
    check_refused("HEALTHCHECK NONE x", "18: HEALTHCHECK NONE takes no arguments");
    check_refused(
        "HEALTHCHECK curl x",
        "13: HEALTHCHECK curl is not known (write HEALTHCHECK CMD command or HEALTHCHECK NONE)",
    );
    check_refused(
        "HEALTHCHECK --interval=5 CMD a",
        "24: --interval=5 is not a duration (write it as 30s, 1m30s or 500ms)",
    );
    check_refused("HEALTHCHECK --timeout=1us CMD a", "23: --timeout=1us is less than 1ms");
    check_refused("HEALTHCHECK --timeout=-1s CMD a", "23: --timeout=-1s is less than 1ms");
    check_refused("HEALTHCHECK --retries=-1 CMD a", "23: --retries=-1 is not a count");
    check_refused(
        "HEALTHCHECK --intervall=1s CMD a",
        "13: HEALTHCHECK has no flag --intervall (did you mean --interval?)",
    );
}

#[test]
fn onbuild_holds_an_instruction() {
    check("ONBUILD RUN make \\\n  all", "RUN <RUN make   all>");
    check("onbuild copy --from=x a b", "COPY <copy --from=x a b>");
    check("ONBUILD COPY <<A /a\nx\nA", "COPY <COPY <<A /a\nx\nA>");
    check_refused("ONBUILD", "1: ONBUILD needs an instruction");
    check_refused("ONBUILD ONBUILD RUN x", "9: ONBUILD cannot be an ONBUILD trigger");
    check_refused("ONBUILD FROM x", "9: FROM cannot be an ONBUILD trigger");
    check_refused("ONBUILD maintainer x", "9: MAINTAINER cannot be an ONBUILD trigger");
    check_refused("ONBUILD CPOY a b", "9: unknown instruction CPOY (did you mean COPY?)");
}

#[test]
fn triggers_read_back() {
    let file = parse("FROM a\nONBUILD COPY <<A <<B /d/\nx\nA\ny\nB\n").unwrap();
    let Command::Onbuild(onbuild) = &file.stages[0].instructions[0].command else {
        panic!("it is an ONBUILD")
    };
    let again = parse_trigger(&onbuild.trigger, "ONBUILD of a").unwrap();
    let Command::Copy(copy) = &again.command else { panic!("it is a COPY") };
    let contents: Vec<String> = copy.transfer.heredocs.iter().map(Heredoc::content).collect();
    assert_eq!(contents, ["x\n", "y\n"]);
    let refused = |text| parse_trigger(text, "ONBUILD of a").unwrap_err().to_string();
    insta::assert_snapshot!(refused(""), @"ONBUILD of a:1:1: the ONBUILD trigger is empty");
    insta::assert_snapshot!(refused("RUN a\nRUN b"), @"ONBUILD of a:2:1: an ONBUILD trigger is one instruction");
    insta::assert_snapshot!(refused("FROM a"), @"ONBUILD of a:1:1: FROM cannot be an ONBUILD trigger");
}

#[test]
fn heredocs_of_run() {
    let program = |text: &str| match one(text) {
        Command::Run(run) => run.program(),
        _ => panic!("it is a RUN"),
    };
    let shell = |text: &str| Program::Shell(text.to_owned());
    assert_eq!(program("RUN <<EOF\na\n  b\nEOF"), shell("a\n  b\n"));
    assert_eq!(program("RUN <<-EOF\n\ta\n\tEOF"), shell("a\n"));
    assert_eq!(program("RUN <<EOF\n# kept\n\nRUN x\nEOF"), shell("# kept\n\nRUN x\n"));
    assert_eq!(program("RUN <<EOF\nEOF"), shell(""));
    assert_eq!(program("RUN cat <<A && cat <<'B'\na\nA\nb\nB"), shell("cat <<A && cat <<'B'\na\nA\nb\nB"));
    assert_eq!(program("RUN python3 <<EOF\nprint()\nEOF"), shell("python3 <<EOF\nprint()\nEOF"));
    let script = Program::Script { name: "EOF".to_owned(), content: "#!/bin/awk\nx\n".to_owned() };
    assert_eq!(program("RUN <<EOF\n#!/bin/awk\nx\nEOF"), script);
    assert_eq!(program("RUN --network=none <<EOF\na\nEOF"), shell("a\n"));
    assert_eq!(
        program("RUN [\"echo\", \"<<EOF\"]"),
        Program::Exec(vec!["echo".to_owned(), "<<EOF".to_owned()])
    );
    check_refused(
        "RUN <<EOF\na\n EOF",
        "1: the here-document EOF has no end (a line that is EOF and nothing else ends it)",
    );
}

#[test]
fn heredocs_of_copy() {
    let copy = |text: &str| match one(text) {
        Command::Copy(copy) => copy.transfer,
        _ => panic!("it is a COPY"),
    };
    let transfer = copy("COPY a <<-one <<\"two\" /dir/\n\tx $V\none\ny\ntwo");
    assert_eq!(texts(&transfer.sources), ["a"]);
    let files: Vec<_> =
        transfer.heredocs.iter().map(|file| (&file.name[..], file.content(), file.expand)).collect();
    assert_eq!(files, [("one", "x $V\n".to_owned(), true), ("two", "y\n".to_owned(), false)]);
    assert_eq!(transfer.heredocs[1].span.line, 5);
    let crlf = copy("COPY <<A /a\r\nx\r\nA\r\n");
    assert_eq!(crlf.heredocs[0].content(), "x\r\n");
}

#[test]
fn instructions_go_on_after_a_heredoc() {
    let file = parse("FROM a\nRUN <<A\nx\nA\nUSER b\n").unwrap();
    let instructions = &file.stages[0].instructions;
    assert_eq!((instructions[0].span.line, instructions[0].span.last_line), (2, 4));
    assert_eq!(instructions[0].original, "RUN <<A");
    assert_eq!((instructions[1].span.line, told(&instructions[1].command)), (5, "b".to_owned()));
}

#[test]
fn from() {
    let file = parse(
        "ARG V=1\nARG W=2 X\nFROM --platform=$BUILDPLATFORM debian:$V as Build\nRUN a\n# the rest\nFROM scratch\n",
    )
    .unwrap();
    assert_eq!(file.global_args.len(), 3);
    let [build, last] = &file.stages[..] else { panic!("there are two stages") };
    assert_eq!(build.name.as_ref().map(Word::as_str), Some("build"));
    assert_eq!(build.as_keyword.as_ref().map(Word::as_str), Some("as"));
    assert_eq!(build.platform.as_ref().map(Word::as_str), Some("$BUILDPLATFORM"));
    assert_eq!((build.base.as_str(), build.index, build.span.line), ("debian:$V", 0, 3));
    assert_eq!(
        (last.index, last.comments[0].as_str(), last.original.as_str()),
        (1, "the rest", "FROM scratch")
    );
    let refused = |text| parse(text).unwrap_err().to_string();
    insta::assert_snapshot!(refused("FROM"), @"Dockerfile:1:1: FROM takes an image and, after AS, a name (write FROM image or FROM image AS name)");
    insta::assert_snapshot!(refused("FROM a b"), @"Dockerfile:1:6: FROM takes an image and, after AS, a name (write FROM image or FROM image AS name)");
    insta::assert_snapshot!(refused("FROM a ASS b"), @"Dockerfile:1:6: FROM takes an image and, after AS, a name (write FROM image or FROM image AS name)");
    insta::assert_snapshot!(refused("FROM a AS 1b"), @r#"Dockerfile:1:11: "1b" cannot be the name of a stage (it starts with a letter and goes on with letters, digits, - _ and .)"#);
    insta::assert_snapshot!(refused("FROM a AS b/c"), @r#"Dockerfile:1:11: "b/c" cannot be the name of a stage (it starts with a letter and goes on with letters, digits, - _ and .)"#);
    insta::assert_snapshot!(refused("FROM --plattform=x a"), @"Dockerfile:1:6: FROM has no flag --plattform (did you mean --platform?)");
}

#[test]
fn files_without_a_build() {
    let refused = |text: &str| parse(text).unwrap_err().to_string();
    insta::assert_snapshot!(refused(""), @"Dockerfile:1:1: the file has no instructions (a build starts with FROM image)");
    insta::assert_snapshot!(refused("# only\n\n"), @"Dockerfile:1:1: the file has no instructions (a build starts with FROM image)");
    insta::assert_snapshot!(refused("ARG A=1\n"), @"Dockerfile:1:1: the file has no FROM (a build starts with FROM image)");
    insta::assert_snapshot!(refused("RUN a\nFROM b"), @"Dockerfile:1:1: RUN stands before the first FROM (only ARG may stand before FROM)");
    insta::assert_snapshot!(refused("FORM a"), @"Dockerfile:1:1: unknown instruction FORM (did you mean FROM?)");
    insta::assert_snapshot!(refused("FROM a\n\\\n"), @"Dockerfile:2:1: there is no instruction after the continuation");
}

#[test]
fn a_snippet_shows_the_place() {
    let text = "FROM debian\nRUN apt-get update && \\\n    apt-get install\nCOPY --chwon=app . /app\n";
    insta::assert_snapshot!(parse(text).unwrap_err().render(), @"
    error: COPY has no flag --chwon
     --> Dockerfile:4:6
      |
    4 | COPY --chwon=app . /app
      |      ^^^^^^^^^^^
      = help: did you mean --chown?
    ");
}

#[test]
fn places_of_words_across_lines() {
    let text = "FROM a\nENV A=b \\\n  # about C\n  C=d\nCOPY x \\\n  y /z\n";
    let file = parse(text).unwrap();
    let Command::Env(env) = &file.stages[0].instructions[0].command else { panic!("it is an ENV") };
    let (name, value) = &env.pairs[1];
    assert_eq!((file.source.slice(name.span), file.source.slice(value.span)), ("C", "d"));
    assert_eq!(name.span.line, 4);
    let Command::Copy(copy) = &file.stages[0].instructions[1].command else { panic!("it is a COPY") };
    assert_eq!(file.source.line_column(copy.transfer.sources[1].span.start), (6, 3));
}

#[test]
fn the_backtick_as_escape_character() {
    let file = parse("# escape=`\nFROM a\nCOPY c:\\dir `\n  d:\\\nRUN x\\\nUSER b").unwrap();
    let told: Vec<_> = file.stages[0].instructions.iter().map(|one| told(&one.command)).collect();
    assert_eq!(told, ["[\"c:\\\\dir\"] to \"d:\\\\\"", "shell \"x\\\\\"", "b"]);
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems() {
    let file = parse("\u{feff}FROM a\r\nRUN b \\\r\n  c\r\nENV D=e\r\n").unwrap();
    let told: Vec<_> = file.stages[0].instructions.iter().map(|one| told(&one.command)).collect();
    assert_eq!(told, ["shell \"b   c\"", "D=e"]);
}

#[test]
fn comments_may_be_in_any_encoding_and_instructions_may_not() {
    assert!(Dockerfile::parse(b"# caf\xe9\nFROM a\n", "Dockerfile").is_ok());
    assert!(Dockerfile::parse(b"FROM a\nRUN a && \\\n  # caf\xe9\n  b\n", "Dockerfile").is_ok());
    let error = Dockerfile::parse(b"FROM a\nCOPY <<A /a\nx\xe9\nA\n", "Dockerfile").unwrap_err();
    assert_eq!(error.line(), 3);
    let error = Dockerfile::parse(b"FROM a\nRUN echo caf\xe9\n", "Dockerfile").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Dockerfile:2:13: the instruction is not UTF-8 here (save the file as UTF-8)"
    );
    assert!(parse("FROM a\nRUN echo \u{fffd}\n").is_ok());
}

#[test]
fn empty_lines_in_continuations_are_warned_about() {
    let file = parse("FROM a\nRUN b \\\n\n  c\n").unwrap();
    let [warning] = &file.warnings[..] else { panic!("there is one warning") };
    assert_eq!((warning.rule, warning.span.line), ("NoEmptyContinuation", 3));
}

#[test]
fn global_arguments_see_those_before_them() {
    let file = parse("ARG A=1\nARG B=$A-$P\nARG C\nARG D=x\nFROM $B").unwrap();
    let predefined = BTreeMap::from([("P".to_owned(), "linux".to_owned())]);
    let given = |name: &str| (name == "D").then(|| "given".to_owned());
    let scope = file.global_scope(&given, &predefined).unwrap();
    let told: Vec<String> = scope.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(told, ["A=1", "B=1-linux", "D=given", "P=linux"]);
}

#[test]
fn expansion_errors_name_the_place() {
    let file = parse("FROM a\nWORKDIR ${X:?say where}\n").unwrap();
    let Command::Workdir(word) = &file.stages[0].instructions[0].command else { panic!("it is a WORKDIR") };
    let error = file.expand(word, &|_| None).unwrap_err();
    assert_eq!(error.to_string(), "Dockerfile:2:9: X: say where");
}

#[test]
fn documents_are_expanded_unless_their_name_is_quoted() {
    let file = parse("FROM a\nCOPY <<A <<'B' /\n$V 'q'\nA\n$V\nB\n").unwrap();
    let Command::Copy(copy) = &file.stages[0].instructions[0].command else { panic!("it is a COPY") };
    let texts = copy.transfer.heredocs.iter().map(|one| file.expand_heredoc(one, &|_| Some("v".to_owned())));
    let texts: Vec<String> = texts.map(|text| text.unwrap().text).collect();
    assert_eq!(texts, ["v 'q'\n", "$V\n"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = Dockerfile::parse(&bytes, "Dockerfile") {
            prop_assert!(error.render().contains(&error.message));
        }
    }

    #[test]
    fn never_panics_on_what_looks_like_instructions(
        lines in proptest::collection::vec((
            "(FROM|RUN|COPY|ADD|ENV|ARG|LABEL|HEALTHCHECK|ONBUILD|SHELL|VOLUME|EXPOSE|CMD|# escape=`|)",
            "( (--[a-z]*=?|[a-z=\"'\\\\`$\\[\\]{},<é\t]{0,8}|<<-?[A-B]|CMD|AS|A)){0,4}( ?\\\\)?\r?",
        ), 0..8),
    ) {
        let text: String = lines.iter().map(|(keyword, rest)| format!("{keyword}{rest}\n")).collect();
        let text = format!("FROM a\n{text}");
        match Dockerfile::parse(text.as_bytes(), "Dockerfile") {
            Ok(file) => for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
                prop_assert!(file.source.text().is_char_boundary(instruction.span.start));
                prop_assert!(file.source.text().is_char_boundary(instruction.span.end));
            },
            Err(error) => prop_assert!(!error.render().is_empty()),
        }
    }
}
