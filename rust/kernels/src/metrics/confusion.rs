//! Counts of pairs of labels: how often `y_true` is i where `y_pred` is j.
//!
//! One pass: labels are expected in a small table, from −1 to 14; whether they are is seen while they
//! are made indices of it. If not, the pass begins again with a table for the labels of the first tile,
//! and if one lies outside of that, with one from the lowest to the highest label of all. Several copies
//! of a small table are counted in turn: a counter that was just written cannot be read again at once,
//! and neighbours often have the same label. Integers are added exactly, so who counts what does not
//! matter.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::frame::{Frame, SMALL_BITS, range};
use super::index::{for_indices, index_of};
use super::labels::{Code, LARGEST_LOW, Label, Labels, with_type};
pub use super::pieces::NoCounts;
use super::pieces::{TILE, in_pieces};
use crate::isa::{Isa, per_isa};

/// How often each pair of labels was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairCounts {
    /// All labels of either column, in order.
    pub labels: Vec<i64>,
    /// A square table: a row for each label of `y_true`, a column for each of `y_pred`.
    pub counts: Vec<u64>,
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
