//! Counts of pairs of labels: how often `y_true` is i where `y_pred` is j.
//!
//! One pass: labels are expected in a small table, from −1 to 14; whether they are is seen while they
//! are made indices of it. If not, the lowest and the highest label are looked for and the pass begins
//! again. Several copies of a small table are counted in turn: a counter that was just written cannot
//! be read again at once, and neighbours often have the same label. Integers are added exactly, so
//! who counts what does not matter.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::labels::{Code, LARGEST_LOW, Label, Labels, with_type};
use crate::isa::{Isa, per_isa};
use crate::pool;

/// Elements made into indices at a time: they stay in L1.
const BLOCK: usize = 256;

/// Elements that a thread takes at a time.
// Some 40 µs: a helper that comes late still finds work, and 16 bits hold a tile's counts.
const TILE: usize = 64 * 1024;

/// Elements between two questions whether to go on.
const PIECE: usize = 1 << 25;

/// A small table has 16 labels.
const SMALL_BITS: u32 = 4;

/// No table has more than 2²² cells of 8 bytes.
const MOST_BITS: u32 = 11;

/// Cells that are worth it for any number of elements: 2¹⁴.
const FREE_BITS: u32 = 7;

/// How often each pair of labels was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairCounts {
    /// All labels of either column, in order.
    pub labels: Vec<i64>,
    /// A square table: a row for each label of `y_true`, a column for each of `y_pred`.
    pub counts: Vec<u64>,
}

/// Why there are no counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCounts {
    /// The labels are too far apart for a table.
    TooWide,
    /// `go_on` said no.
    Stopped,
}

/// Counts the pairs of two columns of one length. `go_on` is asked every tenth of a second or so.
pub fn count_pairs(
    isa: Isa,
    threads: usize,
    y_true: &Labels,
    y_pred: &Labels,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<PairCounts, NoCounts> {
    assert_eq!(y_true.len(), y_pred.len());
    let columns = [y_true, y_pred];
    let mut count = |frame| count_in_frame(isa, threads, columns, frame, go_on);
    let small = Frame {
        low: -1,
        bits: SMALL_BITS,
        holds_all: false,
    };
    if let Some(counts) = count(small)? {
        return Ok(counts);
    }
    // The first tile likely has them all.
    let [first_true, first_pred] = columns.map(|column| column.first(TILE));
    let guess = range(isa, 1, [&first_true, &first_pred], &mut || true)?;
    let guess = guess.and_then(|range| Frame::new(range, y_true.len()));
    if let Some(frame) = guess
        && frame.low.unsigned_abs() <= LARGEST_LOW
        && let Some(counts) = count(frame)?
    {
        return Ok(counts);
    }
    let range = range(isa, threads, columns, go_on)?;
    let frame = range
        .and_then(|range| Frame::new(range, y_true.len()))
        .ok_or(NoCounts::TooWide)?;
    let all = Frame {
        holds_all: true,
        ..frame
    };
    count_in_frame(isa, threads, columns, all, go_on)?.ok_or(NoCounts::TooWide)
}

/// Which labels a table has: 2^bits of them from the lowest on.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    low: i64,
    bits: u32,
    /// No label lies outside, whatever the codes look like.
    holds_all: bool,
}

impl Frame {
    /// A frame of labels between two, unless it would be larger than `len` elements are worth.
    fn new((low, high): (i64, i64), len: usize) -> Option<Frame> {
        // A table that is larger than the columns costs more than sorting them.
        let worth = (FREE_BITS * 2).max(len.max(1).ilog2() + 3);
        Frame::around(low, high).filter(|frame| frame.bits * 2 <= worth)
    }

    /// A frame of labels between two, unless it would be too large.
    pub(super) fn around(low: i64, high: i64) -> Option<Frame> {
        let bits = 64 - (high.wrapping_sub(low) as u64).leading_zeros();
        (bits <= MOST_BITS).then_some(Frame {
            low,
            bits: bits.max(SMALL_BITS),
            holds_all: false,
        })
    }

    /// The table is square, with a row for each of 2^bits labels.
    pub(super) fn bits(self) -> u32 {
        self.bits
    }

    pub(super) fn cells(self) -> usize {
        1 << (2 * self.bits)
    }
}

