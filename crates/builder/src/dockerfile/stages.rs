//! Which stage needs which, and what a target needs at all.
//!
//! A FROM sees the stages above it, and of two with one name the nearer. COPY --from and RUN --mount see
//! every stage, and of two with one name the last, but may only take from stages above their own; that is
//! asked of the stages that are needed, so that nothing is refused that is not built. Names go without
//! regard to case. COPY --from takes numbers, mounts and targets do not.
//!
//! Source: the Dockerfile reference, "FROM"; BuildKit's stage resolution.

use super::error::suggestion;
use super::instruction::{Command, Instruction};
use super::source::Span;
use super::{Dockerfile, DockerfileError};

/// Where files or a base come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A stage of the same file, by its index.
    Stage(usize),
    /// Not a stage: an image, a named context, or `scratch`.
    External(String),
}

/// What each stage starts from and copies or mounts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageGraph {
    /// What each stage starts from, by index.
    pub bases: Vec<Origin>,
    /// What each stage copies or mounts from, by index, in order of appearance, with the place.
    pub sources: Vec<Vec<(Origin, Span)>>,
}

impl Dockerfile {
    /// Returns the stage that `--target` names, or the last one.
    ///
    /// # Errors
    /// No stage has that name. A number is no name, as for BuildKit.
    pub fn target(&self, name: Option<&str>) -> Result<usize, DockerfileError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(self.stages.len() - 1) };
        self.stage_named(name, self.stages.len()).ok_or_else(|| {
            let names: Vec<&str> = self
                .stages
                .iter()
                .filter_map(|stage| stage.name.as_ref())
                .map(|name| &name.text[..])
                .collect();
            let last = self.stages.last().map(|stage| stage.span).unwrap_or_default();
            let error = self.error(last, format!("no stage has the name {name:?}"));
            match suggestion(name, &names) {
                Some(near) => error.with_hint(format!("did you mean {near}?")),
                None if names.is_empty() => error.with_hint("name one with FROM image AS name"),
                None => error.with_hint(format!("the stages are {}", names.join(", "))),
            }
        })
    }

    /// Returns what the FROM of stage `index` starts from; `base` is its expanded base.
    pub fn base(&self, index: usize, base: &str) -> Origin {
        match self.stage_named(base, index) {
            Some(stage) => Origin::Stage(stage),
            None => Origin::External(base.to_owned()),
        }
    }

    /// Returns what an instruction copies or mounts from, with the place. The context is none of them.
    ///
    /// # Errors
    /// A number in COPY --from that no stage has; a mount that is none.
    pub fn origins(&self, instruction: &Instruction) -> Result<Vec<(Origin, Span)>, DockerfileError> {
        match &instruction.command {
            Command::Copy(copy) => copy
                .from
                .iter()
                .map(|from| Ok((self.copy_origin(&from.text, from.span)?, from.span)))
                .collect(),
            Command::Run(run) => {
                let mut origins = Vec::new();
                for mount in &run.mounts {
                    let span = mount.value.span;
                    let from =
                        mount.from().map_err(|message| self.error(span, format!("--mount: {message}")))?;
                    origins.extend(from.map(|from| (self.base(self.stages.len(), &from), span)));
                }
                Ok(origins)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the whole graph; `bases` are the expanded bases of all stages, by index.
    ///
    /// # Errors
    /// As [`Dockerfile::origins`].
    pub fn graph(&self, bases: &[String]) -> Result<StageGraph, DockerfileError> {
        let mut graph = StageGraph { bases: Vec::new(), sources: Vec::new() };
        for (index, stage) in self.stages.iter().enumerate() {
            let base = bases.get(index).map_or(&stage.base.text[..], |base| &base[..]);
            graph.bases.push(self.base(index, base));
            let origins: Result<Vec<_>, _> = stage.instructions.iter().map(|one| self.origins(one)).collect();
            graph.sources.push(origins?.into_iter().flatten().collect());
        }
        self.add_triggers(&mut graph)?;
        Ok(graph)
    }

    /// Adds what a stage takes files from because of ONBUILD in the stage it starts from.
    fn add_triggers(&self, graph: &mut StageGraph) -> Result<(), DockerfileError> {
        for index in 0..self.stages.len() {
            let Origin::Stage(base) = graph.bases[index] else { continue };
            for instruction in &self.stages[base].instructions {
                if let Command::Onbuild(onbuild) = &instruction.command {
                    let origins = self.origins(&onbuild.instruction)?;
                    graph.sources[index].extend(origins);
                }
            }
        }
        Ok(())
    }

    /// Returns the stages that `target` needs, ascending: itself last, each after what it needs.
    ///
    /// # Errors
    /// A needed stage that takes from itself or from one below.
    pub fn stages_needed(&self, graph: &StageGraph, target: usize) -> Result<Vec<usize>, DockerfileError> {
        let mut needed = vec![false; target + 1];
        needed[target] = true;
        for stage in (0..=target).rev() {
            if !needed[stage] {
                continue;
            }
            if let Origin::Stage(base) = &graph.bases[stage] {
                needed[*base] = true;
            }
            for (origin, span) in &graph.sources[stage] {
                let Origin::Stage(source) = origin else { continue };
                if *source >= stage {
                    return Err(self.takes_from_below(stage, *source, *span));
                }
                needed[*source] = true;
            }
        }
        Ok((0..=target).filter(|stage| needed[*stage]).collect())
    }

    fn takes_from_below(&self, stage: usize, source: usize, span: Span) -> DockerfileError {
        let (own, other) = (self.stage_label(stage), self.stage_label(source));
        if source == stage {
            return self.error(span, format!("{own} cannot take files from itself"));
        }
        let error = self.error(span, format!("{own} cannot take files from {other}, which comes after it"));
        error.with_hint(format!("move {other} above {own}"))
    }

    /// Returns what messages call a stage: its name, or its number.
    pub fn stage_label(&self, index: usize) -> String {
        match self.stages.get(index).and_then(|stage| stage.name.as_ref()) {
            Some(name) => format!("stage {}", name.text),
            None => format!("stage {index}"),
        }
    }

    fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        let has = |index: &usize| {
            self.stages[*index].name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name))
        };
        (0..before).rev().find(has)
    }

    fn copy_origin(&self, from: &str, span: Span) -> Result<Origin, DockerfileError> {
        let Ok(number) = from.parse::<i64>() else { return Ok(self.base(self.stages.len(), from)) };
        match usize::try_from(number).ok().filter(|number| *number < self.stages.len()) {
            Some(number) => Ok(Origin::Stage(number)),
            None => {
                let error = self.error(span, format!("there is no stage {number}"));
                Err(error.with_hint(format!("the stages are 0 to {}", self.stages.len() - 1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Dockerfile {
        Dockerfile::parse(text.as_bytes(), "Dockerfile").unwrap()
    }

    #[track_caller]
    fn check(text: &str, target: Option<&str>, expected: &[usize]) {
        let file = file(text);
        let bases: Vec<String> = file.stages.iter().map(|stage| stage.base.text.clone()).collect();
        let graph = file.graph(&bases).unwrap();
        assert_eq!(file.stages_needed(&graph, file.target(target).unwrap()).unwrap(), expected, "{text}");
    }

    #[test]
    fn only_what_the_target_needs() {
        check("FROM a", None, &[0]);
        check("FROM a AS x\nFROM b AS y\nFROM x", None, &[0, 2]);
        check("FROM a AS x\nFROM b AS y\nFROM c\nCOPY --from=x / /\nCOPY --from=1 / /", None, &[0, 1, 2]);
        check("FROM a AS x\nFROM b AS y\nFROM c", Some("Y"), &[1]);
        check("FROM a AS x\nFROM b\nRUN --mount=from=X,target=/x true", None, &[0, 1]);
        check("FROM a AS x\nFROM b\nRUN --mount=from=other,target=/x true", None, &[1]);
    }

    #[test]
    fn a_from_reaches_up_only_and_the_nearest_name_counts() {
        let file = file("FROM y AS x\nFROM b AS y\nFROM c AS Y\nFROM y");
        assert_eq!(file.base(0, "y"), Origin::External("y".to_owned()));
        assert_eq!(file.base(3, "y"), Origin::Stage(2));
        assert_eq!(file.base(2, "Y"), Origin::Stage(1));
        assert_eq!(file.base(3, "scratch"), Origin::External("scratch".to_owned()));
        assert_eq!(file.base(3, "0"), Origin::External("0".to_owned()));
    }

    #[test]
    fn of_two_stages_with_one_name_a_copy_takes_the_last() {
        check("FROM a AS x\nFROM b AS x\nFROM c\nCOPY --from=x / /", None, &[1, 2]);
        check("FROM a AS x\nFROM x AS y\nFROM b AS x\nFROM y\nCOPY --from=x / /", None, &[0, 1, 2, 3]);
    }

    #[test]
    fn files_come_from_above() {
        let refused = |text: &str, target| {
            let file = file(text);
            file.stages_needed(&file.graph(&[]).unwrap(), target).map_err(|error| error.to_string())
        };
        let down = "FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nFROM x\nFROM scratch";
        insta::assert_snapshot!(refused(down, 2).unwrap_err(), @"Dockerfile:2:13: stage x cannot take files from stage y, which comes after it (move stage y above stage x)");
        assert_eq!(refused(down, 3), Ok(vec![3]), "what is not needed is not refused");
        let same = "FROM a\nCOPY --from=0 / /";
        insta::assert_snapshot!(refused(same, 0).unwrap_err(), @"Dockerfile:2:13: stage 0 cannot take files from itself");
        let mount = "FROM a\nRUN --mount=from=y,target=/y true\nFROM b AS y\nFROM a\nCOPY --from=0 / /";
        insta::assert_snapshot!(refused(mount, 2).unwrap_err(), @"Dockerfile:2:13: stage 0 cannot take files from stage y, which comes after it (move stage y above stage 0)");
    }

    #[test]
    fn mounts_know_no_numbers() {
        let file = file("FROM a\nFROM b\nRUN --mount=from=0,target=/x true");
        assert_eq!(file.graph(&[]).unwrap().sources[1][0].0, Origin::External("0".to_owned()));
    }

    #[test]
    fn targets_are_names() {
        let message = |text: &str, target| file(text).target(Some(target)).unwrap_err().to_string();
        insta::assert_snapshot!(message("FROM a AS build\nFROM b", "biuld"), @r#"Dockerfile:2:1: no stage has the name "biuld" (did you mean build?)"#);
        insta::assert_snapshot!(message("FROM a AS build\nFROM b", "1"), @r#"Dockerfile:2:1: no stage has the name "1" (the stages are build)"#);
        insta::assert_snapshot!(message("FROM a", "x"), @r#"Dockerfile:1:1: no stage has the name "x" (name one with FROM image AS name)"#);
    }

    #[test]
    fn numbers_of_stages_that_are_not_there() {
        let file = file("FROM a\nCOPY --from=3 / /");
        insta::assert_snapshot!(file.graph(&[]).unwrap_err(), @"Dockerfile:2:13: there is no stage 3 (the stages are 0 to 0)");
    }
}
