//! Pairs of labels as numbers of cells.

use super::frame::{Frame, SMALL_BITS};
use super::labels::{Code, Label, Labels, with_type};
use super::pieces::BLOCK;
use crate::isa::{Isa, per_isa};

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

/// The cell of a pair; `seen` gathers the bits of all codes.
#[inline(always)]
pub(super) fn index_of<T: Label, I: Index>(
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
