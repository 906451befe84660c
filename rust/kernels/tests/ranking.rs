//! Areas, curves and ranks against oracles that compare every pair, for any number of threads.

use half::{bf16, f16};
use ironstep_kernels::metrics::{
    BadInput, Cases, Classes, Draws, Equal, Half, Plan, RankSum, Resampling, ScoreIndex, Statistic,
    average_precision, column_rank_sums, curve, delong, half_rank_sum, rank_sum, ranks,
    two_classes,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const THREADS: [usize; 3] = [1, 2, 3];

fn cases(labels: &[u8]) -> Cases<'_, u8> {
    Cases {
        labels,
        positive: 1,
        negative: Some(0),
    }
}

/// Two for a positive case above a negative one, one for a tie.
fn pairs<S: PartialOrd + Copy>(scores: &[S], labels: &[u8]) -> RankSum {
    let of = |class: u8| {
        scores
            .iter()
            .zip(labels)
            .filter(move |case| *case.1 == class)
            .map(|case| *case.0)
    };
    let one = |p: S, n: S| if p > n { 2 } else { u128::from(p == n) };
    RankSum {
        two_u: of(1).map(|p| of(0).map(|n| one(p, n)).sum::<u128>()).sum(),
        positives: of(1).count() as u64,
        negatives: of(0).count() as u64,
    }
}

/// Scores of many kinds: ties, both zeros, infinities, subnormals, far outliers, all exponents.
fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        select(vec![
            0.0,
            -0.0,
            0.5,
            1.0,
            -1.0,
            f64::INFINITY,
            f64::NEG_INFINITY
        ]),
        (0..20_u8).prop_map(|tenth| f64::from(tenth) / 10.0),
        0.0..1.0_f64,
        -6.0..6.0_f64,
        any::<f32>()
            .prop_filter("NaN", |score| !score.is_nan())
            .prop_map(f64::from),
        select(vec![f64::MIN_POSITIVE, 5e-324, -5e-324, f64::MAX, f64::MIN]),
    ]
}

fn many() -> impl Strategy<Value = (Vec<f64>, Vec<u8>)> {
    vec((score(), 0..2_u8), 0..300).prop_map(|cases| cases.into_iter().unzip())
}

