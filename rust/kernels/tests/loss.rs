//! Cross-entropy against its formula in f64, and the same bits whatever runs it.

use ironstep_kernels::dtype::DType;
use ironstep_kernels::isa::Isa;
use ironstep_kernels::loss::{
    BadTarget, CrossEntropy, Layout, Matrix, Reduction, Share, Targets, cross_entropy,
};
use proptest::prelude::*;

/// `outer` images of `inner` pixels, classes side by side or apart.
fn layout(outer: usize, inner: usize, classes: usize, apart: bool) -> Layout {
    let (inner_stride, class_stride) = if apart {
        (1, inner as isize)
    } else {
        (classes as isize, 1)
    };
    Layout {
        outer,
        inner,
        classes,
        outer_stride: (inner * classes) as isize,
        inner_stride,
        class_stride,
    }
}

fn at(layout: &Layout, row: usize, class: usize) -> usize {
    let (outer, inner) = (row / layout.inner, row % layout.inner);
    (outer as isize * layout.outer_stride
        + inner as isize * layout.inner_stride
        + class as isize * layout.class_stride) as usize
}

fn matrix(values: &mut [f32], layout: Layout) -> Matrix {
    Matrix {
        data: values.as_mut_ptr().cast(),
        dtype: DType::F32,
        layout,
    }
}

fn what<'a>(targets: Targets<'a>, reduction: Reduction) -> CrossEntropy<'a> {
    CrossEntropy {
        targets,
        ignore_index: -100,
        hit: 1.0,
        spread: 0.0,
        weight: None,
        sample_weight: None,
        reduction,
    }
}

struct Answer {
    loss: f64,
    losses: Vec<f32>,
    gradient: Vec<f32>,
}

fn run(isa: Isa, threads: usize, what: &CrossEntropy, x: &[f32], of: Layout) -> Answer {
    let mut x = x.to_vec();
    let mut gradient = vec![f32::NAN; x.len()];
    let mut losses = vec![f32::NAN; of.rows()];
    let of_losses = Layout {
        outer_stride: of.inner as isize,
        inner_stride: 1,
        ..of
    };
    let (logits, into) = (matrix(&mut x, of), matrix(&mut losses, of_losses));
    let to = Some(matrix(&mut gradient, of));
    // SAFETY: the buffers are those of the layouts, and nobody else has them.
    let answer = unsafe { cross_entropy::<f32>(isa, threads, what, logits, Some(into), to, true) };
    let loss = answer.expect("all targets are classes").loss;
    Answer {
        loss,
        losses,
        gradient,
    }
}

/// Losses and gradients by the formula, row by row.
fn by_formula(x: &[f32], of: &Layout, t: &dyn Fn(usize, usize) -> f64) -> (Vec<f64>, Vec<f64>) {
    let mut gradient = vec![0.0; x.len()];
    let mut losses = Vec::new();
    for row in 0..of.rows() {
        let x: Vec<f64> = (0..of.classes)
            .map(|class| f64::from(x[at(of, row, class)]))
            .collect();
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        let total: f64 = (0..of.classes).map(|class| t(row, class)).sum();
        losses.push((0..of.classes).map(|j| t(row, j) * (log_sum - x[j])).sum());
        for j in 0..of.classes {
            gradient[at(of, row, j)] = total * (x[j] - log_sum).exp() - t(row, j);
        }
    }
    (losses, gradient)
}

