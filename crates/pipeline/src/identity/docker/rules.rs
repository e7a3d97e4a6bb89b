//! `metadata = "docker"`: the configuration's inputs as an [`Identity`] of a service.

use oci::Repository;

use super::{Around, Context, Engine, Inputs, MetadataError, entries};
use crate::configuration::{IdentityRules, LabelRules, OneOrMany};
use crate::identity::{Explained, Identity, Movement, PlannedTag, Subject, revision};

const RULE: &str = "metadata = \"docker\"";

/// Returns the inputs that `[identity]` has, for `images`; one text of several lines is a list.
///
/// # Errors
/// `List` where a quote is not closed.
pub fn inputs(rules: &IdentityRules, images: Vec<String>) -> Result<Inputs, MetadataError> {
    let of_key = |key: &Option<OneOrMany<String>>| key.as_ref().map_or(Ok(Vec::new()), |texts| all(texts));
    Ok(Inputs {
        images,
        tags: of_key(&rules.tags)?,
        flavor: of_key(&rules.flavor)?,
        labels: labels(&rules.labels)?,
        annotations: labels(&rules.annotations)?,
        ..Inputs::default()
    })
}

fn all(texts: &[String]) -> Result<Vec<String>, MetadataError> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(entries(text)?);
    }
    Ok(all)
}

/// Returns labels as entries; a table's templates are taken for expressions.
fn labels(rules: &LabelRules) -> Result<Vec<String>, MetadataError> {
    let of_table = rules.templates.iter().map(|(key, template)| format!("{key}={}", template.as_str()));
    let mut labels: Vec<String> = of_table.collect();
    labels.extend(all(&rules.lines)?);
    Ok(labels)
}

/// Computes what a service's image is called as docker/metadata-action would. A tag that carries the
/// commit is taken for one of its own; all others move last.
///
/// # Errors
/// As for [`Engine::metadata`].
pub fn identify(
    rules: &IdentityRules,
    subject: &Subject<'_>,
    image: &Repository,
) -> Result<Identity, MetadataError> {
    let Subject { now, source_date_epoch, description, .. } = *subject;
    let context = Context::of_event(subject.event, rules, Around { now, source_date_epoch, description });
    let metadata = Engine::default().metadata(&inputs(rules, vec![image.to_string()])?, &context)?;
    let revision = revision(rules, subject.event);
    let (mut tags, mut explained) = (Vec::<PlannedTag>::new(), Vec::new());
    for tag in metadata.tag_names() {
        let movement =
            if tag.as_str().contains(revision.short(7)) { Movement::Commit } else { Movement::Moving };
        if tags.iter().all(|planned| planned.tag != *tag) {
            tags.push(PlannedTag { tag: tag.clone(), movement });
            let (tag, movement) = (Some(tag.clone()), Some(movement));
            explained.push(Explained { rule: RULE.to_owned(), tag, movement, ..Explained::default() });
        }
    }
    explained.extend(metadata.warnings.iter().map(|warning| Explained {
        rule: RULE.to_owned(),
        dropped: Some(warning.clone()),
        ..Explained::default()
    }));
    let version = metadata.version.main.as_ref().map(ToString::to_string);
    Ok(Identity {
        version: version.unwrap_or_else(|| revision.short(rules.short_sha).to_owned()),
        tags,
        labels: metadata.labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        annotations: metadata.annotations.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        explained,
        explained_labels: Vec::new(),
        revision,
    })
}
