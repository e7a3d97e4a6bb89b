//! What is wrong with a build definition, where, and what to do.

use crate::configuration::{Place, Problem};

/// A build definition cannot be read, or what is asked of it is not in it.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// Something in a file is wrong.
    #[error("{0}")]
    Invalid(Box<Problem>),
    /// There is no such target.
    #[error("failed to find target {name}{hint}")]
    NoTarget {
        /// What was asked for.
        name: String,
        /// What there is instead.
        hint: String,
    },
    /// An override of the command line cannot be used.
    #[error("--set {text:?} cannot be used: {reason}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Targets cannot be linked or inherit as they say.
    #[error("{0}")]
    Links(String),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Which file, by its number.
    pub(super) source: u16,
    /// First byte.
    pub(super) start: u32,
    /// The byte after the last.
    pub(super) end: u32,
}

impl Span {
    /// Returns the span from the start of this one to the end of the other.
    pub(super) fn to(self, end: Span) -> Self {
        Self { end: end.end.max(self.start), ..self }
    }
}

/// Something wrong at a place; the room turns it into a [`BakeError`] at its edge.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Where.
    pub(super) span: Span,
    /// The kind of mistake, such as `Unknown variable`.
    pub(super) summary: &'static str,
    /// What exactly.
    pub(super) detail: String,
    /// What to do.
    pub(super) hint: Option<String>,
    /// Whether a name is not defined, which an expression may live with (`try`).
    pub(super) undefined: bool,
}

impl Fault {
    /// Returns a fault without a hint.
    pub(super) fn new(span: Span, summary: &'static str, detail: impl Into<String>) -> Self {
        Self { span, summary, detail: detail.into(), hint: None, undefined: false }
    }

    /// Returns the fault with what to do about it; an empty text is none.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }

    /// Returns the fault as that of a name which is not defined.
    pub(super) fn undefined_name(mut self) -> Self {
        self.undefined = true;
        self
    }
}

/// A file that is read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its name for people.
    pub(super) name: String,
    /// What is in it.
    pub(super) text: String,
}

/// The files of one definition.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(pub(super) Vec<Source>);

impl Sources {
    /// Returns the error that shows a fault in its file.
    pub(super) fn show(&self, fault: Fault) -> BakeError {
        let Some(source) = self.0.get(usize::from(fault.span.source)) else {
            return BakeError::Links(format!("{}: {}", fault.summary, fault.detail));
        };
        let message = match fault.detail.is_empty() {
            true => fault.summary.to_owned(),
            false => format!("{}: {}", fault.summary, fault.detail),
        };
        BakeError::Invalid(Box::new(Problem {
            message,
            hint: fault.hint,
            place: Some(Place::of(&source.text, fault.span.start as usize..fault.span.end as usize)),
            label: source.name.clone(),
        }))
    }

    /// Returns `file:line` of a place.
    pub(super) fn line(&self, span: Span) -> (String, usize) {
        let Some(source) = self.0.get(usize::from(span.source)) else { return (String::new(), 0) };
        let before = source.text.as_bytes().iter().take(span.start as usize);
        (source.name.clone(), before.filter(|byte| **byte == b'\n').count() + 1)
    }
}
