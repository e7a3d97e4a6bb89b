//! Which whitespace around tags goes: what tildes ask for, and lines that hold nothing but a tag.

use super::{Block, Content, Node, Program, Strip};
use crate::identity::docker::number::is_space;

/// What a node asks of its neighbours.
struct Wish {
    strip: Strip,
    is_open_standalone: bool,
    is_close_standalone: bool,
    is_inline_standalone: bool,
}

/// Takes away the whitespace that the tags of a template ask for.
pub(super) fn control(program: &mut Program) {
    visit(program, true);
}

fn visit(program: &mut Program, is_root: bool) {
    for at in 0..program.body.len() {
        let Some(wish) = wish(&mut program.body[at]) else { continue };
        let body = &mut program.body;
        let is_before = is_before_line(body, Some(at), is_root);
        let is_after = is_after_line(body, Some(at), is_root);
        if wish.strip.close {
            omit_right(body, Some(at), true);
        }
        if wish.strip.open {
            omit_left(body, Some(at), true);
        }
        if wish.is_inline_standalone && is_before && is_after {
            omit_right(body, Some(at), false);
            omit_left(body, Some(at), false);
        }
        if wish.is_open_standalone && is_before {
            if let Some(inner) = inner(&mut body[at], true) {
                omit_right(&mut inner.body, None, false);
            }
            omit_left(body, Some(at), false);
        }
        if wish.is_close_standalone && is_after {
            omit_right(body, Some(at), false);
            if let Some(inner) = inner(&mut body[at], false) {
                omit_left(&mut inner.body, None, false);
            }
        }
    }
}

/// Returns the first or the last program of a block.
fn inner(node: &mut Node, is_first: bool) -> Option<&mut Program> {
    let (Node::Block(block) | Node::PartialBlock(block)) = node else { return None };
    let Block { program, inverse, .. } = block.as_mut();
    let (one, other) = if is_first { (program, inverse) } else { (inverse, program) };
    one.as_mut().or(other.as_mut())
}

fn wish(node: &mut Node) -> Option<Wish> {
    let simple = |strip, is_inline_standalone| Wish {
        strip,
        is_open_standalone: false,
        is_close_standalone: false,
        is_inline_standalone,
    };
    match node {
        Node::Content(_) => None,
        Node::Comment { strip } | Node::Partial { strip, .. } => Some(simple(*strip, true)),
        Node::Mustache { strip, .. } => Some(simple(*strip, false)),
        Node::Block(block) | Node::PartialBlock(block) => Some(visit_block(block)),
    }
}

fn visit_block(block: &mut Block) -> Wish {
    block.program.iter_mut().chain(block.inverse.iter_mut()).for_each(|program| visit(program, false));
    let (mut program, mut inverse) = (block.program.take(), block.inverse.take());
    let is_inverse_only = program.is_none();
    let (main, other) =
        if is_inverse_only { (&mut inverse, &mut None) } else { (&mut program, &mut inverse) };
    let wish = match main {
        Some(main) => tidy(block, main, other),
        None => Wish {
            strip: Strip { open: block.open_strip.open, close: block.close_strip.close },
            is_open_standalone: false,
            is_close_standalone: false,
            is_inline_standalone: false,
        },
    };
    (block.program, block.inverse) = (program, inverse);
    wish
}

