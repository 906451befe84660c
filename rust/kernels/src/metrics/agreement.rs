//! How often two columns of labels agree: the number of correct predictions.

use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::{Label, Labels, with_type};
use super::pieces::{NoCounts, in_pieces};
use crate::isa::{Isa, per_isa};

/// Elements compared at a time.
const BLOCK: usize = 1024;

/// Counts the places where two columns of one length and type have the same label. `go_on` is asked
/// every tenth of a second or so.
pub fn count_equal(
    isa: Isa,
    threads: usize,
    y_true: &Labels,
    y_pred: &Labels,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<u64, NoCounts> {
    assert_eq!(y_true.len(), y_pred.len());
    let total = AtomicU64::new(0);
    in_pieces(threads, y_true.len(), go_on, &|start, len| {
        let equal = with_type!(
            y_true.dtype(),
            equal_in_tile(isa, y_true, y_pred, start, len)
        );
        total.fetch_add(equal, Ordering::Relaxed);
    })?;
    Ok(total.into_inner())
}

fn equal_in_tile<T: Label>(
    isa: Isa,
    y_true: &Labels,
    y_pred: &Labels,
    start: usize,
    len: usize,
) -> u64 {
    let mut buffers = [[T::default(); BLOCK]; 2];
    let [buffer_true, buffer_pred] = &mut buffers;
    let mut total = 0;
    for block in (start..start + len).step_by(BLOCK) {
        let len = BLOCK.min(start + len - block);
        let truth = y_true.read(block, &mut buffer_true[..len]);
        let pred = y_pred.read(block, &mut buffer_pred[..len]);
        total += u64::from(equal(isa, truth, pred));
    }
    total
}

per_isa! {
    fn equal [T: Label] [T] (left: &[T], right: &[T]) -> u32 {
        let mut count = 0;
        for (left, right) in left.iter().zip(right) {
            count += u32::from(left == right);
        }
        count
    }
}
