//! `meta --batch`: requests as lines of JSON on standard input, answers as lines on standard output,
//! in order, in one process.
//!
//! A request that fails, or a line that is none, gives a line with `error`, and the next one is read.

use std::io::{self, BufRead as _, Read as _, Write as _};

use forge::github::metadata::{self, Payload, Repository, Times, Variables};
use jiff::Timestamp;
use pipeline::identity::docker::{
    self, BakePart, Context, Engine, Inputs, ListError, Metadata, NoReference, Question,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::session::Session;

/// How long a request may be.
const MAX_LINE: u64 = 64 << 20;

/// Answers requests until there are no more.
pub fn run(session: &Session) -> Result<(), Error> {
    let mut input = io::BufReader::with_capacity(1 << 20, io::stdin().lock());
    let mut output = session.ui.output();
    let written = |result: io::Result<()>| {
        result.map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => Error::OutputClosed,
            _ => Error::file("write", "standard output".as_ref(), source),
        })
    };
    let batch = Batch { engine: Engine::default(), now: session.environment.now };
    let mut line = Vec::new();
    loop {
        if input.buffer().is_empty() {
            written(output.flush())?;
        }
        line.clear();
        let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let length = read.map_err(|source| Error::file("read", "standard input".as_ref(), source))?;
        if length == 0 {
            return written(output.flush());
        }
        if length as u64 == MAX_LINE {
            return Err(Error::usage(format!("a request is longer than {MAX_LINE} bytes")));
        }
        let answer = batch.line(&line);
        written(output.write_all(&answer))?;
    }
}

struct Batch {
    engine: Engine,
    now: Timestamp,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    now: Option<Timestamp>,
    #[serde(default)]
    commit_date: Option<Timestamp>,
    #[serde(default)]
    env: Option<Variables>,
    #[serde(default)]
    event: Option<Payload>,
    #[serde(default)]
    repo: Option<Repository>,
    #[serde(default)]
    inputs: Option<Lists>,
    #[serde(default)]
    annotation_levels: Option<List>,
    #[serde(default)]
    git_answers: Option<Map<String, Value>>,
}

/// What is asked.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Metadata,
    GitRef,
}

/// The inputs, by the names of the action or of its code.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Lists {
    images: Option<List>,
    tags: Option<List>,
    flavor: Option<List>,
    labels: Option<List>,
    annotations: Option<List>,
    #[serde(alias = "bake-target", alias = "bake_target")]
    #[serde(rename = "bakeTarget")]
    bake_target: Option<String>,
    #[serde(alias = "sep-tags", alias = "sep_tags")]
    #[serde(rename = "sepTags")]
    separator: Option<String>,
}

/// A list that is split already, or text with a record a line.
#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    Split(Vec<String>),
    Text(String),
}

#[derive(Serialize)]
struct Answer<'a, Json: Serialize, Bake: Serialize> {
    id: &'a Value,
    version: Version<'a>,
    tags: &'a [String],
    tag_names: Vec<&'a oci::Tag>,
    labels: Vec<String>,
    annotations: Vec<String>,
    json: Json,
    bake: Bake,
    bake_tags: Bake,
    bake_labels: Bake,
    bake_annotations: Bake,
    tags_joined: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Version<'a> {
    main: Option<&'a oci::Tag>,
    partial: &'a [oci::Tag],
    latest: bool,
}

#[derive(Serialize)]
struct Reference<'a> {
    id: &'a Value,
    value: String,
}

#[derive(Serialize)]
struct Failed<'a> {
    id: &'a Value,
    error: String,
}

impl Batch {
    /// Returns the answer to a line, as a line.
    fn line(&self, line: &[u8]) -> Vec<u8> {
        if line.trim_ascii_start().first() == Some(&b'[') {
            return failed(
                &Value::Null,
                "the line is no request: an array, and requests are objects".to_owned(),
            );
        }
        match serde_json::from_slice::<Request>(line) {
            Ok(request) => self.answer(request),
            Err(error) => {
                let given = serde_json::from_slice::<Value>(line).unwrap_or_default();
                let id = given.get("id").cloned().unwrap_or_default();
                failed(&id, format!("the line is no request: {error}"))
            }
        }
    }

