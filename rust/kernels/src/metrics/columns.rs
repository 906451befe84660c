//! One AUC for each column of a matrix of scores, the columns side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::auc::{RankSum, rank_sum};
use super::keys::Score;
use super::sort::Sortable;
use super::truth::{Cases, Truth};
use super::{BadInput, first_bad};
use crate::pool;

/// Which cases are positive in which column.
#[derive(Clone, Copy, Debug)]
pub enum Classes<'a> {
    /// The number of each row's class: positive in the column of that number.
    Numbers(&'a [i64]),
    /// A matrix shaped as the scores: positive where it is not zero.
    Indicator(&'a [u8]),
}

/// The counts of each of `n_columns` columns of `scores`, given row by row.
#[allow(private_bounds)]
pub fn column_rank_sums<S: Sortable>(
    threads: usize,
    scores: &[S],
    n_columns: usize,
    classes: Classes<'_>,
) -> Result<Vec<RankSum>, BadInput> {
    let sums: Vec<Mutex<Result<RankSum, BadInput>>> = (0..n_columns)
        .map(|_| Mutex::new(Ok(RankSum::default())))
        .collect();
    pool::run(threads, n_columns, &|column| {
        let of_column: Vec<S> = scores
            .iter()
            .skip(column)
            .step_by(n_columns)
            .copied()
            .collect();
        let indicator: Vec<u8>;
        let truth: &dyn Truth = match classes {
            Classes::Numbers(labels) => &Cases {
                labels,
                positive: column as i64,
                negative: None,
            },
            Classes::Indicator(entries) => {
                let entries = entries.iter().skip(column).step_by(n_columns);
                indicator = entries.map(|&entry| u8::from(entry != 0)).collect();
                &Cases {
                    labels: &indicator,
                    positive: 1,
                    negative: None,
                }
            }
        };
        let sum = rank_sum(1, &of_column, truth, false, &mut || true);
        if let Ok(mut place) = sums[column].lock() {
            *place = sum;
        }
    });
    let sums: Result<Vec<RankSum>, BadInput> = sums
        .into_iter()
        .map(|sum| sum.into_inner().unwrap_or(Err(BadInput::Label)))
        .collect();
    // The first bad score of the matrix, not of a column.
    sums.map_err(|bad| first_bad(scores, false).unwrap_or(bad))
}

/// Whether each row of `n_columns` scores sums to one, to 10^-5: false if one is not a number.
pub fn rows_sum_to_one<S: Score>(threads: usize, scores: &[S], n_columns: usize) -> bool {
    const ROWS: usize = 4096;
    let close = AtomicBool::new(true);
    let tile = ROWS * n_columns.max(1);
    pool::run(threads, scores.len().div_ceil(tile), &|index| {
        let rows = &scores[index * tile..scores.len().min((index + 1) * tile)];
        let is_one = |row: &[S]| {
            let sum: f64 = row.iter().map(|score| score.to_f64()).sum();
            // numpy.allclose(1, sum)
            (1.0 - sum).abs() <= 1e-8 + 1e-5 * sum.abs()
        };
        if !rows.chunks(n_columns.max(1)).all(is_one) {
            close.store(false, Ordering::Relaxed);
        }
    });
    close.into_inner()
}
