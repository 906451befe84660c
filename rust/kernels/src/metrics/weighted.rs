//! Sums of weights of pairs of labels.
//!
//! Each cell is a sum with what its additions lost (Knuth's TwoSum), so that its error does not grow
//! with the number of samples. The columns are cut into parts by their length and the size of the
//! table alone, and the parts are added in their order: the same bits for any number of threads.

use std::sync::Mutex;

use super::confusion::{NoCounts, count_pairs};
use super::frame::Frame;
use super::index::for_indices;
use super::labels::Labels;
use crate::isa::Isa;
use crate::pool;

/// Elements of a part, unless the table is large.
const PART: usize = 64 * 1024;

/// The sum of weights of each pair of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct PairWeights {
    /// All labels of either column, in order.
    pub labels: Vec<i64>,
    /// A square table: a row for each label of `y_true`, a column for each of `y_pred`.
    pub weights: Vec<f64>,
}

/// Adds the weights of the pairs of two columns, all of one length. `go_on` as for [`count_pairs`].
pub fn weigh_pairs(
    isa: Isa,
    threads: usize,
    y_true: &Labels,
    y_pred: &Labels,
    weights: &[f64],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<PairWeights, NoCounts> {
    assert!(y_true.len() == weights.len() && y_pred.len() == weights.len());
    // Counting is quick, and tells which labels there are.
    let labels = count_pairs(isa, threads, y_true, y_pred, go_on)?.labels;
    let (Some(&low), Some(&high)) = (labels.first(), labels.last()) else {
        return Ok(PairWeights {
            labels,
            weights: Vec::new(),
        });
    };
    let frame = Frame::around(low, high).ok_or(NoCounts::TooWide)?;
    let part = PART.max(16 * frame.cells());
    let n_parts = weights.len().div_ceil(part);
    let parts: Vec<Mutex<Vec<Sum>>> = (0..n_parts).map(|_| Mutex::default()).collect();
    // As many parts at a time as keep the threads busy: in between, the program may be stopped.
    for first in (0..n_parts).step_by(64 * threads) {
        if first > 0 && !go_on() {
            return Err(NoCounts::Stopped);
        }
        pool::run(threads, (n_parts - first).min(64 * threads), &|index| {
            let start = (first + index) * part;
            let len = part.min(weights.len() - start);
            let mut table = vec![Sum::default(); frame.cells()];
            let mut rest = &weights[start..start + len];
            for_indices(
                isa,
                [y_true, y_pred],
                start,
                len,
                frame,
                |indices: &[u32]| {
                    let (these, others) = rest.split_at(indices.len());
                    for (&index, &weight) in indices.iter().zip(these) {
                        table[index as usize].add(weight);
                    }
                    rest = others;
                },
            );
            if let Ok(mut part) = parts[first + index].lock() {
                *part = table;
            }
        });
    }
    let mut total = vec![Sum::default(); frame.cells()];
    for part in parts {
        let part = part.into_inner().unwrap_or_default();
        for (sum, other) in total.iter_mut().zip(part) {
            sum.add(other.sum);
            sum.lost += other.lost;
        }
    }
    let code = |&label: &i64| label.wrapping_sub(low) as usize;
    let cells = labels.iter().flat_map(|row| {
        let row = code(row) << frame.bits;
        labels.iter().map(move |column| row | code(column))
    });
    let weights = cells.map(|cell| total[cell].sum + total[cell].lost);
    Ok(PairWeights {
        weights: weights.collect(),
        labels,
    })
}

#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let added = sum - self.sum;
        self.lost += (self.sum - (sum - added)) + (value - added);
        self.sum = sum;
    }
}
