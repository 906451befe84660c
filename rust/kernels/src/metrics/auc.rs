//! The area under the ROC curve, exact.
//!
//! ```text
//! AUC = 2U / (2·P·N),   2U = Σ over negatives of (positives above + positives above or equal)
//! ```
//!
//! 2U, not U: a tie counts one half, and integers have no halves. All is counted in integers and
//! divided once (Mann & Whitney 1947; Hanley & McNeil 1982).

use std::sync::Mutex;

use super::keys::Half;
use super::points::ratio;
use super::sort::{Item, Layout, Partition, Sortable};
use super::truth::Truth;
use super::{BadInput, first_bad};
use crate::dtype::widened;
use crate::pool;

/// The counts behind an AUC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankSum {
    /// Twice Mann and Whitney's U.
    pub two_u: u128,
    /// The number of positive cases.
    pub positives: u64,
    /// The number of negative cases.
    pub negatives: u64,
}

impl RankSum {
    /// The area; `None` if a class has no case.
    pub fn auc(&self) -> Option<f64> {
        let pairs = 2 * u128::from(self.positives) * u128::from(self.negatives);
        (pairs > 0).then(|| ratio(self.two_u, pairs))
    }

    /// Cases of one score.
    pub(super) fn of_ties(positives: u64, negatives: u64) -> RankSum {
        RankSum {
            two_u: u128::from(positives) * u128::from(negatives),
            positives,
            negatives,
        }
    }

    /// Appends cases whose scores are all lower.
    pub(super) fn append(&mut self, lower: RankSum) {
        let across = 2 * u128::from(self.positives) * u128::from(lower.negatives);
        self.two_u += lower.two_u + across;
        self.positives += lower.positives;
        self.negatives += lower.negatives;
    }
}

