//! Batch normalization against plain double loops, and the same bits whoever computes it.

mod cases;

use cases::cases;
use half::{bf16, f16};
use ironstep_kernels::dtype::DType;
use ironstep_kernels::isa::Isa;
use ironstep_kernels::norm::{Backward, Forward, Layout, Statistics, Sums, backward, forward};
use proptest::prelude::*;
use proptest::sample::select;

const EPS: f64 = 1e-5;
const TYPES: [DType; 4] = [DType::F64, DType::F32, DType::Bf16, DType::F16];

#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    channels: usize,
    positions: usize,
    channels_last: bool,
}

impl Shape {
    fn layout(&self) -> Layout {
        Layout::new(
            self.batch,
            self.channels,
            self.positions,
            self.channels_last,
        )
    }

    fn len(&self) -> usize {
        self.batch * self.channels * self.positions
    }

    /// The channel of the element at a place.
    fn channel(&self, place: usize) -> usize {
        if self.channels_last {
            place % self.channels
        } else {
            place / self.positions % self.channels
        }
    }

    fn of_channel<'a>(
        &'a self,
        channel: usize,
        values: &'a [f64],
    ) -> impl Iterator<Item = f64> + 'a {
        let places = values.iter().enumerate();
        places
            .filter(move |(place, _)| self.channel(*place) == channel)
            .map(|(_, &value)| value)
    }
}

fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let bytes = |value: f64| match dtype {
        DType::F64 => value.to_ne_bytes().to_vec(),
        DType::F32 => (value as f32).to_ne_bytes().to_vec(),
        DType::F16 => f16::from_f32(value as f32).to_ne_bytes().to_vec(),
        DType::Bf16 => bf16::from_f32(value as f32).to_ne_bytes().to_vec(),
    };
    values.iter().flat_map(|&value| bytes(value)).collect()
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let value = |from: &[u8]| match dtype {
        DType::F64 => f64::from_ne_bytes(std::array::from_fn(|i| from[i])),
        DType::F32 => f32::from_ne_bytes(std::array::from_fn(|i| from[i])).into(),
        DType::F16 => f16::from_ne_bytes(std::array::from_fn(|i| from[i])).into(),
        DType::Bf16 => bf16::from_ne_bytes(std::array::from_fn(|i| from[i])).into(),
    };
    bytes.chunks(dtype.size()).map(value).collect()
}

/// Random numbers around `center`, as they are in the type.
fn numbers(dtype: DType, len: usize, center: f64, spread: f64, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let values: Vec<f64> = (0..len)
        .map(|_| center + spread * (uniform() + uniform() + uniform() - 1.5) * 2.0)
        .collect();
    decode(dtype, &encode(dtype, &values))
}

/// What goes in.
struct Case {
    shape: Shape,
    dtype: DType,
    x: Vec<f64>,
    r: Option<Vec<f64>>,
    dy: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    given: Option<Vec<Statistics>>,
    relu: bool,
}

impl Case {
    fn new(
        shape: Shape,
        dtype: DType,
        center: f64,
        spread: f64,
        add: bool,
        relu: bool,
        given: bool,
    ) -> Case {
        let (len, channels) = (shape.len(), shape.channels);
        let weight = numbers(DType::F32, channels, 1.0, 0.3, 4);
        let statistics = |channel: usize| Statistics {
            mean: center + 0.1 * channel as f64,
            variance: spread * spread + 0.01 * channel as f64,
        };
        Case {
            shape,
            dtype,
            x: numbers(dtype, len, center, spread, 1),
            r: add.then(|| numbers(dtype, len, 0.0, 1.0, 2)),
            dy: numbers(dtype, len, 0.1, 1.0, 3),
            weight,
            bias: numbers(DType::F32, channels, 0.0, 0.5, 5),
            given: given.then(|| (0..channels).map(statistics).collect()),
            relu,
        }
    }
}

/// What comes out; a gradient of the residual only after a ReLU.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    y: Vec<u8>,
    statistics: Vec<Statistics>,
    dx: Vec<u8>,
    dr: Vec<u8>,
    sums: Vec<Sums>,
}