/// A deterministic spread of numbers below 2^32.
fn hash(number: usize) -> u32 {
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_area_counts_every_pair((scores, labels) in many()) {
        let single: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        for threads in THREADS {
            prop_assert_eq!(rank_sum(threads, &scores, &cases(&labels), true, &mut || true), Ok(pairs(&scores, &labels)));
            prop_assert_eq!(rank_sum(threads, &single, &cases(&labels), true, &mut || true), Ok(pairs(&single, &labels)));
        }
    }

    #[test]
    fn a_curve_counts_at_every_distinct_score((scores, labels) in many()) {
        let curve = curve(2, &scores, &cases(&labels), true, &mut || true).unwrap();
        let mut distinct: Vec<f64> = scores.iter().map(|score| score + 0.0).collect();
        distinct.sort_by(|a, b| b.total_cmp(a));
        distinct.dedup();
        let at = |class: u8| -> Vec<u32> {
            let count = |threshold: &f64| {
                scores.iter().zip(&labels).filter(|case| case.0 >= threshold && *case.1 == class).count() as u32
            };
            distinct.iter().map(count).collect()
        };
        prop_assert_eq!(&curve.tps, &at(1));
        prop_assert_eq!(&curve.fps, &at(0));
        prop_assert_eq!(&curve.thresholds, &distinct);
        let sum = pairs(&scores, &labels);
        prop_assert_eq!(curve.points().two_u(), sum.two_u);
        if let Some(auc) = sum.auc() {
            prop_assert_eq!(curve.points().auc(), auc);
            prop_assert!((curve.points().partial_auc(1.0) - auc).abs() < 1e-15);
        }
        // The index gives the same curve, and every row once.
        for threads in THREADS {
            let index = ScoreIndex::new(threads, &scores, &cases(&labels), true, &mut || true).unwrap();
            prop_assert_eq!(&index.curve().tps, &curve.tps);
            prop_assert_eq!(&index.curve().fps, &curve.fps);
            let rows: Vec<usize> = index.rows().collect();
            prop_assert!(rows.windows(2).all(|pair| scores[pair[0]] >= scores[pair[1]]));
            let mut sorted = rows;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..scores.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn counted_rows_are_repeated_rows(
        (scores, labels) in many(),
        seed in any::<u64>(),
        draws in select(vec![Draws::Stratified, Draws::Cases, Draws::Poisson]),
    ) {
        let index = ScoreIndex::new(1, &scores, &cases(&labels), true, &mut || true).unwrap();
        let plan = Plan::new(&index);
        let resampling = Resampling { draws, seed };
        let counts = plan.counts(&index, resampling, 3);
        if draws != Draws::Poisson {
            prop_assert_eq!(counts.iter().sum::<u32>() as usize, scores.len());
        }
        let repeated = |values: Vec<f64>| -> Vec<f64> {
            let each = values.iter().zip(&counts);
            each.flat_map(|(&value, &count)| std::iter::repeat_n(value, count as usize)).collect()
        };
        let labels_again: Vec<u8> =
            repeated(labels.iter().map(|&label| f64::from(label)).collect()).iter().map(|&label| label as u8).collect();
        let scores_again = repeated(scores.clone());
        let sum = pairs(&scores_again, &labels_again);
        prop_assert_eq!(index.counted(&counts), sum);
        if draws == Draws::Stratified {
            prop_assert_eq!(sum.positives, labels.iter().filter(|&&label| label == 1).count() as u64);
        }
        let again = curve(1, &scores_again, &cases(&labels_again), true, &mut || true).unwrap();
        let points = again.points();
        let both = sum.positives > 0 && sum.negatives > 0;
        let youden = points.youden();
        let expected = [
            (Statistic::Auc, sum.auc().unwrap_or(f64::NAN), both),
            (Statistic::PartialAuc(0.3), points.partial_auc(0.3), both),
            (Statistic::AveragePrecision, points.average_precision(), sum.positives > 0),
            (Statistic::SensitivityAtSpecificity(0.7), points.sensitivity_at_specificity(0.7).sensitivity, both),
            (Statistic::SpecificityAtSensitivity(0.7), points.specificity_at_sensitivity(0.7).specificity, both),
            (Statistic::Youden, youden.sensitivity + youden.specificity - 1.0, both),
        ];
        for (statistic, value, defined) in expected {
            for threads in THREADS {
                let mut values = [0.0; 2];
                plan.run(threads, statistic, resampling, 2, &mut values);
                let got = values[1];
                prop_assert!(
                    if defined { (got - value).abs() <= 1e-14 } else { got.is_nan() },
                    "{:?}: {} for {}", statistic, got, value
                );
            }
        }
    }

    #[test]
    fn delong_is_the_variance_of_the_placements((scores, labels) in many()) {
        let index = ScoreIndex::new(1, &scores, &cases(&labels), true, &mut || true).unwrap();
        let sum = pairs(&scores, &labels);
        prop_assume!(sum.positives > 1 && sum.negatives > 1);
        let (placements, influence) = (index.placements(), index.influence());
        let mut variance = (0.0, 0.0);
        for class in [0, 1] {
            let rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == class).collect();
            let others: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] != class).collect();
            let beats = |row: usize, other: usize| {
                let (own, other) = if class == 1 { (scores[row], scores[other]) } else { (scores[other], scores[row]) };
                if own > other { 1.0 } else if own == other { 0.5 } else { 0.0 }
            };
            for &row in &rows {
                let placement = others.iter().map(|&other| beats(row, other)).sum::<f64>() / others.len() as f64;
                prop_assert!((placements[row] - placement).abs() < 1e-14);
            }
            let n = rows.len() as f64;
            let mean = rows.iter().map(|&row| placements[row]).sum::<f64>() / n;
            let spread = rows.iter().map(|&row| (placements[row] - mean).powi(2)).sum::<f64>();
            variance.0 += spread / (n - 1.0) / n;
            variance.1 += n / (n - 1.0) * rows.iter().map(|&row| influence[row].powi(2)).sum::<f64>();
            prop_assert!(rows.iter().map(|&row| influence[row]).sum::<f64>().abs() < 1e-13);
        }
        let delong = index.curve().points().delong_variance();
        prop_assert!((delong - variance.0).abs() <= 1e-12 * variance.0.max(1e-3));
        prop_assert!((delong - variance.1).abs() <= 1e-12 * variance.0.max(1e-3));
    }

    #[test]
    fn operating_points_are_the_best_of_all((scores, labels) in many(), wanted in 0.0..=1.0_f64) {
        let curve = curve(1, &scores, &cases(&labels), true, &mut || true).unwrap();
        let points = curve.points();
        let (positives, negatives) = points.totals();
        prop_assume!(positives > 0 && negatives > 0);
        let mut all = vec![(0.0, 1.0)];
        for (&tp, &fp) in points.tps.iter().zip(points.fps) {
            all.push((
                f64::from(tp) / f64::from(positives),
                f64::from(negatives - fp) / f64::from(negatives),
            ));
        }
        type Choice<'a> = &'a dyn Fn(&(f64, f64)) -> Option<(f64, f64)>;
        let best = |choose: Choice<'_>| {
            all.iter().filter_map(choose).fold((-1.0, -1.0), |a, b| if b > a { b } else { a })
        };
        let point = points.sensitivity_at_specificity(wanted);
        prop_assert_eq!(
            (point.sensitivity, point.specificity),
            best(&|&(sensitivity, specificity)| (specificity >= wanted).then_some((sensitivity, specificity)))
        );
        let point = points.specificity_at_sensitivity(wanted);
        prop_assert_eq!(
            (point.specificity, point.sensitivity),
            best(&|&(sensitivity, specificity)| (sensitivity >= wanted).then_some((specificity, sensitivity)))
        );
        let point = points.youden();
        let most = all.iter().map(|(sensitivity, specificity)| sensitivity + specificity).fold(0.0, f64::max);
        prop_assert!((point.sensitivity + point.specificity - most).abs() < 1e-15);
    }

    #[test]
    fn a_rank_is_that_of_a_stable_sort(
        rows in vec((vec(0..4_u8, 7), 0..8_i64), 0..60),
    ) {
        let scores: Vec<f32> = rows.iter().flat_map(|row| row.0.iter().map(|&score| f32::from(score))).collect();
        let classes: Vec<i64> = rows.iter().map(|row| row.1).collect();
        let expected: Vec<u32> = rows.iter().map(|(scores, class)| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by_key(|&class| scores[class]);
            let rank = order.iter().rev().position(|&other| other as i64 == *class);
            rank.map_or(u32::MAX, |rank| rank as u32)
        }).collect();
        for threads in THREADS {
            prop_assert_eq!(ranks(threads, &scores, 7, &classes, Equal::Later), Ok(expected.clone()));
        }
        for (equal, counts) in [
            (Equal::None, (|score, own| score > own) as fn(u8, u8) -> bool),
            (Equal::All, |score, own| score >= own),
        ] {
            let expected: Vec<u32> = rows.iter().map(|(scores, class)| {
                let own = scores.get(*class as usize);
                own.map_or(u32::MAX, |&own| {
                    let count = scores.iter().filter(|&&score| counts(score, own)).count() as u32;
                    count - u32::from(equal == Equal::All) // its own
                })
            }).collect();
            prop_assert_eq!(ranks(2, &scores, 7, &classes, equal), Ok(expected));
        }
    }

    #[test]
    fn columns_are_judged_alone(rows in vec((vec(0..9_u8, 3), 0..3_i64, vec(0..3_u8, 3)), 1..60)) {
        let scores: Vec<f64> = rows.iter().flat_map(|row| row.0.iter().map(|&score| f64::from(score))).collect();
        let classes: Vec<i64> = rows.iter().map(|row| row.1).collect();
        let indicator: Vec<u8> = rows.iter().flat_map(|row| row.2.clone()).collect();
        for threads in THREADS {
            let by_number = column_rank_sums(threads, &scores, 3, Classes::Numbers(&classes)).unwrap();
            let by_indicator = column_rank_sums(threads, &scores, 3, Classes::Indicator(&indicator)).unwrap();
            for column in 0..3 {
                let of_column: Vec<f64> = scores.iter().skip(column).step_by(3).copied().collect();
                let own: Vec<u8> = classes.iter().map(|&class| u8::from(class == column as i64)).collect();
                prop_assert_eq!(by_number[column], pairs(&of_column, &own));
                let own: Vec<u8> = indicator.iter().skip(column).step_by(3).map(|&entry| u8::from(entry != 0)).collect();
                prop_assert_eq!(by_indicator[column], pairs(&of_column, &own));
            }
        }
    }
}