/// Numbers that look like logits.
fn logits(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| 12.0 * (next() - 0.5)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn as_by_the_formula_with_the_same_bits_everywhere(
        outer in 1..3_usize,
        inner in 1..80_usize,
        classes in prop_oneof![1..12_usize, 60..70_usize, 250..260_usize, Just(600)],
        apart: bool,
        share in 0.0..1.0_f64,
        spread in prop_oneof![Just(0.0), 0.001..0.1_f64],
        weighted: bool,
        seed: u64,
    ) {
        let of = layout(outer, inner, classes, apart);
        let x = logits(of.rows() * classes, seed);
        let class = |row: usize, step: usize| ((row * step + seed as usize % 7) % classes) as i64;
        let first: Vec<i64> = (0..of.rows()).map(|row| class(row, 5)).collect();
        let mut second: Vec<i64> = (0..of.rows()).map(|row| class(row, 3)).collect();
        second[0] = -100;
        let weight: Vec<f64> = (0..classes).map(|j| 0.5 + (j % 3) as f64).collect();
        let own: Vec<f64> = (0..of.rows()).map(|row| 0.25 * (row % 5) as f64).collect();
        let what = CrossEntropy {
            hit: 0.9,
            spread,
            weight: weighted.then_some(&weight),
            sample_weight: weighted.then_some(&own),
            ..what(Targets::Mixed(&first, &second, Share::All(share)), Reduction::Sum)
        };
        let t = |row: usize, j: usize| {
            let of_list = |labels: &[i64], share: f64| {
                let hit = if labels[row] == j as i64 { 0.9 } else { 0.0 };
                if labels[row] == -100 { 0.0 } else { share * (hit + spread) }
            };
            let t = of_list(&first, share) + of_list(&second, 1.0 - share);
            if weighted { t * weight[j] * own[row] } else { t }
        };
        let (losses, gradient) = by_formula(&x, &of, &t);
        let ours = run(Isa::SCALAR, 1, &what, &x, of);
        // The sum of exponentials has an error of some units, which is that of its logarithm and of
        // the probabilities; a loss adds terms up to 12.
        let size = 3.0 * (1.0 + spread * classes as f64);
        let near = |a: f32, b: f64, size: f64| (f64::from(a) - b).abs() <= 1e-6 * size;
        for (&a, &b) in ours.losses.iter().zip(&losses) {
            prop_assert!(near(a, b, 12.0 * size), "loss {a}, {b} expected");
        }
        for (&a, &b) in ours.gradient.iter().zip(&gradient) {
            prop_assert!(near(a, b, size), "gradient {a}, {b} expected");
        }
        let sum: f64 = losses.iter().sum();
        prop_assert!((ours.loss - sum).abs() <= 1e-6 * 12.0 * size * losses.len() as f64);
        for &isa in Isa::available() {
            for threads in [1, 2, 5] {
                let other = run(isa, threads, &what, &x, of);
                prop_assert_eq!(other.loss.to_bits(), ours.loss.to_bits());
                prop_assert_eq!(&other.losses, &ours.losses);
                prop_assert_eq!(&other.gradient, &ours.gradient);
            }
        }
    }

    #[test]
    fn classes_as_probabilities_are_the_same(
        rows in 1..70_usize,
        classes in prop_oneof![1..12_usize, 60..70_usize],
        seed: u64,
    ) {
        let of = layout(1, rows, classes, false);
        let x = logits(rows * classes, seed);
        let labels: Vec<i64> = (0..rows).map(|row| (row % classes) as i64).collect();
        let mut one_hot = vec![0.0; x.len()];
        for row in 0..rows {
            one_hot[at(&of, row, row % classes)] = 1.0;
        }
        let dense = what(Targets::Probabilities(matrix(&mut one_hot, of)), Reduction::Mean);
        let sparse = what(Targets::Classes(&labels), Reduction::Mean);
        let (dense, sparse) = (run(Isa::current(), 2, &dense, &x, of), run(Isa::current(), 2, &sparse, &x, of));
        prop_assert_eq!(dense.losses, sparse.losses);
        prop_assert_eq!(dense.loss, sparse.loss);
        for (a, b) in dense.gradient.iter().zip(&sparse.gradient) {
            prop_assert!((a - b).abs() <= 1e-7, "{a} and {b}");
        }
    }
}

#[test]
fn a_label_that_is_no_class_is_told_before_anything_is_written() {
    let of = layout(1, 5, 3, false);
    let mut x = logits(15, 1);
    let mut gradient = vec![7.0; 15];
    for (list, label) in [(0, 3), (0, -1), (1, i64::MAX), (1, i64::MIN)] {
        let good = [0, 1, -100, 2, 1];
        let mut bad = good;
        bad[3] = label;
        let lists = if list == 0 {
            (&bad, &good)
        } else {
            (&good, &bad)
        };
        let what = what(
            Targets::Mixed(lists.0, lists.1, Share::All(0.5)),
            Reduction::Mean,
        );
        let (logits, to) = (matrix(&mut x, of), matrix(&mut gradient, of));
        // SAFETY: as above.
        let answer =
            unsafe { cross_entropy::<f32>(Isa::current(), 2, &what, logits, None, Some(to), true) };
        let row = 3;
        assert_eq!(answer, Err(BadTarget { list, label, row }));
    }
    assert!(gradient.iter().all(|&g| g == 7.0));
}
