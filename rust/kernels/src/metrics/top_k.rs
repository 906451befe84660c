//! The rank of the true class among a row's scores.
//!
//! ```text
//! rank = #(greater) + #(equal, of a class with a higher number)        Equal::Later
//!        #(greater)                                                    Equal::None
//!        #(greater) + #(equal, of another class)                       Equal::All
//! ```
//!
//! A row is a hit of the top k iff its rank is below k: scikit-learn's stable ascending sort, read
//! from its end, ranks in the first way, but sorts.

use std::sync::Mutex;

use super::keys::Score;
use super::{BadInput, first_bad};
use crate::isa::{Isa, per_isa};
use crate::pool;

/// Which classes of the same score as the true one rank before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equal {
    /// Those with a higher number.
    Later,
    /// None of them.
    None,
    /// All of them.
    All,
}

/// Elements that a thread takes at a time.
const TILE: usize = 1 << 16;

per_isa! {
    /// Counts for one row, and whether all its scores are finite.
    fn row_rank[S: Score + PartialOrd][S](scores: &[S], class: usize, equal: Equal) -> (u32, bool) {
        let Some(&own) = scores.get(class) else {
            return (u32::MAX, scores.iter().all(|score| score.is_finite()));
        };
        let (before, after) = scores.split_at(class);
        let (earlier, earlier_finite) = before_own(before, own, equal == Equal::All);
        let (later, later_finite) = before_own(&after[1..], own, equal != Equal::None);
        (earlier + later, earlier_finite && later_finite && own.is_finite())
    }
}

/// How many scores are greater than one, or equal if those count too; and whether all are finite.
#[inline(always)]
fn before_own<S: Score + PartialOrd>(scores: &[S], own: S, equal: bool) -> (u32, bool) {
    let (mut count, mut bad) = (0_u32, 0_u32);
    // Two loops, for a choice inside would be made for every score.
    if equal {
        for &score in scores {
            count += u32::from(score >= own);
            bad += u32::from(!score.is_finite());
        }
    } else {
        for &score in scores {
            count += u32::from(score > own);
            bad += u32::from(!score.is_finite());
        }
    }
    (count, bad == 0)
}

/// The rank of class `classes[row]` in each row of `n_classes` scores; a class that has no score
/// ranks last, as `u32::MAX`.
pub fn ranks<S: Score + PartialOrd>(
    threads: usize,
    scores: &[S],
    n_classes: usize,
    classes: &[i64],
    equal: Equal,
) -> Result<Vec<u32>, BadInput> {
    let rows = (TILE / n_classes.max(1)).max(1);
    let mut ranks = vec![u32::MAX; classes.len()];
    let places: Vec<Mutex<(&mut [u32], bool)>> = ranks
        .chunks_mut(rows)
        .map(|ranks| Mutex::new((ranks, true)))
        .collect();
    let isa = Isa::current();
    pool::run(threads, places.len(), &|tile| {
        let Ok(mut place) = places[tile].lock() else {
            return;
        };
        let (ranks, finite) = &mut *place;
        let scores = scores.chunks_exact(n_classes.max(1)).skip(tile * rows);
        let classes = classes.iter().skip(tile * rows);
        for ((rank, scores), &class) in ranks.iter_mut().zip(scores).zip(classes) {
            let class = usize::try_from(class).unwrap_or(usize::MAX);
            let row = row_rank(isa, scores, class, equal);
            *rank = row.0;
            *finite &= row.1;
        }
    });
    let finite = places
        .into_iter()
        .all(|place| place.into_inner().is_ok_and(|place| place.1));
    match first_bad(if finite { &[] } else { scores }, false) {
        Some(bad) => Err(bad),
        None => Ok(ranks),
    }
}