/// Many cases: several parts, many buckets, one bucket with almost all, and runs that a second sort
/// finishes.
#[test]
fn large_inputs_of_all_shapes_are_exact() {
    let n = 300_000;
    let labels: Vec<u8> = (0..n).map(|i| (hash(i) >> 7) as u8 & 1).collect();
    let unit = |i: usize| f64::from(hash(i + n)) / 4_294_967_296.0;
    let shapes: [(&str, &dyn Fn(usize) -> f64); 6] = [
        ("uniform", &unit),
        ("logits", &|i| (unit(i) / (1.0 - unit(i))).ln()),
        ("ties", &|i| (unit(i) * 100.0).floor()),
        ("constant", &|_| 0.25),
        ("outliers", &|i| match i {
            0 => 1e30,
            1 => -1e30,
            _ => 1.0 + unit(i) / 1e4,
        }),
        ("two", &|i| f64::from(hash(i + n) & 1)),
    ];
    for (name, shape) in shapes {
        let scores: Vec<f64> = (0..n).map(shape).collect();
        let single: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        // By a comparison sort.
        let expected = |scores: &[f64]| {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let (mut two_u, mut positives, mut start) = (0_u128, 0_u128, 0);
            while start < n {
                let tied = |&&row: &&usize| scores[row] == scores[order[start]];
                let group = order[start..].iter().take_while(tied).count();
                let p = order[start..start + group]
                    .iter()
                    .filter(|&&row| labels[row] == 1)
                    .count() as u128;
                two_u += (group as u128 - p) * (2 * positives + p);
                positives += p;
                start += group;
            }
            (two_u, positives as u64)
        };
        let widened: Vec<f64> = single.iter().map(|&score| score.into()).collect();
        let (double, float) = (expected(&scores), expected(&widened));
        for threads in THREADS {
            let sum = rank_sum(threads, &scores, &cases(&labels), false, &mut || true).unwrap();
            assert_eq!((sum.two_u, sum.positives), double, "{name}, f64");
            let sum = rank_sum(threads, &single, &cases(&labels), false, &mut || true).unwrap();
            assert_eq!((sum.two_u, sum.positives), float, "{name}, f32");
            let index =
                ScoreIndex::new(threads, &scores, &cases(&labels), false, &mut || true).unwrap();
            assert_eq!(
                index.curve().points().two_u(),
                double.0,
                "{name}, index of f64"
            );
            assert_eq!(
                index.counted(&vec![1; n]).two_u,
                double.0,
                "{name}, rows of f64"
            );
            let index =
                ScoreIndex::new(threads, &single, &cases(&labels), false, &mut || true).unwrap();
            assert_eq!(
                index.curve().points().two_u(),
                float.0,
                "{name}, index of f32"
            );
        }
    }
}

