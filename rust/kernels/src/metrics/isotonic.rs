//! Isotonic regression of shares: the nondecreasing sequence nearest to what was counted.
//!
//! Pool adjacent violators (Ayer et al. 1955) on integers: a pool's share is positives / total, and
//! two are compared by cross products, so no rounding decides what is pooled.

/// The fitted share of each group, given its positive cases and all its cases, in ascending order of
/// what predicts them. A group without cases takes the share of the pool that it falls into, NaN if
/// there are none at all.
pub fn isotonic_shares(positives: &[u64], totals: &[u64]) -> Vec<f64> {
    assert_eq!(positives.len(), totals.len());
    let mut pools: Vec<Pool> = Vec::new();
    for (&positives, &total) in positives.iter().zip(totals) {
        let mut pool = Pool {
            positives,
            total,
            groups: 1,
        };
        while let Some(before) = pools.last()
            && !before.is_below(&pool)
        {
            pool.positives += before.positives;
            pool.total += before.total;
            pool.groups += before.groups;
            pools.pop();
        }
        pools.push(pool);
    }
    let mut fitted = Vec::with_capacity(totals.len());
    for pool in pools {
        let share = pool.positives as f64 / pool.total as f64;
        fitted.resize(fitted.len() + pool.groups, share);
    }
    fitted
}

struct Pool {
    positives: u64,
    total: u64,
    groups: usize,
}

impl Pool {
    /// Whether its share is smaller; never if one of the two has no case.
    fn is_below(&self, other: &Pool) -> bool {
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        product(self.positives, other.total) < product(other.positives, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::isotonic_shares;

    /// The fit at i is the largest over starts of the smallest over ends of means (min-max formula).
    fn by_min_max(positives: &[u64], totals: &[u64]) -> Vec<f64> {
        let mean = |a: usize, b: usize| {
            let sum = |x: &[u64]| x[a..=b].iter().sum::<u64>() as f64;
            sum(positives) / sum(totals)
        };
        let n = totals.len();
        (0..n)
            .map(|i| {
                let smallest = |a| (i..n).map(|b| mean(a, b)).fold(f64::INFINITY, f64::min);
                (0..=i).map(smallest).fold(f64::NEG_INFINITY, f64::max)
            })
            .collect()
    }

    #[test]
    fn is_the_min_max_formula() {
        let mut state = 1_u64;
        let mut next = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..500 {
            let n = next(9) as usize;
            let totals: Vec<u64> = (0..n).map(|_| 1 + next(5)).collect();
            let positives: Vec<u64> = totals.iter().map(|&total| next(total + 1)).collect();
            assert_eq!(
                isotonic_shares(&positives, &totals),
                by_min_max(&positives, &totals)
            );
        }
    }

    #[test]
    fn sorted_shares_stay_and_others_are_pooled() {
        assert_eq!(isotonic_shares(&[0, 1, 2], &[2, 2, 2]), [0.0, 0.5, 1.0]);
        assert_eq!(isotonic_shares(&[2, 1, 0], &[2, 2, 2]), [0.5; 3]);
        assert_eq!(
            isotonic_shares(&[0, 3, 1, 4], &[4, 4, 4, 4]),
            [0.0, 0.5, 0.5, 1.0]
        );
        assert_eq!(isotonic_shares(&[], &[]), [0.0; 0]);
    }
}