/// Counts in a table of that frame; `None` if a label lies outside.
fn count_in_frame(
    isa: Isa,
    threads: usize,
    columns: [&Labels; 2],
    frame: Frame,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<PairCounts>, NoCounts> {
    // Each thread that takes a tile takes a table and puts it back: there are as many as ever were
    // needed at a time.
    let tables: Mutex<Vec<Vec<u64>>> = Mutex::default();
    let outside = AtomicBool::new(false);
    in_pieces(threads, columns[0].len(), go_on, &|start, len| {
        if outside.load(Ordering::Relaxed) {
            return;
        }
        let table = tables.lock().ok().and_then(|mut tables| tables.pop());
        let mut table = table.unwrap_or_else(|| vec![0; frame.cells()]);
        let inside = if frame.bits == SMALL_BITS {
            count_small(isa, columns, start, len, frame, &mut table)
        } else {
            count_large(isa, columns, start, len, frame, &mut table)
        };
        if !inside && !frame.holds_all {
            outside.store(true, Ordering::Relaxed);
        }
        if let Ok(mut tables) = tables.lock() {
            tables.push(table);
        }
    })?;
    if outside.into_inner() {
        return Ok(None);
    }
    let tables = tables.into_inner().unwrap_or_default();
    Ok(Some(PairCounts::sum(frame, &tables)))
}

impl PairCounts {
    /// Adds all tables and leaves out labels that were not seen.
    fn sum(frame: Frame, tables: &[Vec<u64>]) -> PairCounts {
        let width = 1 << frame.bits;
        let mut total = vec![0; frame.cells()];
        for table in tables {
            add(&mut total, table.iter().copied());
        }
        let mut seen = vec![false; width];
        for (row, counts) in total.chunks(width).enumerate() {
            for (column, _) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
                seen[row] = true;
                seen[column] = true;
            }
        }
        let seen: Vec<usize> = (0..width).filter(|&code| seen[code]).collect();
        let cells = seen
            .iter()
            .flat_map(|row| seen.iter().map(move |column| row * width + column));
        PairCounts {
            counts: cells.map(|cell| total[cell]).collect(),
            labels: seen.iter().map(|&code| frame.low + code as i64).collect(),
        }
    }
}

