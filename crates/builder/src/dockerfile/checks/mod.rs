//! Build checks: what is legal and most likely not meant. Names and meaning are BuildKit's.
//!
//! | of | checks |
//! |---|---|
//! | stages | `StageNameCasing` `FromAsCasing` `DuplicateStageName` `ReservedStageName` `UndefinedArgInFrom` `InvalidDefaultArgInFrom` `RedundantTargetPlatform` `FromPlatformFlagConstDisallowed` |
//! | instructions | `ConsistentInstructionCasing` `JSONArgsRecommended` `MaintainerDeprecated` `WorkdirRelativePath` `UndefinedVar` `MultipleInstructionsDisallowed` `LegacyKeyValueFormat` `SecretsUsedInArgOrEnv` `ExposeProtoCasing` `ExposeInvalidFormat` `NoEmptyContinuation` |
//! | asked for | `CopyIgnoredFile` `InvalidDefinitionDescription`: only with `# check=experimental=NAME` |
//!
//! `# check=skip=A,B;error=true` leaves checks out and makes an error of the others; `all` is every name.
//! `UndefinedVar` looks at stages that start from `scratch`: what variables an image brings is not known here.
//!
//! Source: the Dockerfile reference, "check"; Docker's documentation of build checks.

mod instructions;
mod stages;

use std::collections::BTreeSet;

use super::{Dockerfile, Warning};
use crate::ignore::IgnoreFile;

/// What `# check=` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckRules {
    skip: BTreeSet<String>,
    experimental: BTreeSet<String>,
    /// Whether what is found is an error.
    pub error: bool,
}

impl CheckRules {
    fn parse(text: &str) -> Self {
        let mut rules = Self::default();
        let names = |value: &str| value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        for field in text.split(';') {
            match field.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("skip", value)) => rules.skip = names(value),
                Some(("experimental", value)) => rules.experimental = names(value),
                Some(("error", value)) => rules.error = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        rules
    }

    fn wants(&self, rule: &str) -> bool {
        let has = |set: &BTreeSet<String>| set.contains("all") || set.contains(&rule.to_ascii_lowercase());
        let is_experimental = matches!(rule, "CopyIgnoredFile" | "InvalidDefinitionDescription");
        !has(&self.skip) && (!is_experimental || has(&self.experimental))
    }
}

impl Dockerfile {
    /// Returns what `# check=` says.
    pub fn check_rules(&self) -> CheckRules {
        self.directives.check.as_ref().map(|word| CheckRules::parse(&word.text)).unwrap_or_default()
    }