#[test]
fn halves_are_counted_exactly_whether_sorted_or_not() {
    for n in [500, 200_000] {
        let labels: Vec<u8> = (0..n).map(|i| (hash(i) >> 5) as u8 & 1).collect();
        // Every bit pattern but NaN, both zeros among them.
        let bits: Vec<u16> = (0..n)
            .map(|i| {
                if i < 2 {
                    (i as u16) << 15
                } else {
                    hash(i + n) as u16
                }
            })
            .collect();
        for (half, value) in [
            (
                Half::F16,
                (|bits| f16::from_bits(bits).to_f32()) as fn(u16) -> f32,
            ),
            (Half::Bf16, |bits| bf16::from_bits(bits).to_f32()),
        ] {
            let finite = |bits: &u16| if value(*bits).is_nan() { 0 } else { *bits };
            let bits: Vec<u16> = bits.iter().map(finite).collect();
            let wide: Vec<f32> = bits.iter().map(|&bits| value(bits)).collect();
            let expected = rank_sum(1, &wide, &cases(&labels), true, &mut || true);
            assert!(expected.is_ok());
            for threads in THREADS {
                assert_eq!(
                    half_rank_sum(threads, half, &bits, &cases(&labels), true),
                    expected
                );
            }
            let mut bad = bits.clone();
            bad[n - 7] = 0x7fff;
            bad[n - 3] = 0xffff;
            let got = half_rank_sum(2, half, &bad, &cases(&labels), true);
            assert_eq!(got, Err(BadInput::Nan(n - 7)));
        }
    }
}

