//! What the rows weigh together: what a mean is divided by.

use super::cross_entropy::CrossEntropy;
use super::targets::{BadTarget, Targets};
use crate::slots::pairwise_sum;

impl CrossEntropy<'_> {
    /// The sum of the rows' weights: of each row that of its class, times its own.
    pub(super) fn total_weight(&self, rows: usize, classes: usize) -> Result<f64, BadTarget> {
        const PART: usize = 1024;
        let lists: &[&[i64]] = match &self.targets {
            Targets::Classes(labels) => &[labels],
            Targets::Mixed(first, second, _) => &[first, second],
            Targets::Probabilities(_) => &[],
        };
        if let (Targets::Classes(labels), None, None) =
            (&self.targets, self.weight, self.sample_weight)
        {
            let (mut counted, mut bad) = (0, false);
            for &label in *labels {
                let counts = label != self.ignore_index;
                counted += usize::from(counts);
                bad |= counts & (label as u64 >= classes as u64);
            }
            if !bad {
                return Ok(counted as f64);
            }
        }
        for (list, labels) in lists.iter().enumerate() {
            let is_bad = |&label: &i64| {
                label != self.ignore_index && usize::try_from(label).map_or(true, |c| c >= classes)
            };
            if let Some(row) = labels.iter().position(is_bad) {
                return Err(BadTarget {
                    list,
                    label: labels[row],
                    row,
                });
            }
        }
        let of_row = |row: usize| {
            let class_weight = |label: i64| match self.weight {
                _ if label == self.ignore_index => 0.0,
                Some(weight) => weight[(label as usize).min(classes - 1)],
                None => 1.0,
            };
            let of_classes = match self.targets {
                Targets::Classes(labels) => class_weight(labels[row]),
                Targets::Mixed(first, second, share) => {
                    let share = share.of(row);
                    share * class_weight(first[row]) + (1.0 - share) * class_weight(second[row])
                }
                Targets::Probabilities(_) => 1.0,
            };
            of_classes * self.sample_weight.map_or(1.0, |weight| weight[row])
        };
        let parts = (0..rows).step_by(PART);
        let sums = parts.map(|start| (start..rows.min(start + PART)).map(of_row).sum());
        Ok(pairwise_sum(&sums.collect::<Vec<f64>>()))
    }
}
