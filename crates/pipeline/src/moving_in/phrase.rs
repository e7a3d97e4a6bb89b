//! Texts of which parts depend on the event, evaluated for every trial.

/// A text of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase {
    /// Its line, from 1.
    pub line: usize,
    /// Its parts, in order.
    pub pieces: Vec<Piece>,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What stands there.
    Text(String),
    /// What is computed.
    Computed {
        /// What stands there, without braces.
        source: String,
        /// Its value in each trial, or what it depends on where only a run knows it.
        values: Vec<Result<String, String>>,
    },
}

impl Phrase {
    /// Returns a text in which nothing is computed.
    pub fn plain(line: usize, text: &str) -> Self {
        Self { line, pieces: vec![Piece::Text(text.to_owned())] }
    }

    /// Returns the text in a trial.
    ///
    /// # Errors
    /// What it depends on, where only a run knows that.
    pub fn at(&self, trial: usize) -> Result<String, String> {
        self.pieces.iter().map(|piece| piece.at(trial)).collect()
    }

    /// Returns the text where it is the same in all of `trials` trials; `None` where it is not, or where a
    /// run must say it.
    pub fn constant(&self, trials: usize) -> Option<String> {
        let first = self.at(0).ok()?;
        (1..trials).all(|trial| self.at(trial).as_ref() == Ok(&first)).then_some(first)
    }

    /// Returns the text as it stands in the file.
    pub fn source(&self) -> String {
        let source = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Computed { source, .. } => format!("${{{{ {source} }}}}"),
        };
        self.pieces.iter().map(source).collect()
    }

    /// Returns what it depends on that only a run knows.
    pub fn unknown(&self) -> Option<&str> {
        self.pieces
            .iter()
            .find_map(|piece| match piece {
                Piece::Computed { values, .. } => values.iter().find_map(|value| value.as_ref().err()),
                Piece::Text(_) => None,
            })
            .map(String::as_str)
    }
}

impl Piece {
    /// Returns the part in a trial.
    ///
    /// # Errors
    /// As for [`Phrase::at`].
    pub fn at(&self, trial: usize) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Computed { values, source } => {
                values.get(trial).cloned().unwrap_or_else(|| Err(source.clone()))
            }
        }
    }
}