#[test]
fn bad_input_is_named() {
    let labels = [0, 1, 0, 1, 1];
    let nan = f32::NAN;
    let scores = [0.0, f32::INFINITY, nan, nan, 1.0];
    assert_eq!(
        rank_sum(1, &scores, &cases(&labels), true, &mut || true),
        Err(BadInput::Nan(2))
    );
    let scores = [0.0, f32::INFINITY, 2.0, f32::NEG_INFINITY, 1.0];
    assert_eq!(
        rank_sum(1, &scores, &cases(&labels), false, &mut || true),
        Err(BadInput::Infinite(1))
    );
    assert_eq!(
        ranks(1, &scores, 5, &[0], Equal::Later),
        Err(BadInput::Infinite(1))
    );
    let scores = [0.0_f64, 1.0, 2.0, 3.0, 4.0];
    assert_eq!(
        rank_sum(1, &scores, &cases(&[0, 1, 2, 1, 0]), false, &mut || true),
        Err(BadInput::Label)
    );
    let one_class = rank_sum(1, &scores, &cases(&[1; 5]), false, &mut || true).unwrap();
    assert_eq!((one_class.auc(), one_class.negatives), (None, 0));
    assert_eq!(
        rank_sum::<f64>(1, &[], &cases(&[]), false, &mut || true),
        Ok(RankSum::default())
    );
}

#[test]
fn the_smaller_of_two_labels_comes_first() {
    assert_eq!(two_classes::<i8>(&[]), None);
    assert_eq!(two_classes(&[3_i8, 3]), Some((3, None)));
    assert_eq!(two_classes(&[3_i8, 3, -1, 7]), Some((-1, Some(3))));
    assert_eq!(two_classes(&[0.0, -0.0, 0.5]), Some((0.0, Some(0.5))));
}

