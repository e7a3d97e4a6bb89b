//! Nodes against text.

use super::{Node, Pattern, Repeat, TooSlow, class};

/// Where groups begin and end.
type Groups = Vec<Option<(usize, usize)>>;

/// Returns the groups of the first match from `from` on, group zero being the whole match.
pub(super) fn find(
    pattern: &Pattern,
    text: &[char],
    from: usize,
    steps: &mut u32,
) -> Result<Option<Groups>, TooSlow> {
    for start in from..=text.len() {
        let mut matcher = Matcher { pattern, text, groups: vec![None; pattern.groups], steps, depth: 0 };
        let mut end = None;
        let is_match = matcher.node(&pattern.root, start, true, &mut |_, at| {
            end = Some(at);
            Ok(true)
        })?;
        if is_match {
            let mut groups = matcher.groups;
            groups[0] = end.map(|end| (start, end));
            return Ok(Some(groups));
        }
        if pattern.flags.is_sticky {
            break;
        }
    }
    Ok(None)
}

/// How deep the matcher may be in itself: it goes deeper with every character of a repetition.
const MAX_DEPTH: usize = 1_000;

struct Matcher<'a> {
    pattern: &'a Pattern,
    text: &'a [char],
    groups: Groups,
    steps: &'a mut u32,
    depth: usize,
}

