//! The gradients' norm against an exact sum, and the same bits whoever computes it.

mod buffers;
mod cases;
mod layouts;

use buffers::{Buffer, rounded};
use cases::cases;
use ironstep_kernels::dtype::DType;
use ironstep_kernels::isa::Isa;
use ironstep_kernels::optim::{clip_coefficient, grad_norm};
use ironstep_kernels::work::{Tensor, WorkList};
use layouts::{Layout, operands};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn norm(isa: Isa, threads: usize, buffers: &mut [Buffer]) -> f64 {
    let tensors: Vec<Tensor> = buffers
        .iter_mut()
        .map(|buffer| Tensor::new(&[buffer.view()]))
        .collect();
    let mut work = WorkList::default();
    for (index, tensor) in tensors.iter().enumerate() {
        work.push(index, tensor);
    }
    // SAFETY: the buffers live on, and nobody else uses them.
    unsafe { grad_norm(isa, threads, &tensors, &work) }
}

/// The norm, after all instruction sets and numbers of threads have agreed on its bits.
fn agreed_norm(buffers: &mut [Buffer]) -> f64 {
    let plain = norm(Isa::SCALAR, 1, buffers);
    for &isa in Isa::available() {
        for threads in [1, 2, 3] {
            let other = norm(isa, threads, buffers);
            assert!(
                other.to_bits() == plain.to_bits() || (other.is_nan() && plain.is_nan()),
                "{isa:?}, {threads} threads: {other:e}, not {plain:e}"
            );
        }
    }
    plain
}

/// Smallest squares first, with Neumaier's compensation: right to the last bit or two.
fn exact_norm(values: impl Iterator<Item = f64>) -> f64 {
    let mut squares: Vec<f64> = values.map(|value| value * value).collect();
    squares.sort_by(f64::total_cmp);
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for square in squares {
        let next = sum + square;
        lost += if sum >= square {
            (sum - next) + square
        } else {
            (square - next) + sum
        };
        sum = next;
    }
    (sum + lost).sqrt()
}

fn assert_near(norm: f64, exact: f64) {
    assert!(
        (norm - exact).abs() <= 4.0 * f64::EPSILON * exact,
        "{norm:e}, not {exact:e}"
    );
}

/// Numbers without pattern, of all sizes between 2^-10 and 2^10.
fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut draw = || {
        let (bits, size) = (next(), next());
        let value = (bits >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
        value * 2.0_f64.powi((size % 21) as i32 - 10)
    };
    (0..len).map(|_| draw()).collect()
}

fn dtypes() -> impl Strategy<Value = DType> {
    select(vec![DType::F64, DType::F32, DType::Bf16, DType::F16])
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn any_layouts_and_types(
        tensors in vec((operands(1), dtypes(), 0_usize..8), 0..5),
        seed: u64,
    ) {
        let mut all = Vec::new();
        let mut buffers = Vec::new();
        for (index, (layouts, dtype, misaligned)) in tensors.iter().enumerate() {
            let values = noise(seed ^ index as u64, layouts[0].positions().len());
            all.extend(values.iter().map(|&value| rounded(*dtype, value)));
            buffers.push(Buffer::new(*dtype, &layouts[0], *misaligned, &values));
        }
        assert_near(agreed_norm(&mut buffers), exact_norm(all.into_iter()));
        for mut buffer in buffers {
            buffer.values(); // nothing is written around it
        }
    }
}

#[test]
fn more_elements_than_a_thread_takes_at_a_time() {
    let len = if cfg!(miri) { 3_000 } else { 100_003 };
    let values = noise(1, len);
    for dtype in [DType::F64, DType::F32, DType::Bf16] {
        let exact = exact_norm(values.iter().map(|&value| rounded(dtype, value)));
        let layout = Layout::contiguous(&[len as i64]);
        for misaligned in [0, 1] {
            let buffer = Buffer::new(dtype, &layout, misaligned, &values);
            assert_near(agreed_norm(&mut [buffer]), exact);
        }
    }
}

fn norm_of(dtype: DType, values: &[f64]) -> f64 {
    let layout = Layout::contiguous(&[values.len() as i64]);
    agreed_norm(&mut [Buffer::new(dtype, &layout, 0, values)])
}

#[test]
fn squares_do_not_overflow_or_vanish_in_the_narrow_types() {
    assert_near(
        norm_of(DType::F32, &[3e30, 4e30]),
        exact_norm([3e30_f32, 4e30_f32].map(f64::from).into_iter()),
    );
    assert_eq!(norm_of(DType::F16, &[65504.0; 4]), 2.0 * 65504.0);
    let denormal = f64::from(f32::from_bits(1));
    assert_eq!(norm_of(DType::F32, &[denormal; 4]), 2.0 * denormal);
}

#[test]
fn infinity_and_nan_are_not_lost() {
    for dtype in [DType::F64, DType::F32, DType::Bf16, DType::F16] {
        let mut values = noise(3, 100);
        values[77] = f64::NEG_INFINITY;
        assert_eq!(norm_of(dtype, &values), f64::INFINITY);
        values[3] = f64::NAN;
        assert!(norm_of(dtype, &values).is_nan());
    }
}

#[test]
fn nothing_has_norm_0() {
    // +0: an empty sum is -0 in Rust.
    assert_eq!(agreed_norm(&mut []).to_bits(), 0);
    assert_eq!(norm_of(DType::F32, &[]).to_bits(), 0);
}

#[test]
fn the_coefficient_is_torchs() {
    assert_eq!(clip_coefficient(0.5, 1.0), 1.0);
    assert_eq!(clip_coefficient(4.0, 1.0), 1.0 / (4.0 + 1e-6));
    assert_eq!(clip_coefficient(0.0, 0.0), 0.0);
    assert_eq!(clip_coefficient(f64::INFINITY, 1.0), 0.0);
    assert_eq!(clip_coefficient(4.0, f64::INFINITY), 1.0);
    assert!(clip_coefficient(f64::NAN, 1.0).is_nan());
    assert!(clip_coefficient(f64::INFINITY, f64::INFINITY).is_nan());
}