#[test]
fn weights_of_one_change_nothing_and_zero_weights_leave_no_threshold() {
    let n = 2000;
    let labels: Vec<u8> = (0..n).map(|i| (hash(i) >> 7) as u8 & 1).collect();
    let scores: Vec<f64> = (0..n).map(|i| f64::from(hash(i + n) % 300)).collect();
    let index = ScoreIndex::new(1, &scores, &cases(&labels), false, &mut || true).unwrap();
    let curve = index.weighted(&vec![1.0; n]);
    assert_eq!(index.curve().thresholds, curve.thresholds);
    assert_eq!(
        curve.tps,
        index
            .curve()
            .tps
            .iter()
            .map(|&tp| f64::from(tp))
            .collect::<Vec<_>>()
    );
    assert_eq!(curve.roc(1, true), index.curve().roc(2, true));
    assert_eq!(
        curve.precision_recall(1, true),
        index.curve().precision_recall(2, true)
    );
    assert!((curve.auc() - index.curve().points().auc()).abs() < 1e-15);
    let weights: Vec<f64> = scores
        .iter()
        .map(|&score| f64::from(u8::from(score < 100.0)))
        .collect();
    let curve = index.weighted(&weights);
    assert!(curve.thresholds.iter().all(|&threshold| threshold < 100.0));
    assert_eq!(
        curve.thresholds.len(),
        index
            .curve()
            .thresholds
            .iter()
            .filter(|&&t| t < 100.0)
            .count()
    );
}

#[test]
fn sums_over_buckets_are_those_over_the_curve() {
    for n in [5, 3000, 300_000] {
        let labels: Vec<u8> = (0..n).map(|i| (hash(i) >> 7) as u8 & 1).collect();
        for values in [50, u32::MAX] {
            let scores: Vec<f32> = (0..n).map(|i| (hash(i + n) % values) as f32).collect();
            let curve = curve(1, &scores, &cases(&labels), true, &mut || true).unwrap();
            let points = curve.points();
            for threads in THREADS {
                let (sum, variance) =
                    delong(threads, &scores, &cases(&labels), true, &mut || true).unwrap();
                assert_eq!(
                    Ok(sum),
                    rank_sum(threads, &scores, &cases(&labels), true, &mut || true)
                );
                assert_eq!(variance.to_bits(), points.delong_variance().to_bits());
                let (value, positives) =
                    average_precision(threads, &scores, &cases(&labels), true, &mut || true)
                        .unwrap();
                assert_eq!(positives, points.totals().0);
                assert!((value - points.average_precision()).abs() < 1e-14);
                let alone =
                    average_precision(1, &scores, &cases(&labels), true, &mut || true).unwrap();
                assert_eq!(value.to_bits(), alone.0.to_bits());
            }
        }
    }
}

#[test]
fn a_sort_stops_when_it_is_told_to() {
    // Two pieces in each of three passes: over the keys, into the buckets, and of each bucket.
    let n = 9_000_000;
    let scores: Vec<f32> = (0..n)
        .map(|row: u64| (row * 7919 % 65_537) as f32)
        .collect();
    let labels: Vec<u8> = (0..n).map(|row| u8::from(row % 3 == 0)).collect();
    let truth = cases(&labels);
    type Sort<'a> = &'a dyn Fn(&mut dyn FnMut() -> bool) -> Option<BadInput>;
    let sorts: [Sort<'_>; 3] = [
        &|go_on| rank_sum(2, &scores, &truth, false, go_on).err(),
        &|go_on| delong(2, &scores, &truth, false, go_on).err(),
        &|go_on| ScoreIndex::new(2, &scores, &truth, false, go_on).err(),
    ];
    for sort in sorts {
        let mut asked = 0;
        assert_eq!(
            sort(&mut || {
                asked += 1;
                true
            }),
            None
        );
        assert!(asked >= 3, "{asked}");
        for last in 1..=asked {
            let mut asked = 0;
            let stopped = sort(&mut || {
                asked += 1;
                asked < last
            });
            assert_eq!((stopped, asked), (Some(BadInput::Stopped), last));
        }
    }
}