    /// Returns what the checks find, in the order of the file. `ignore` is what the context leaves out.
    pub fn checks(&self, ignore: &IgnoreFile) -> Vec<Warning> {
        let mut found = self.warnings.clone();
        self.check_stages(&mut found);
        self.check_casing(&mut found);
        for stage in &self.stages {
            self.check_instructions(stage, ignore, &mut found);
        }
        let rules = self.check_rules();
        found.retain(|warning| rules.wants(warning.rule));
        found.sort_by_key(|warning| (warning.span.start, warning.rule));
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_with(text: &str, ignore: &str, expected: &[&str]) {
        let file = Dockerfile::parse(text.as_bytes(), "Dockerfile").unwrap();
        let ignore = IgnoreFile::parse(ignore.as_bytes(), ".dockerignore").unwrap();
        let found = file.checks(&ignore);
        let lines: Vec<String> = found
            .iter()
            .map(|warning| format!("{} {}: {}", warning.span.line, warning.rule, warning.message))
            .collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        check_with(text, "", expected);
    }

    #[test]
    fn nothing_is_found_in_a_tidy_file() {
        check(
            "ARG V=1\nFROM --platform=$BUILDPLATFORM alpine:${V} AS build\nARG TARGETARCH\nENV A=b\nWORKDIR /w\n\
             WORKDIR v\nEXPOSE 80/tcp 90\nRUN echo $ANY\nFROM scratch\nCOPY --from=build /a /b\nCMD [\"x\"]\n",
            &[],
        );
    }

    #[test]
    fn names_of_stages() {
        check("FROM a AS Build", &["1 StageNameCasing: Stage name 'Build' should be lowercase"]);
        check("FROM a as b", &["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"]);
        check(
            "FROM a AS x\nFROM b AS x",
            &["2 DuplicateStageName: Duplicate stage name 'x', stage names should be unique"],
        );
        check(
            "FROM a AS scratch",
            &["1 ReservedStageName: Stage name should not use the same name as reserved stage 'scratch'"],
        );
    }

    #[test]
    fn arguments_in_from() {
        check(
            "FROM a:${V}",
            &[
                "1 InvalidDefaultArgInFrom: Default value for ARG a:${V} results in empty or invalid base image name",
                "1 UndefinedArgInFrom: FROM argument 'V' is not declared",
            ],
        );
        check(
            "ARG V\nFROM a:${V}",
            &[
                "2 InvalidDefaultArgInFrom: Default value for ARG a:${V} results in empty or invalid base image name",
            ],
        );
        check("ARG V\nFROM a:${V:-1}", &[]);
        check(
            "FROM --platform=$TARGETPLATFORM a",
            &[
                "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            ],
        );
        check(
            "FROM --platform=linux/arm64 a",
            &[
                "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\"",
            ],
        );
        check("FROM --platform=linux/arm64 a AS build_arm64", &[]);
    }

    #[test]
    fn casing_of_keywords() {
        check(
            "FROM a\nRUN b\nrun c\nRun d",
            &[
                "3 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
                "4 ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase)",
            ],
        );
        check("from a\nrun b", &[]);
    }

    #[test]
    fn commands() {
        check(
            "FROM a\nCMD b",
            &[
                "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            ],
        );
        check("FROM a\nSHELL [\"sh\", \"-c\"]\nENTRYPOINT b", &[]);
        check(
            "FROM a\nCMD [\"b\"]\nCMD [\"c\"]",
            &[
                "2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
            ],
        );
        check(
            "FROM a\nMAINTAINER b",
            &["2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
        );
        check(
            "FROM a\nWORKDIR b",
            &[
                "2 WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes",
            ],
        );
        check("FROM a AS x\nWORKDIR /b\nFROM x\nWORKDIR c", &[]);
    }

    #[test]
    fn pairs_and_secrets() {
        check(
            "FROM a\nENV b c",
            &[
                "2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            ],
        );
        let secret = "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data";
        check(
            "FROM a\nARG NPM_TOKEN\nENV db_password=x KEYBOARD=us PUBLIC_KEY=y",
            &[&format!("2 {secret} (ARG \"NPM_TOKEN\")"), &format!("3 {secret} (ENV \"db_password\")")],
        );
    }

    #[test]
    fn ports() {
        check(
            "FROM a\nEXPOSE 80/TCP 127.0.0.1:80:80",
            &[
                "2 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
                "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
            ],
        );
    }

    #[test]
    fn variables_that_nothing_sets() {
        check(
            "FROM scratch\nARG SOURCE\nCOPY $SOURCES /x",
            &["3 UndefinedVar: Usage of undefined variable '$SOURCES' (did you mean $SOURCE?)"],
        );
        check("FROM scratch\nENV A=$PATH\nCOPY ${B:-c} $A", &[]);
        check("FROM image\nCOPY $ANY /x", &[]);
    }

    #[test]
    fn rules_are_left_out_or_asked_for() {
        check("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER b", &[]);
        check("# check=skip=all\nFROM a as B\nMAINTAINER b", &[]);
        let asked = "# check=experimental=all\nFROM a\nCOPY b c /d/";
        let found = "3 CopyIgnoredFile: Attempting to Copy file \"b\" that is excluded by .dockerignore";
        check_with(asked, "b\n", &[found]);
        check_with("FROM a\nCOPY b c /d/", "b\n", &[]);
        check(
            "# check=experimental=all\n\n# of something else\nFROM a AS b",
            &[
                "4 InvalidDefinitionDescription: Comment for build stage should follow the format: `# b <description>`",
            ],
        );
        assert!(CheckRules::parse("skip=a;error=true").error);
        assert!(!CheckRules::parse("error=no").error);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_them_panic(text in "(FROM|ARG|ENV|EXPOSE|WORKDIR|CMD|COPY|#)[ a-z${}:=/\\n]{0,80}") {
            if let Ok(file) = Dockerfile::parse(format!("FROM scratch\n{text}").as_bytes(), "Dockerfile") {
                file.checks(&IgnoreFile::empty());
            }
        }
    }
}
