//! Checks of FROM lines.

use std::collections::BTreeMap;

use super::super::{Dockerfile, Lexer, Span, Stage, Warning};

/// Names that FROM lines know without declaration.
const AUTOMATIC: [&str; 8] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];

impl Dockerfile {
    pub(super) fn check_stages(&self, found: &mut Vec<Warning>) {
        let automatic = AUTOMATIC.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        let scope = self.global_scope(&|_| None, &automatic.collect()).unwrap_or_default();
        for stage in &self.stages {
            let mut warn = |rule, span: Span, message: String| found.push(Warning { rule, message, span });
            self.check_name(stage, &mut warn);
            self.check_base(stage, &scope, &mut warn);
            check_platform(stage, &mut warn);
            self.check_description(stage, &mut warn);
        }
    }

    fn check_name(&self, stage: &Stage, warn: &mut dyn FnMut(&'static str, Span, String)) {
        if let Some(keyword) = &stage.as_keyword
            && is_upper(&keyword.text) != is_upper(&stage.keyword.text)
        {
            let (keyword, from) = (&keyword.text, &stage.keyword.text);
            warn(
                "FromAsCasing",
                stage.span,
                format!("'{keyword}' and '{from}' keywords' casing do not match"),
            );
        }
        let Some(name) = &stage.name else { return };
        let written = self.source.slice(name.span);
        if written != written.to_lowercase() {
            warn("StageNameCasing", name.span, format!("Stage name '{written}' should be lowercase"));
        }
        if matches!(&name.text[..], "scratch" | "context") {
            let message =
                format!("Stage name should not use the same name as reserved stage '{}'", name.text);
            warn("ReservedStageName", name.span, message);
        }
        let same = |other: &Stage| other.name.as_ref().is_some_and(|other| other.text == name.text);
        if self.stages[..stage.index].iter().any(same) {
            let message = format!("Duplicate stage name '{}', stage names should be unique", name.text);
            warn("DuplicateStageName", name.span, message);
        }
    }

    fn check_base(
        &self,
        stage: &Stage,
        scope: &BTreeMap<String, String>,
        warn: &mut dyn FnMut(&'static str, Span, String),
    ) {
        let lexer = Lexer::new(self.directives.escape);
        let lookup = |name: &str| scope.get(name).cloned();
        for word in stage.platform.iter().chain([&stage.base]) {
            let Ok(expansion) = lexer.expand(&word.text, &lookup) else { continue };
            let declared = |name: &&String| !self.global_args.iter().any(|own| own.name.text == **name);
            for name in expansion.undefined.iter().filter(declared) {
                warn("UndefinedArgInFrom", word.span, format!("FROM argument '{name}' is not declared"));
            }
        }
        let Ok(expansion) = lexer.expand(&stage.base.text, &lookup) else { return };
        let is_stage = matches!(self.base(stage.index, &expansion.text), super::super::Origin::Stage(_));
        if stage.base.text.contains('$') && !is_stage && !is_name(&expansion.text) {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.base.text
            );
            warn("InvalidDefaultArgInFrom", stage.base.span, message);
        }
    }

    /// A comment above a stage that has a name is its description, and begins with the name.
    fn check_description(&self, stage: &Stage, warn: &mut dyn FnMut(&'static str, Span, String)) {
        let (Some(name), Some(comment)) = (&stage.name, stage.comments.last()) else { return };
        if comment.trim_start_matches(['#', ' ']).split_whitespace().next() != Some(&name.text[..]) {
            let message =
                format!("Comment for build stage should follow the format: `# {} <description>`", name.text);
            warn("InvalidDefinitionDescription", stage.span, message);
        }
    }
}

fn check_platform(stage: &Stage, warn: &mut dyn FnMut(&'static str, Span, String)) {
    let Some(platform) = &stage.platform else { return };
    if matches!(&platform.text[..], "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            platform.text
        );
        warn("RedundantTargetPlatform", platform.span, message);
    }
    let architecture = platform.text.split('/').nth(1).unwrap_or(&platform.text);
    let says_it = stage.name.as_ref().is_some_and(|name| name.text.contains(architecture));
    if !platform.text.contains('$') && !says_it {
        let message = format!("FROM --platform flag should not use constant value {:?}", platform.text);
        warn("FromPlatformFlagConstDisallowed", platform.span, message);
    }
}

fn is_name(text: &str) -> bool {
    text.parse::<oci::Reference>().is_ok()
        || text.contains(':') && !text.ends_with(':') && !text.starts_with(':')
}

pub(super) fn is_upper(keyword: &str) -> bool {
    !keyword.chars().any(|character| character.is_ascii_lowercase())
}