fn answer(isa: Isa, threads: usize, case: &Case, misaligned: usize) -> Answer {
    let layout = case.shape.layout();
    let place = |values: &[f64]| {
        let mut bytes = vec![0; misaligned];
        bytes.extend(encode(case.dtype, values));
        bytes
    };
    let x = place(&case.x);
    let dy = place(&case.dy);
    let r = case.r.as_ref().map(|r| place(r));
    let fresh = || vec![0xa5_u8; x.len()];
    let (mut y, mut dx, mut dr) = (fresh(), fresh(), fresh());
    let at = |buffer: &[u8]| buffer[misaligned..].as_ptr();
    let job = Forward {
        dtype: case.dtype,
        input: at(&x),
        residual: r.as_deref().map_or(std::ptr::null(), at),
        output: y[misaligned..].as_mut_ptr(),
        weight: Some(&case.weight),
        bias: Some(&case.bias),
        eps: EPS,
        relu: case.relu,
    };
    // SAFETY: the buffers live, are as large as the layout says, and are this function's.
    let statistics = unsafe { forward(isa, threads, layout, &job, case.given.as_deref()) };
    let means: Vec<f64> = statistics
        .iter()
        .map(|statistics| statistics.mean)
        .collect();
    let invstds: Vec<f64> = statistics
        .iter()
        .map(|statistics| statistics.invstd(EPS))
        .collect();
    let masked_by_output = case.relu && case.r.is_some();
    let job = Backward {
        dtype: case.dtype,
        grad_output: at(&dy),
        input: at(&x),
        output: if masked_by_output {
            at(&y)
        } else {
            std::ptr::null()
        },
        grad_input: dx[misaligned..].as_mut_ptr(),
        grad_residual: if masked_by_output {
            dr[misaligned..].as_mut_ptr()
        } else {
            std::ptr::null_mut()
        },
        weight: Some(&case.weight),
        bias: Some(&case.bias),
        means: &means,
        invstds: &invstds,
        training: case.given.is_none(),
        sums: true,
        relu: case.relu,
    };
    // SAFETY: as above.
    let sums = unsafe { backward(isa, threads, layout, &job) };
    for buffer in [&mut y, &mut dx, &mut dr] {
        buffer.drain(..misaligned);
    }
    Answer {
        y,
        statistics,
        dx,
        dr,
        sums,
    }
}

/// The answer that all instruction sets, numbers of threads and alignments give.
fn agreed(case: &Case) -> Answer {
    // As text: of NaN the bits are nobody's, and all other numbers are told apart.
    let text = |answer: &Answer| {
        let lists = [&answer.y, &answer.dx, &answer.dr].map(|bytes| decode(case.dtype, bytes));
        format!("{lists:?} {:?} {:?}", answer.statistics, answer.sums)
    };
    let plain = answer(Isa::SCALAR, 1, case, 0);
    let wanted = text(&plain);
    for &isa in Isa::available() {
        for (threads, misaligned) in [(1, 0), (2, 1), (3, 0)] {
            let other = text(&answer(isa, threads, case, misaligned));
            assert!(
                other == wanted,
                "{isa:?}, {threads} threads, {misaligned} bytes off"
            );
        }
    }
    plain
}

/// y, statistics, dx, dr, dγ, dβ by the formulas, all in `f64`; the mask is that of `y`.
struct Expected {
    y: Vec<f64>,
    statistics: Vec<Statistics>,
    dx: Vec<f64>,
    dr: Vec<f64>,
    sums: Vec<Sums>,
}

fn expected(case: &Case, passed: &dyn Fn(usize) -> bool) -> Expected {
    let shape = &case.shape;
    let count = (shape.batch * shape.positions) as f64;
    let statistics: Vec<Statistics> = (0..shape.channels)
        .map(|channel| match &case.given {
            Some(given) => given[channel],
            None => {
                let mean = shape.of_channel(channel, &case.x).sum::<f64>() / count;
                let squares = shape
                    .of_channel(channel, &case.x)
                    .map(|x| (x - mean) * (x - mean));
                Statistics {
                    mean,
                    variance: squares.sum::<f64>() / count,
                }
            }
        })
        .collect();
    let normal = |place: usize| {
        let of = &statistics[shape.channel(place)];
        (case.x[place] - of.mean) * of.invstd(EPS)
    };
    let y = (0..shape.len()).map(|place| {
        let channel = shape.channel(place);
        let z = case.weight[channel] * normal(place) + case.bias[channel];
        let z = z + case.r.as_ref().map_or(0.0, |r| r[place]);
        if case.relu && z <= 0.0 { 0.0 } else { z }
    });
    let y = y.collect();
    let dr: Vec<f64> = (0..shape.len())
        .map(|place| {
            if case.relu && !passed(place) {
                0.0
            } else {
                case.dy[place]
            }
        })
        .collect();
    let products: Vec<f64> = (0..shape.len())
        .map(|place| dr[place] * (case.x[place] - statistics[shape.channel(place)].mean))
        .collect();
    let sums: Vec<Sums> = (0..shape.channels)
        .map(|channel| Sums {
            grads: shape.of_channel(channel, &dr).sum(),
            products: shape.of_channel(channel, &products).sum(),
        })
        .collect();
    let dx = (0..shape.len()).map(|place| {
        let channel = shape.channel(place);
        let invstd = statistics[channel].invstd(EPS);
        let mut inner = dr[place];
        if case.given.is_none() {
            let of_weight = sums[channel].products * invstd;
            inner -= (sums[channel].grads + normal(place) * of_weight) / count;
        }
        case.weight[channel] * invstd * inner
    });
    let dx = dx.collect();
    Expected {
        y,
        statistics,
        dx,
        dr,
        sums,
    }
}