/// What follows a node: it is told where the node ended, and says whether all the rest fits.
type Next<'n> = &'n mut dyn FnMut(&mut Matcher<'_>, usize) -> Result<bool, TooSlow>;

impl Matcher<'_> {
    /// Matches `node` at `at`, to the right or, in a look-behind, to the left, and then what follows.
    fn node(&mut self, node: &Node, at: usize, is_forward: bool, next: Next<'_>) -> Result<bool, TooSlow> {
        *self.steps = self.steps.checked_sub(1).ok_or(TooSlow)?;
        if self.depth == MAX_DEPTH {
            return Err(TooSlow);
        }
        self.depth += 1;
        let result = self.node_inside(node, at, is_forward, next);
        self.depth -= 1;
        result
    }

    fn node_inside(
        &mut self,
        node: &Node,
        at: usize,
        is_forward: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        match node {
            Node::Empty => next(self, at),
            Node::Character(_) | Node::Class(_) => match self.one(node, at, is_forward) {
                Some(after) => next(self, after),
                None => Ok(false),
            },
            Node::Start => Ok(self.is_start(at) && next(self, at)?),
            Node::End => Ok(self.is_end(at) && next(self, at)?),
            Node::Boundary { is_negated } => {
                let is_boundary = self.is_word(at.checked_sub(1)) != self.is_word(Some(at));
                Ok(is_boundary != *is_negated && next(self, at)?)
            }
            Node::Sequence(nodes) => self.sequence(nodes, at, is_forward, next),
            Node::Choice(branches) => {
                for branch in branches {
                    if self.node(branch, at, is_forward, next)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Group { node, number } => self.group(node, *number, at, is_forward, next),
            Node::Repeat(repeat) => match &repeat.node {
                Node::Character(_) | Node::Class(_) => self.repeat_one(repeat, at, is_forward, next),
                _ => self.repeat(repeat, 0, at, is_forward, next),
            },
            Node::Look { node, is_behind, is_negated } => self.look(node, at, *is_behind, *is_negated, next),
            Node::Back(numbers) => self.back(numbers, at, is_forward, next),
        }
    }

    fn sequence(
        &mut self,
        nodes: &[Node],
        at: usize,
        is_forward: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        let (mut nodes, mut at) = (nodes, at);
        loop {
            let split = if is_forward { nodes.split_first() } else { nodes.split_last() };
            let Some((node, rest)) = split else { return next(self, at) };
            // What has one way to fit only is taken on the spot, so that long texts do not go deep.
            let after = match node {
                Node::Character(_) | Node::Class(_) => self.one(node, at, is_forward),
                Node::Start => self.is_start(at).then_some(at),
                Node::End => self.is_end(at).then_some(at),
                node if rest.is_empty() => return self.node(node, at, is_forward, next),
                node => {
                    return self.node(node, at, is_forward, &mut |matcher, at| {
                        matcher.sequence(rest, at, is_forward, next)
                    });
                }
            };
            let Some(after) = after else { return Ok(false) };
            (nodes, at) = (rest, after);
        }
    }

    /// Takes one character; returns where it ends.
    fn one(&self, node: &Node, at: usize, is_forward: bool) -> Option<usize> {
        let (place, after) = if is_forward { (at, at + 1) } else { (at.checked_sub(1)?, at.checked_sub(1)?) };
        let character = *self.text.get(place)?;
        let fits = match node {
            Node::Character(expected) => self.is_equal(*expected, character),
            Node::Class(class) => class.contains(character),
            _ => false,
        };
        fits.then_some(after)
    }

    fn is_equal(&self, one: char, other: char) -> bool {
        let flags = self.pattern.flags;
        let fold = if flags.is_unicode { class::fold_simply } else { class::fold };
        one == other || (flags.ignores_case && fold(one) == fold(other))
    }

    fn group(
        &mut self,
        node: &Node,
        number: usize,
        at: usize,
        is_forward: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        self.node(node, at, is_forward, &mut |matcher, end| {
            let before = matcher.groups[number];
            matcher.groups[number] = Some((at.min(end), at.max(end)));
            let is_match = next(matcher, end)?;
            if !is_match {
                matcher.groups[number] = before;
            }
            Ok(is_match)
        })
    }

    /// Repeats one character: the ends are counted off without going deeper.
    fn repeat_one(
        &mut self,
        repeat: &Repeat,
        at: usize,
        is_forward: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        let place = |count: usize| if is_forward { at + count } else { at - count };
        let (min, max) = (repeat.min as usize, repeat.max as usize);
        let reach = if repeat.is_greedy { max } else { min };
        let mut count = 0;
        while count < reach && self.one(&repeat.node, place(count), is_forward).is_some() {
            count += 1;
        }
        *self.steps = self.steps.checked_sub(count as u32).ok_or(TooSlow)?;
        if count < min {
            return Ok(false);
        }
        loop {
            *self.steps = self.steps.checked_sub(1).ok_or(TooSlow)?;
            if next(self, place(count))? {
                return Ok(true);
            }
            if repeat.is_greedy {
                if count == min {
                    return Ok(false);
                }
                count -= 1;
            } else {
                if count == max || self.one(&repeat.node, place(count), is_forward).is_none() {
                    return Ok(false);
                }
                count += 1;
            }
        }
    }

    fn repeat(
        &mut self,
        repeat: &Repeat,
        count: u32,
        at: usize,
        is_forward: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        if count >= repeat.max {
            return next(self, at);
        }
        if count >= repeat.min && !repeat.is_greedy && next(self, at)? {
            return Ok(true);
        }
        let before = self.groups[repeat.groups.clone()].to_vec();
        self.groups[repeat.groups.clone()].fill(None);
        let is_match = self.node(&repeat.node, at, is_forward, &mut |matcher, end| {
            // A turn that takes nothing, once enough of them were made, would go on for ever.
            if end == at && count >= repeat.min {
                return Ok(false);
            }
            matcher.repeat(repeat, count + 1, end, is_forward, next)
        })?;
        if is_match {
            return Ok(true);
        }
        self.groups[repeat.groups.clone()].clone_from_slice(&before);
        Ok(count >= repeat.min && repeat.is_greedy && next(self, at)?)
    }

    fn look(
        &mut self,
        node: &Node,
        at: usize,
        is_behind: bool,
        is_negated: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        let before = self.groups.clone();
        let is_match = self.node(node, at, !is_behind, &mut |_, _| Ok(true))?;
        if is_negated {
            self.groups = before;
            return Ok(!is_match && next(self, at)?);
        }
        if is_match && next(self, at)? {
            return Ok(true);
        }
        self.groups = before;
        Ok(false)
    }

    fn back(
        &mut self,
        numbers: &[usize],
        at: usize,
        is_forward: bool,
        next: Next<'_>,
    ) -> Result<bool, TooSlow> {
        let found = numbers.iter().find_map(|number| self.groups.get(*number).copied().flatten());
        let Some((from, to)) = found else { return next(self, at) };
        let length = to - from;
        let start = if is_forward { Some(at) } else { at.checked_sub(length) };
        let Some(start) = start.filter(|start| start + length <= self.text.len()) else { return Ok(false) };
        *self.steps = self.steps.checked_sub(length as u32).ok_or(TooSlow)?;
        let is_same =
            (0..length).all(|place| self.is_equal(self.text[from + place], self.text[start + place]));
        Ok(is_same && next(self, if is_forward { start + length } else { start })?)
    }

    fn is_start(&self, at: usize) -> bool {
        at == 0 || (self.pattern.flags.is_multiline && is_line_end(self.text[at - 1]))
    }

    fn is_end(&self, at: usize) -> bool {
        at == self.text.len() || (self.pattern.flags.is_multiline && is_line_end(self.text[at]))
    }

    fn is_word(&self, at: Option<usize>) -> bool {
        let Some(character) = at.and_then(|at| self.text.get(at)).copied() else { return false };
        let is_odd = self.pattern.flags.has_odd_words() && matches!(character, '\u{17f}' | '\u{212a}');
        character.is_ascii_alphanumeric() || character == '_' || is_odd
    }
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}
