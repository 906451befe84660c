//! Which labels a table of counts has a place for, and how to find out.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::labels::{Label, Labels, with_type};
use super::pieces::{BLOCK, NoCounts, in_pieces};
use crate::isa::{Isa, per_isa};

/// A small table has 16 labels.
pub(super) const SMALL_BITS: u32 = 4;

/// No table has more than 2²² cells of 8 bytes.
const MOST_BITS: u32 = 11;

/// Cells that are worth it for any number of elements: 2¹⁴.
const FREE_BITS: u32 = 7;

/// Which labels a table has: 2^bits of them from the lowest on.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) low: i64,
    pub(super) bits: u32,
    /// No label lies outside, whatever the codes look like.
    pub(super) holds_all: bool,
}

impl Frame {
    /// A frame of labels between two, unless it would be larger than `len` elements are worth.
    pub(super) fn new((low, high): (i64, i64), len: usize) -> Option<Frame> {
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

    /// The table is square, with a row for each label.
    pub(super) fn cells(self) -> usize {
        1 << (2 * self.bits)
    }
}

/// The lowest and the highest label; `None` if one is too large for `i64`.
pub(super) fn range(
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