fn add(total: &mut [u64], counts: impl Iterator<Item = u64>) {
    for (sum, count) in total.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// Runs a job on tiles of `len` elements, piece by piece, as long as `go_on` says so.
pub(super) fn in_pieces(
    threads: usize,
    len: usize,
    go_on: &mut dyn FnMut() -> bool,
    tile: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), NoCounts> {
    for piece in (0..len).step_by(PIECE) {
        if piece > 0 && !go_on() {
            return Err(NoCounts::Stopped);
        }
        let end = len.min(piece + PIECE);
        pool::run(threads, (end - piece).div_ceil(TILE), &|index| {
            let start = piece + index * TILE;
            tile(start, TILE.min(end - start));
        });
    }
    Ok(())
}

/// The small table: eight counters a cell.
// Of 16 bits, so that it takes 4 KiB, and the labels that stream through L1 leave it there.
type SmallTable = [[u16; COPIES]; 1 << (2 * SMALL_BITS)];

// measured: of two labels, counting alone takes 0.28 ns a pair, 0.35 with four copies, 0.57 with two
const COPIES: usize = 8;

/// Counts the pairs of a tile in a small table; whether all labels lie in it.
fn count_small(
    isa: Isa,
    columns: [&Labels; 2],
    start: usize,
    len: usize,
    frame: Frame,
    table: &mut [u64],
) -> bool {
    const { assert!(TILE / COPIES + COPIES <= u16::MAX as usize) };
    let mut cells = [[0; COPIES]; 1 << (2 * SMALL_BITS)];
    let dense = columns[0].dtype() == columns[1].dtype();
    let inside = dense.then(|| {
        with_type!(
            columns[0].dtype(),
            count_dense(isa, columns, start, len, frame, &mut cells)
        )
    });
    let inside = inside.flatten().unwrap_or_else(|| {
        for_indices(isa, columns, start, len, frame, |indices: &[u8]| {
            count_indices(indices, &mut cells);
        })
    });
    let sum = |copies: [u16; COPIES]| copies.iter().map(|&count| u64::from(count)).sum();
    add(table, cells.into_iter().map(sum));
    inside
}

/// Counts a tile of two dense columns of one type, if they are that.
fn count_dense<T: Label>(
    isa: Isa,
    [y_true, y_pred]: [&Labels; 2],
    start: usize,
    len: usize,
    frame: Frame,
    cells: &mut SmallTable,
) -> Option<bool> {
    let truth = y_true.dense::<T>(start, len)?;
    let pred = y_pred.dense::<T>(start, len)?;
    Some(count_runs(isa, truth, pred, T::Code::of(frame.low), cells))
}

per_isa! {
    /// Counts pairs, run by run: while the processor waits for the memory of one, it counts the last.
    fn count_runs [T: Label] [T] (
        truth: &[T],
        pred: &[T],
        low: T::Code,
        cells: &mut SmallTable,
    ) -> bool {
        // measured, 10⁷ pairs of int64 and of int32 on one core: 8.2 and 4.7 ms; 64 takes 7.9 and 5.8, 32
        // with prefetching 9.1 and 8.0; asking for memory ahead made int64 slower
        const RUN: usize = 128;
        let (runs_true, rest_true) = truth.as_chunks::<RUN>();
        let (runs_pred, rest_pred) = pred.as_chunks::<RUN>();
        let mut seen = T::Code::default();
        let mut last = [0_u8; RUN];
        for (number, (truth, pred)) in runs_true.iter().zip(runs_pred).enumerate() {
            let mut indices = [0_u8; RUN];
            for ((index, &truth), &pred) in indices.iter_mut().zip(truth).zip(pred) {
                *index = index_of(truth, pred, low, SMALL_BITS, &mut seen);
            }
            if number > 0 {
                count_indices(&last, cells);
            }
            last = indices;
        }
        if !runs_true.is_empty() {
            count_indices(&last, cells);
        }
        for (copy, (&truth, &pred)) in rest_true.iter().zip(rest_pred).enumerate() {
            let index: u8 = index_of(truth, pred, low, SMALL_BITS, &mut seen);
            cells[index as usize][copy % COPIES] += 1;
        }
        seen.fits(SMALL_BITS)
    }
}

#[inline(always)]
fn count_indices(indices: &[u8], cells: &mut SmallTable) {
    let (runs, rest) = indices.as_chunks::<COPIES>();
    for run in runs {
        for (copy, &index) in run.iter().enumerate() {
            cells[index as usize][copy] += 1;
        }
    }
    for (copy, &index) in rest.iter().enumerate() {
        cells[index as usize][copy] += 1;
    }
}

/// Counts the pairs of a tile in a table of any size; whether all labels lie in it.
fn count_large(
    isa: Isa,
    columns: [&Labels; 2],
    start: usize,
    len: usize,
    frame: Frame,
    table: &mut [u64],
) -> bool {
    for_indices(isa, columns, start, len, frame, |indices: &[u32]| {
        let mask = table.len() - 1;
        for &index in indices {
            table[index as usize & mask] += 1;
        }
    })
}

/// Makes the pairs of a tile into indices and hands them over, block by block; whether all labels lie
/// in the frame.
pub(super) fn for_indices<I: Index>(
    isa: Isa,
    columns: [&Labels; 2],
    start: usize,
    len: usize,
    frame: Frame,
    mut take: impl FnMut(&[I]),
) -> bool {
    let [y_true, y_pred] = columns;
    let same_type = y_true.dtype() == y_pred.dtype();
    let mut indices = [I::default(); BLOCK];
    let mut inside = true;
    for block in (start..start + len).step_by(BLOCK) {
        let indices = &mut indices[..BLOCK.min(start + len - block)];
        inside &= if same_type {
            with_type!(
                y_true.dtype(),
                index_block(isa, columns, block, frame, indices)
            )
        } else {
            let mut wide = [[0_i64; BLOCK]; 2];
            for (column, wide) in columns.into_iter().zip(&mut wide) {
                with_type!(
                    column.dtype(),
                    widen(isa, column, block, &mut wide[..indices.len()])
                );
            }
            let [truth, pred] = wide.each_ref().map(|wide| &wide[..indices.len()]);
            index_codes(isa, truth, pred, frame.low as u64, frame.bits, indices)
        };
        take(indices);
    }
    inside
}

/// A number of a cell: 8 bits for the small table, 32 for others.
pub(super) trait Index: Copy + Default {
    /// Of the cell in that row and column, of whose codes only the lowest `bits` count.
    fn new(row: u32, column: u32, bits: u32) -> Self;
}

impl Index for u8 {
    #[inline(always)]
    fn new(row: u32, column: u32, _: u32) -> u8 {
        ((row as u8) << SMALL_BITS) | (column as u8 & ((1 << SMALL_BITS) - 1))
    }
}

impl Index for u32 {
    #[inline(always)]
    fn new(row: u32, column: u32, bits: u32) -> u32 {
        let mask = (1 << bits) - 1;
        ((row & mask) << bits) | (column & mask)
    }
}

#[inline(always)]
fn index_of<T: Label, I: Index>(
    truth: T,
    pred: T,
    low: T::Code,
    bits: u32,
    seen: &mut T::Code,
) -> I {
    let (row, column) = (truth.code(low), pred.code(low));
    *seen = *seen | row | column | truth.overflow() | pred.overflow();
    I::new(row.low_bits(), column.low_bits(), bits)
}

/// Makes a run of pairs of one type into indices; whether all labels lie in the frame.
fn index_block<T: Label>(
    isa: Isa,
    [y_true, y_pred]: [&Labels; 2],
    start: usize,
    frame: Frame,
    indices: &mut [impl Index],
) -> bool {
    let mut buffers = [[T::default(); BLOCK]; 2];
    let [buffer_true, buffer_pred] = &mut buffers;
    let truth = y_true.read(start, &mut buffer_true[..indices.len()]);
    let pred = y_pred.read(start, &mut buffer_pred[..indices.len()]);
    index_codes(
        isa,
        truth,
        pred,
        T::Code::of(frame.low),
        frame.bits,
        indices,
    )
}

per_isa! {
    fn index_codes [T: Label, I: Index] [T, I] (
        truth: &[T],
        pred: &[T],
        low: T::Code,
        bits: u32,
        indices: &mut [I],
    ) -> bool {
        let mut seen = T::Code::default();
        for ((index, &truth), &pred) in indices.iter_mut().zip(truth).zip(pred) {
            *index = index_of(truth, pred, low, bits, &mut seen);
        }
        seen.fits(bits)
    }
}

/// Labels as `i64`; what it cannot hold as its largest value, which no table holds beside others.
fn widen<T: Label>(isa: Isa, column: &Labels, start: usize, wide: &mut [i64]) {
    let mut buffer = [T::default(); BLOCK];
    widen_values(isa, column.read(start, &mut buffer[..wide.len()]), wide);
}

per_isa! {
    fn widen_values [T: Label] [T] (values: &[T], wide: &mut [i64]) {
        for (wide, value) in wide.iter_mut().zip(values) {
            *wide = value.value().unwrap_or(i64::MAX);
        }
    }
}

/// The lowest and the highest label; `None` if one is too large for `i64`.
fn range(
    isa: Isa,
    threads: usize,
    columns: [&Labels; 2],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<(i64, i64)>, NoCounts> {
    let (low, high) = (AtomicI64::new(i64::MAX), AtomicI64::new(i64::MIN));
    let too_large = AtomicBool::new(false);
    in_pieces(threads, columns[0].len(), go_on, &|start, len| {
        for column in columns {
            match with_type!(column.dtype(), range_of_tile(isa, column, start, len)) {
                (Some(lowest), Some(highest)) => {
                    low.fetch_min(lowest, Ordering::Relaxed);
                    high.fetch_max(highest, Ordering::Relaxed);
                }
                _ => too_large.store(true, Ordering::Relaxed),
            }
        }
    })?;
    let range = (low.into_inner(), high.into_inner());
    Ok((!too_large.into_inner()).then_some(range))
}

fn range_of_tile<T: Label>(
    isa: Isa,
    column: &Labels,
    start: usize,
    len: usize,
) -> (Option<i64>, Option<i64>) {
    let mut buffer = [T::default(); BLOCK];
    let mut range: Option<(T, T)> = None;
    for block in (start..start + len).step_by(BLOCK) {
        let len = BLOCK.min(start + len - block);
        let found = extremes(isa, column.read(block, &mut buffer[..len]));
        range = Some(range.map_or(found, |(low, high)| (low.min(found.0), high.max(found.1))));
    }
    range.map_or((None, None), |(low, high)| (low.value(), high.value()))
}

per_isa! {
    fn extremes [T: Label] [T] (values: &[T]) -> (T, T) {
        let (mut low, mut high) = (values[0], values[0]);
        for &value in values {
            low = low.min(value);
            high = high.max(value);
        }
        (low, high)
    }
}
