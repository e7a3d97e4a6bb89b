//! Colours. Each style has a word or a sign of its own as well, so that nothing is lost without them.

/// Colours of one output, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// Returns a style that colours, or one that does not.
    pub fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    /// Returns `text` as what went wrong.
    pub fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Returns `text` as what may be wrong.
    pub fn warning(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// Returns `text` as advice.
    pub fn note(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    /// Returns `text` as what went well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Returns `text` as a heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Returns `text` as less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