    fn answer(&self, request: Request) -> Vec<u8> {
        let Request { id, kind, now, commit_date, env, event, repo, inputs, annotation_levels, git_answers } =
            request;
        let (env, inputs) = (env.unwrap_or_default(), inputs.unwrap_or_default());
        match kind.unwrap_or_default() {
            Kind::GitRef => reference(&id, &git_answers.unwrap_or_default()),
            Kind::Metadata => {
                let times = Times { now: now.unwrap_or(self.now), commit_date };
                let mut context = metadata::context(&env, event.unwrap_or_default(), repo, times);
                match annotation_levels {
                    Some(List::Split(levels)) => context.annotation_levels = levels,
                    Some(List::Text(levels)) if !levels.is_empty() => {
                        context.annotation_levels = levels.split(',').map(str::to_owned).collect();
                    }
                    _ => {}
                }
                let separator = inputs.separator.clone();
                match self.metadata(inputs, &context) {
                    Ok(metadata) => answer(&id, &metadata, separator.as_deref().unwrap_or("\n")),
                    Err(error) => failed(&id, error),
                }
            }
        }
    }

    fn metadata(&self, lists: Lists, context: &Context) -> Result<Metadata, String> {
        let inputs = lists.inputs().map_err(|error| error.to_string())?;
        self.engine.metadata(&inputs, context).map_err(|error| store::with_causes(&error))
    }
}

impl Lists {
    fn inputs(self) -> Result<Inputs, ListError> {
        let entries = |list: Option<List>| match list {
            None => Ok(Vec::new()),
            Some(List::Split(entries)) => Ok(entries),
            Some(List::Text(text)) => docker::entries(&text),
        };
        let defaults = Inputs::default();
        Ok(Inputs {
            images: entries(self.images)?,
            tags: entries(self.tags)?,
            flavor: entries(self.flavor)?,
            labels: entries(self.labels)?,
            annotations: entries(self.annotations)?,
            bake_target: self.bake_target.filter(|name| !name.is_empty()).unwrap_or(defaults.bake_target),
        })
    }
}

fn answer(id: &Value, metadata: &Metadata, separator: &str) -> Vec<u8> {
    let pairs =
        |pairs: &[(String, String)]| pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let documents = metadata.documents();
    let tags = &documents.tags;
    let answer = Answer {
        id,
        version: Version {
            main: metadata.version.main.as_ref(),
            partial: &metadata.version.partial,
            latest: metadata.version.is_latest,
        },
        tag_names: metadata.tag_names().collect(),
        labels: pairs(&metadata.labels),
        annotations: pairs(&metadata.annotations),
        json: documents.json(),
        bake: documents.bake(BakePart::All),
        bake_tags: documents.bake(BakePart::Tags),
        bake_labels: documents.bake(BakePart::Labels),
        bake_annotations: documents.bake(BakePart::Annotations),
        tags_joined: tags.join(separator),
        tags,
        warnings: &metadata.warnings,
    };
    line(&answer)
}

fn reference(id: &Value, answers: &Map<String, Value>) -> Vec<u8> {
    let found = docker::git_reference(|question: Question| {
        let answer = answers.get(question.command()).and_then(Value::as_str);
        Ok::<_, NoReference>(answer.unwrap_or_default().to_owned())
    });
    match found {
        Ok(value) => line(&Reference { id, value }),
        Err(error) => failed(id, error.to_string()),
    }
}

fn failed(id: &Value, error: String) -> Vec<u8> {
    line(&Failed { id, error })
}

fn line(answer: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).expect("answers have only string keys");
    line.push(b'\n');
    line
}