/// Takes away whitespace inside a block, around its `else`.
fn tidy(block: &Block, main: &mut Program, other: &mut Option<Program>) -> Wish {
    let closing = match other.as_ref() {
        Some(program) => &first_of_chain(program).body,
        None => &main.body,
    };
    let wish = Wish {
        strip: Strip { open: block.open_strip.open, close: block.close_strip.close },
        is_open_standalone: is_after_line(&main.body, None, false),
        is_close_standalone: is_before_line(closing, None, false),
        is_inline_standalone: false,
    };
    if block.open_strip.close {
        omit_right(&mut main.body, None, true);
    }
    let Some(other) = other else {
        if block.close_strip.open {
            omit_left(&mut main.body, None, true);
        }
        return wish;
    };
    if block.inverse_strip.open {
        omit_left(&mut main.body, None, true);
    }
    if block.inverse_strip.close {
        omit_right(&mut first_of_chain_mut(other).body, None, true);
    }
    if block.close_strip.open {
        omit_left(&mut last_of_chain_mut(other).body, None, true);
    }
    let first = first_of_chain_mut(other);
    if is_before_line(&main.body, None, false) && is_after_line(&first.body, None, false) {
        omit_left(&mut main.body, None, false);
        omit_right(&mut first.body, None, false);
    }
    wish
}

fn chained(program: &Program) -> Option<&Program> {
    match program.body.first() {
        Some(Node::Block(block)) if program.chained => block.program.as_ref(),
        _ => None,
    }
}

fn first_of_chain(program: &Program) -> &Program {
    chained(program).unwrap_or(program)
}

fn first_of_chain_mut(program: &mut Program) -> &mut Program {
    if chained(program).is_none() {
        return program;
    }
    match program.body.first_mut() {
        Some(Node::Block(block)) => block.program.get_or_insert_default(),
        _ => unreachable!("a chained program is one block, as was just looked up"),
    }
}

fn last_of_chain_mut(program: &mut Program) -> &mut Program {
    let mut last = program;
    while chained(last).is_some() {
        last = first_of_chain_mut(last);
    }
    last
}

/// Whether what stands before the node at `at`, or at the end, ends a line.
fn is_before_line(body: &[Node], at: Option<usize>, is_root: bool) -> bool {
    let at = at.unwrap_or(body.len());
    match at.checked_sub(1).map(|before| &body[before]) {
        None => is_root,
        Some(Node::Content(content)) => {
            let blank = content.original.trim_end_matches(is_space);
            let whole = &content.original[blank.len()..];
            whole.contains('\n') || (at == 1 && is_root && blank.is_empty())
        }
        Some(_) => false,
    }
}

/// Whether what stands after the node at `at`, or at the start, begins with the end of a line.
fn is_after_line(body: &[Node], at: Option<usize>, is_root: bool) -> bool {
    let after = at.map_or(0, |at| at + 1);
    match body.get(after) {
        None => is_root,
        Some(Node::Content(content)) => {
            let rest = content.original.trim_start_matches(is_space);
            let blank = &content.original[..content.original.len() - rest.len()];
            blank.contains('\n') || (body.len() == after + 1 && is_root && rest.is_empty())
        }
        Some(_) => false,
    }
}

fn omit_right(body: &mut [Node], at: Option<usize>, all: bool) {
    let Some(content) = content_at(body, Some(at.map_or(0, |at| at + 1))) else { return };
    if !all && content.is_right_stripped {
        return;
    }
    let left = if all {
        content.value.trim_start_matches(is_space)
    } else {
        let line = content.value.trim_start_matches([' ', '\t']);
        line.strip_prefix("\r\n").or(line.strip_prefix('\n')).unwrap_or(line)
    };
    let left = left.to_owned();
    content.is_right_stripped = left != content.value;
    content.value = left;
}

fn omit_left(body: &mut [Node], at: Option<usize>, all: bool) {
    let before = at.unwrap_or(body.len()).checked_sub(1);
    let Some(content) = content_at(body, before) else { return };
    if !all && content.is_left_stripped {
        return;
    }
    let left = if all {
        content.value.trim_end_matches(is_space)
    } else {
        content.value.trim_end_matches([' ', '\t'])
    };
    let left = left.to_owned();
    content.is_left_stripped = left != content.value;
    content.value = left;
}

fn content_at(body: &mut [Node], at: Option<usize>) -> Option<&mut Content> {
    match body.get_mut(at?) {
        Some(Node::Content(content)) => Some(content),
        _ => None,
    }
}
