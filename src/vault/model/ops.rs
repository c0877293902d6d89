//! The operations that the model test draws. They name what they work on by numbers, which [`Run`](super::run::Run)
//! takes modulo what is there, so that most of them hit something and a shrunk sequence stays meaningful.

use proptest::prelude::*;
use proptest::sample::select;

use super::state::How;
use crate::vault::XattrMode;

/// Names worth trying: those of one and of several cipher blocks, of a whole block, the shortest that stands
/// under its hash, the longest, and two that differ in their last byte alone.
pub(super) const NAMES: usize = 9;

pub(super) fn name(index: u8) -> Vec<u8> {
    let longest = |last: u8| {
        let mut name: Vec<u8> =
            (0..255u8).map(|i| if i == b'/' || i == 0 { 0xFF } else { i ^ 0x80 }).collect();
        name.iter_mut().filter(|b| matches!(**b, 0 | b'/')).for_each(|b| *b = 0xFE);
        name[254] = last;
        name
    };
    match index as usize % NAMES {
        0 => b"a".to_vec(),
        1 => b"b".to_vec(),
        2 => b"0123456789abcdef".to_vec(),
        3 => "d\u{ed}r name".into(),
        4 => vec![b'x'; 161],
        5 => vec![b'y'; 170],
        6 => longest(1),
        7 => longest(2),
        _ => b".hidden".to_vec(),
    }
}

/// Where an operation works.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot {
    /// An entry there is.
    Entry(u8),
    /// A name in a directory there is.
    Name(u8, u8),
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Create { at: Spot, keep_open: bool },
    Mkdir { at: Spot },
    Symlink { at: Spot, len: u16 },
    Fifo { at: Spot },
    Unlink { at: Spot },
    Rmdir { at: Spot },
    Rename { from: Spot, to: Spot, how: How },
    Link { from: u8, to: Spot },
    Open { file: u8 },
    Close { handle: u8 },
    Write { file: u8, at: u16, len: u16, seed: u8 },
    Truncate { file: u8, size: u16 },
    Punch { file: u8, at: u16, len: u16 },
    Fsync { file: u8 },
    SetXattr { node: u8, name: u8, len: u8, mode: XattrMode },
    RemoveXattr { node: u8, name: u8 },
    Chmod { node: u8, which: u8 },
    SetAlias { dir: u8, alias: u8 },
    Rotate { second: bool },
    Rewrap,
    Reencrypt { file: u8 },
    Disable,
    ForgetAll,
    Reopen,
    ReopenKeyring,
}

fn spot() -> impl Strategy<Value = Spot> {
    prop_oneof![any::<u8>().prop_map(Spot::Entry), place()]
}

/// Mostly free.
fn place() -> impl Strategy<Value = Spot> {
    (any::<u8>(), 0..NAMES as u8).prop_map(|(dir, name)| Spot::Name(dir, name))
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![3 => Just(How::Over), 1 => Just(How::NoReplace), 2 => Just(How::Exchange)]
}

fn size() -> impl Strategy<Value = u16> {
    prop_oneof![select(vec![0, 1, 3043, 3044, 3045, 7111, 7112, 7113]), 0u16..9000]
}

fn of_names() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (place(), any::<bool>()).prop_map(|(at, keep_open)| Op::Create { at, keep_open }),
        6 => place().prop_map(|at| Op::Mkdir { at }),
        2 => (place(), 1u16..3030).prop_map(|(at, len)| Op::Symlink { at, len }),
        1 => place().prop_map(|at| Op::Fifo { at }),
        3 => spot().prop_map(|at| Op::Unlink { at }),
        3 => spot().prop_map(|at| Op::Rmdir { at }),
        10 => (spot(), spot(), how()).prop_map(|(from, to, how)| Op::Rename { from, to, how }),
        3 => (any::<u8>(), place()).prop_map(|(from, to)| Op::Link { from, to }),
    ]
}

fn of_files() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => any::<u8>().prop_map(|file| Op::Open { file }),
        2 => any::<u8>().prop_map(|handle| Op::Close { handle }),
        6 => (any::<u8>(), size(), 1u16..5000, any::<u8>())
            .prop_map(|(file, at, len, seed)| Op::Write { file, at, len, seed }),
        2 => (any::<u8>(), size()).prop_map(|(file, size)| Op::Truncate { file, size }),
        1 => (any::<u8>(), size(), 1u16..5000).prop_map(|(file, at, len)| Op::Punch { file, at, len }),
        1 => any::<u8>().prop_map(|file| Op::Fsync { file }),
    ]
}

fn of_the_rest() -> impl Strategy<Value = Op> {
    let mode = || select(vec![XattrMode::Set, XattrMode::Create, XattrMode::Replace]);
    prop_oneof![
        2 => (any::<u8>(), any::<u8>(), any::<u8>(), mode())
            .prop_map(|(node, name, len, mode)| Op::SetXattr { node, name, len, mode }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(node, name)| Op::RemoveXattr { node, name }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(node, which)| Op::Chmod { node, which }),
        2 => (any::<u8>(), 0u8..4).prop_map(|(dir, alias)| Op::SetAlias { dir, alias }),
        1 => any::<bool>().prop_map(|second| Op::Rotate { second }),
        1 => Just(Op::Rewrap),
        1 => any::<u8>().prop_map(|file| Op::Reencrypt { file }),
        1 => Just(Op::Disable),
        3 => Just(Op::ForgetAll),
        2 => Just(Op::Reopen),
        1 => Just(Op::ReopenKeyring),
    ]
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![5 => of_names(), 2 => of_files(), 2 => of_the_rest()]
}