/// Counts from scores that are sorted anew; `infinite_allowed` lets ±∞ take part. `go_on` is asked
/// every tenth of a second or so.
#[allow(private_bounds)]
pub fn rank_sum<S: Sortable>(
    threads: usize,
    scores: &[S],
    truth: &dyn Truth,
    infinite_allowed: bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<RankSum, BadInput> {
    let partition = Partition::<S::Flag>::new(threads, scores, truth, infinite_allowed, go_on)?;
    let sums: Vec<Mutex<RankSum>> = (0..partition.buckets()).map(|_| Mutex::default()).collect();
    partition.sorted(threads, go_on, &|bucket| {
        let sum = sorted_rank_sum::<S::Flag>(bucket.items);
        if let Ok(mut place) = sums[bucket.index].lock() {
            *place = sum;
        }
    })?;
    let mut total = RankSum::default();
    for sum in sums {
        total.append(sum.into_inner().unwrap_or_default());
    }
    Ok(total)
}

/// Counts of cases in descending order, positives first among ties.
fn sorted_rank_sum<L: Layout>(items: &[L::Item]) -> RankSum {
    // Fewer than 2^31 items: 2U stays below 2^63. Without branches, for ties come at random.
    let (mut two_u, mut positives, mut above) = (0_u64, 0_u64, 0_u64);
    let mut offset = u64::MAX;
    for item in items {
        let negative = u64::from(item.low() & 1);
        let same = item.offset(L::PAYLOAD) == offset;
        offset = item.offset(L::PAYLOAD);
        above = if same { above } else { positives };
        two_u += negative * (above + positives);
        positives += 1 - negative;
    }
    RankSum {
        two_u: u128::from(two_u),
        positives,
        negatives: items.len() as u64 - positives,
    }
}

/// Scores that 16 bits can have.
pub const HALVES: usize = 1 << 16;

/// Counts from scores of 16 bits: there are so few values that nothing is sorted.
pub fn half_rank_sum(
    threads: usize,
    half: Half,
    scores: &[u16],
    truth: &dyn Truth,
    infinite_allowed: bool,
) -> Result<RankSum, BadInput> {
    // measured: below, clearing and reading the counts costs more than sorting
    if scores.len() < HALVES {
        let scores = widened(half.dtype(), scores);
        return rank_sum(threads, &scores, truth, infinite_allowed, &mut || true);
    }
    let mut counts = vec![0; 2 * HALVES];
    let known = count_halves(threads, scores, truth, &mut counts);
    let taken = |bits: u16| counts[usize::from(bits)] + counts[HALVES + usize::from(bits)] > 0;
    let beyond = if infinite_allowed {
        half.infinity() + 1
    } else {
        half.infinity()
    };
    if (beyond..0x8000).any(|magnitude| taken(magnitude) || taken(magnitude | 0x8000))
        && let Some(bad) = first_bad(&widened(half.dtype(), scores), infinite_allowed)
    {
        return Err(bad);
    }
    known.map(|()| rank_sum_of_halves(&counts))
}

/// Adds to `counts` how many positive cases there are of each 16 bits, and behind them how many
/// negative ones. Nothing if a label is of neither class.
pub fn count_halves(
    threads: usize,
    scores: &[u16],
    truth: &dyn Truth,
    counts: &mut [i64],
) -> Result<(), BadInput> {
    const CHUNK: usize = 1024;
    // As few parts as threads, for each has its own counts of 1 MiB.
    let part = (scores.len().div_ceil(threads.max(1))).next_multiple_of(CHUNK);
    let n_parts = scores.len().div_ceil(part.max(1));
    let count = |part_index: usize, see: &mut dyn FnMut(&[u16], &[u8])| {
        let start = part_index * part;
        let mut flags = [0; CHUNK];
        let mut known = true;
        let end = scores.len().min(start + part);
        for (chunk, scores) in scores[start..end].chunks(CHUNK).enumerate() {
            let flags = &mut flags[..scores.len()];
            known &= truth.flags(start + chunk * CHUNK, flags);
            see(scores, flags);
        }
        known
    };
    let into = |counts: &mut [i64], scores: &[u16], flags: &[u8]| {
        for (&bits, &flag) in scores.iter().zip(flags) {
            if let Some(count) = counts.get_mut(usize::from(flag & 1) << 16 | usize::from(bits)) {
                *count += 1;
            }
        }
    };
    if scores.len() < HALVES {
        // Few cases: reading their labels twice costs less than counts of their own.
        if !(0..n_parts).all(|part| count(part, &mut |_, _| ())) {
            return Err(BadInput::Label);
        }
        (0..n_parts).for_each(|part| {
            count(part, &mut |scores, flags| into(counts, scores, flags));
        });
        return Ok(());
    }
    let whole = Mutex::new((vec![0_i64; 2 * HALVES], true));
    pool::run(threads, n_parts, &|index| {
        let mut counts = vec![0_i64; 2 * HALVES];
        let known = count(index, &mut |scores, flags| into(&mut counts, scores, flags));
        if let Ok(mut whole) = whole.lock() {
            whole.1 &= known;
            for (sum, count) in whole.0.iter_mut().zip(&counts) {
                *sum += count;
            }
        }
    });
    let (found, known) = whole.into_inner().unwrap_or((Vec::new(), false));
    if !known {
        return Err(BadInput::Label);
    }
    for (sum, count) in counts.iter_mut().zip(found) {
        *sum += count;
    }
    Ok(())
}

/// Counts from those of [`count_halves`].
pub fn rank_sum_of_halves(counts: &[i64]) -> RankSum {
    let mut sum = RankSum::default();
    let descending = (0..0x8000_usize).rev().chain(0x8001..HALVES);
    for bits in descending {
        let of = |bits: usize| counts.get(bits).map_or(0, |&count| count as u64);
        // −0.0 is 0.
        let group = |class| of(class + bits) + if bits == 0 { of(class + 0x8000) } else { 0 };
        sum.append(RankSum::of_ties(group(0), group(HALVES)));
    }
    sum
}
