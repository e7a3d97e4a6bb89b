//! What others refuse only when they carry it out, or expand its variables, is refused at the right line as well.
//!
//! Source of the facts: BuildKit's `frontend/dockerfile` (tests of `shell`, `instructions` and `dockerfile2llb`, errors
//! of its converter), moby's `builder/dockerfile` (`envVarTest`, `evaluator_test`). The texts are ours.

use crate::shop::Shop;

/// One instruction, which stands on the second line, and what is said.
const INSTRUCTIONS: &[(&str, &str)] = &[
    ("STOPSIGNAL SIGNONE", "\"SIGNONE\" is not a signal; write it as SIGTERM or 15"),
    ("STOPSIGNAL 0", "\"0\" is not a signal; write it as SIGTERM or 15"),
    ("COPY http://example.org/x /", "COPY takes nothing from other machines"),
    ("COPY https://github.com/a/b.git /", "COPY takes nothing from other machines"),
    ("EXPOSE foo", "\"foo\" is not a port: expected a number from 0 to 65535, or F"),
    ("EXPOSE 90-80", "\"90-80\": the range ends before it starts"),
    ("EXPOSE 70000", "\"70000\" is not a port: expected a number from 0 to 65535, or"),
    ("EXPOSE 80/foo", "\"80/foo\": the protocol is one of tcp, udp and sctp"),
    ("COPY --chmod=foo f /", "\"foo\" is not a mode; write it as 755 or u=rwX,go=rX"),
    ("COPY --chmod=999 f /", "\"999\" is not an octal mode from 0 to 7777"),
    ("COPY --chmod=77777 f /", "\"77777\" is not an octal mode from 0 to 7777"),
    ("COPY --chown=a:b:c f /", "\"a:b:c\" is not USER or USER:GROUP"),
    ("COPY --chown=nobody f /", "the image has no user \"nobody\" in /etc/passwd"),
    ("ADD --checksum=sha256:aa f g /", "--checksum is for one URL or one git repository"),
    (
        "ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d f /",
        "--checksum is for one URL or one git repository",
    ),
    (
        "ADD --checksum=foo https://example.org/a /",
        "--checksum=foo: \"foo\" is not a digest: expected sha256: or s",
    ),
    ("COPY nothing /", "nothing is not in the context"),
    ("ENV A=${B", "the closing } of ${...} is missing"),
    ("ENV A=${}", "bad substitution: ${...} has no variable name"),
    ("ENV A=${{a}", "bad substitution: ${...} has no variable name"),
    ("ENV A=${:-x}", "bad substitution: ${...} has no variable name"),
    ("ENV A=${X:YYY}", "unsupported modifier \":Y\" in ${X:Y...}"),
    ("ENV A=${X:=y}", "unsupported modifier \":=\" in ${X:=...}"),
    ("ENV A=${X=y}", "unsupported modifier \"=\" in ${X=...}"),
    ("ENV A=${.}", "bad substitution: ${...} has no variable name"),
    ("ENV A=${X:?must}", "X: must"),
    ("ENV A=${X?must}", "X: must"),
    ("ENV A=${X:#a}", "unsupported modifier \":#\" in ${X:#...}"),
    ("WORKDIR /'a", "the closing ' is missing"),
    ("WORKDIR /\"a", "the closing \" is missing"),
    ("WORKDIR \"hello\\\"", "the closing \" is missing"),
    ("ENV A='x", "the closing ' is missing"),
    ("WORKDIR $NOPE", "WORKDIR needs a path that is not empty"),
    ("COPY --exclude=[ f /", "--exclude:1: \"[\" is not a pattern: a [ is not closed"),
    ("COPY [ f] /", "[ is not a pattern: a [ is not closed"),
    ("COPY [\"f\", \"\"]", "the destination is empty"),
    ("ARG A=${", "the closing } of ${...} is missing"),
    ("LABEL a=\"b", "the closing \" is missing"),
    ("COPY f ${", "the closing } of ${...} is missing"),
    ("EXPOSE ${", "the closing } of ${...} is missing"),
    ("RUN a\0b", "cannot run the step"),
];

/// A line, a whole file that is refused there, and what is said.
const FILES: &[(usize, &str, &str)] = &[
    (1, "FROM \"\" AS foo\n", "cannot use the image"),
    (1, "FROM ${BLANK} AS foo\n", "cannot use the image"),
    (1, "FROM a:b:c\n", "cannot use the image a:b:c"),
    (1, "FROM BusyBox\n", "cannot use the image BusyBox"),
    (1, "FROM a@sha256:xyz\n", "cannot use the image a@sha256:xyz"),
    (
        1,
        "FROM --platform=a/b/c/d scratch\n",
        "\"a/b/c/d\" is not a platform: expected OS/ARCHITECTURE[/VARIA",
    ),
    (3, "FROM scratch\nENV X=a\nENV A=${X//ww}\n", "the second / of ${name/pattern/replacement} is missing"),
    (3, "FROM scratch\nENV X=a\nENV A=${X//}\n", "the second / of ${name/pattern/replacement} is missing"),
    (
        3,
        "FROM scratch\nENV X=a\nENV A=${X#\\x}\n",
        "the pattern \"\\\\x\" is not one: \\x escapes nothing; only \\* \\?",
    ),
];

#[test]
fn what_others_refuse_is_refused_at_its_line() {
    let shop = Shop::without_base(&[("f", "hi\n")]);
    let instructions = INSTRUCTIONS.iter().map(|(text, words)| (2, format!("FROM scratch\n{text}\n"), words));
    let files = FILES.iter().map(|(line, text, words)| (*line, (*text).to_owned(), words));
    for (line, text, words) in instructions.chain(files) {
        shop.write("Dockerfile", &text);
        let seen = shop.call("--offline build -f Dockerfile -t local/app:1 .").exits(1);
        seen.says(&format!("Dockerfile:{line}")).says(words);
    }
}