/// The largest difference, relative to the largest value that is expected.
fn off(got: &[f64], wanted: &[f64], least: f64) -> f64 {
    let scale = wanted
        .iter()
        .fold(least, |most, value| most.max(value.abs()));
    let differences = got.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max) / scale
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let got = agreed(case);
    let y = decode(case.dtype, &got.y);
    // Where the ReLU's argument is zero up to rounding, both decisions are right: ours is taken.
    let wanted = expected(case, &|place| y[place] > 0.0);
    // Half an ulp for storing, and a few roundings of the type of computation.
    let (stored, computed) = match case.dtype {
        DType::F64 => (0.0, 1e-14), // the loops sum one after another
        DType::F32 => (0.0, 1e-6),
        DType::Bf16 => (0.004, 1e-6),
        DType::F16 => (0.0005, 1e-6),
    };
    let close = |name: &str, got: &[f64], wanted: &[f64], least: f64, allowed: f64| {
        let off = off(got, wanted, least);
        prop_assert!(
            off <= allowed,
            "{name}: {off:e} off in {:?} {:?}",
            case.shape,
            case.dtype
        );
        Ok(())
    };
    close("y", &y, &wanted.y, 1e-3, stored + computed)?;
    // The terms of dx may cancel: it is as good as they are large.
    let invstds = wanted.statistics.iter().map(|of| of.invstd(EPS));
    let largest = invstds.fold(0.0, f64::max);
    let dx = decode(case.dtype, &got.dx);
    close("dx", &dx, &wanted.dx, largest, stored + 4.0 * computed)?;
    if case.relu && case.r.is_some() {
        let dr = decode(case.dtype, &got.dr);
        close("dr", &dr, &wanted.dr, 1e-3, 0.0)?;
    }
    let list =
        |of: fn(&Statistics) -> f64, from: &[Statistics]| from.iter().map(of).collect::<Vec<f64>>();
    let sums = |of: fn(&Sums) -> f64, from: &[Sums]| from.iter().map(of).collect::<Vec<f64>>();
    for (name, of) in [
        ("mean", (|s| s.mean) as fn(&Statistics) -> f64),
        ("variance", |s| s.variance),
    ] {
        close(
            name,
            &list(of, &got.statistics),
            &list(of, &wanted.statistics),
            1e-3,
            computed,
        )?;
    }
    let many = 1.0 + (case.shape.batch * case.shape.positions) as f64;
    for (name, of) in [
        ("sum", (|s| s.grads) as fn(&Sums) -> f64),
        ("products", |s| s.products),
    ] {
        let (got, wanted) = (sums(of, &got.sums), sums(of, &wanted.sums));
        // Sums that cancel are as good as their terms are large.
        let off = off(&got, &wanted, many.sqrt());
        prop_assert!(
            off <= 4.0 * computed,
            "{name}: {off:e} off in {:?} {:?}",
            case.shape,
            case.dtype
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn as_by_plain_loops(
        batch in 1..40_usize,
        channels in prop_oneof![1..6_usize, 6..70_usize],
        positions in prop_oneof![Just(1_usize), 2..60_usize],
        channels_last: bool,
        dtype in select(&TYPES),
        add: bool,
        relu: bool,
        given: bool,
    ) {
        let shape = Shape { batch, channels, positions, channels_last };
        check(&Case::new(shape, dtype, 0.5, 1.5, add, relu, given))?;
    }
}

#[test]
fn large_ones_are_put_together_from_parts() {
    let shapes = [
        (3, 2, 9000, false),   // few channels
        (2, 40, 5000, false),  // a channel a unit, runs of several parts
        (64, 64, 9, false),    // several channels a unit
        (300, 130, 1, true),   // several tiles of rows
        (4000, 3, 1, true),    // folded rows with a rest
        (2, 5000, 1, true),    // several panels
        (1, 1, 70_000, false), // one channel
    ];
    for (batch, channels, positions, channels_last) in shapes {
        let shape = Shape {
            batch,
            channels,
            positions,
            channels_last,
        };
        for dtype in [DType::F32, DType::Bf16] {
            for (add, relu) in [(false, false), (true, true)] {
                check(&Case::new(shape, dtype, 0.5, 1.5, add, relu, false)).unwrap();
            }
        }
    }
}

#[test]
fn the_error_does_not_grow_with_the_mean() {
    for channels_last in [false, true] {
        let shape = Shape {
            batch: 8,
            channels: 5,
            positions: 700,
            channels_last,
        };
        for mean in [0.0, 1e2, 1e4, 1e6, -1e6] {
            check(&Case::new(shape, DType::F32, mean, 1.0, false, true, false)).unwrap();
        }
    }
}

#[test]
fn a_sample_at_another_level_does_not_spoil_the_variance() {
    for channels_last in [false, true] {
        let shape = Shape {
            batch: 16,
            channels: 3,
            positions: 500,
            channels_last,
        };
        let mut case = Case::new(shape, DType::F32, 1e6, 1.0, false, false, false);
        let first = shape.len() / shape.batch;
        case.x[..first].fill(0.0);
        check(&case).unwrap();
    }
}

#[test]
fn squares_beyond_single_precision_are_summed_in_double() {
    for channels_last in [false, true] {
        let shape = Shape {
            batch: 4,
            channels: 3,
            positions: 300,
            channels_last,
        };
        for spread in [1e25, 1e30, 3e37] {
            check(&Case::new(
                shape,
                DType::F32,
                0.0,
                spread,
                false,
                false,
                false,
            ))
            .unwrap();
        }
    }
}

#[test]
fn nan_stays_in_its_channel_and_passes_the_relu() {
    for channels_last in [false, true] {
        let shape = Shape {
            batch: 3,
            channels: 4,
            positions: 50,
            channels_last,
        };
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut case = Case::new(shape, DType::F32, 0.0, 1.0, false, true, false);
            let place = (0..shape.len())
                .find(|&place| shape.channel(place) == 2)
                .unwrap();
            case.x[place] = bad;
            let got = agreed(&case);
            let (y, dx) = (decode(case.dtype, &got.y), decode(case.dtype, &got.dx));
            for place in 0..shape.len() {
                let in_it = shape.channel(place) == 2;
                assert_eq!(y[place].is_nan(), in_it, "{bad} {channels_last}");
                assert_eq!(dx[place].is_nan(), in_it, "{bad} {channels_last}");
            }
        }
    }
}

#[test]
fn nothing_to_do_is_done() {
    for (batch, channels, positions) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 1, 0), (0, 40, 1)] {
        for channels_last in [false, true] {
            let shape = Shape {
                batch,
                channels,
                positions,
                channels_last,
            };
            for given in [false, true] {
                let got = answer(
                    Isa::current(),
                    2,
                    &Case::new(shape, DType::F32, 0.0, 1.0, true, true, given),
                    0,
                );
                assert_eq!(got.sums.len(), channels);
                assert!(got.sums.iter().all(|sums| sums.grads == 0.0));
            }
        }
    }
}

#[test]
fn what_nobody_asks_for_is_not_written() {
    for (channels_last, training, sums) in [false, true].into_iter().flat_map(|channels_last| {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(training, sums)| (channels_last, training, sums))
    }) {
        let layout = Layout::new(2, 3, 4, channels_last);
        let bytes = encode(DType::F32, &numbers(DType::F32, 24, 0.0, 1.0, 1));
        let job = Backward {
            dtype: DType::F32,
            grad_output: bytes.as_ptr(),
            input: bytes.as_ptr(),
            output: std::ptr::null(),
            grad_input: std::ptr::null_mut(),
            grad_residual: std::ptr::null_mut(),
            weight: None,
            bias: None,
            means: &[0.0; 3],
            invstds: &[1.0; 3],
            training,
            sums,
            relu: false,
        };
        // SAFETY: the buffer lives and is as large as the layout says; nothing is written.
        let found = unsafe { backward(Isa::current(), 1, layout, &job) };
        assert_eq!(found.len(), if sums { 3 } else { 0 });
    }
}
