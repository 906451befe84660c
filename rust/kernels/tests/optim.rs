//! Every rule against its formula in `f64`, and the same bits from every instruction set, number of
//! threads and layout.

mod buffers;
mod cases;
mod layouts;

use buffers::{Buffer, rounded};
use cases::cases;
use ironstep_kernels::dtype::DType;
use ironstep_kernels::isa::Isa;
use ironstep_kernels::optim::{Adagrad, Adam, Prepared, Rmsprop, Sgd, UpdateRule, step};
use ironstep_kernels::work::{Tensor, WorkList};
use layouts::{Layout, operands};
use proptest::prelude::*;
use proptest::sample::select;

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::Bf16, DType::F16];

#[derive(Clone, Copy, Debug)]
enum Rule {
    Sgd(Sgd),
    Adagrad(Adagrad),
    Rmsprop(Rmsprop),
    Adam(Adam),
}
use Rule::{Adagrad as A, Adam as D, Rmsprop as R, Sgd as S};

/// Every branch of every rule.
fn rules() -> Vec<Rule> {
    let sgd = Sgd {
        lr: 0.1,
        momentum: 0.0,
        dampening: 0.0,
        weight_decay: 0.0,
        nesterov: false,
    };
    let adagrad = Adagrad {
        lr: 0.1,
        lr_decay: 0.0,
        weight_decay: 0.0,
        eps: 1e-3,
    };
    let rmsprop = Rmsprop {
        lr: 0.1,
        alpha: 0.9,
        eps: 1e-3,
        weight_decay: 0.0,
        momentum: 0.0,
        centered: false,
        eps_inside_sqrt: false,
    };
    let adam = Adam {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-3,
        weight_decay: 0.0,
        decoupled_weight_decay: false,
        amsgrad: false,
        correct_first: true,
    };
    let (momentum, weight_decay) = (0.8, 0.3);
    vec![
        S(sgd),
        S(Sgd {
            weight_decay,
            ..sgd
        }),
        S(Sgd {
            momentum,
            weight_decay,
            dampening: 0.4,
            ..sgd
        }),
        S(Sgd {
            momentum,
            nesterov: true,
            ..sgd
        }),
        A(adagrad),
        A(Adagrad {
            lr_decay: 0.2,
            weight_decay,
            ..adagrad
        }),
        R(rmsprop),
        R(Rmsprop {
            weight_decay,
            eps_inside_sqrt: true,
            ..rmsprop
        }),
        R(Rmsprop {
            momentum,
            ..rmsprop
        }),
        R(Rmsprop {
            centered: true,
            ..rmsprop
        }),
        R(Rmsprop {
            alpha: 0.3,
            momentum,
            centered: true,
            eps_inside_sqrt: true,
            ..rmsprop
        }),
        D(adam),
        D(Adam {
            weight_decay,
            amsgrad: true,
            ..adam
        }),
        D(Adam {
            weight_decay,
            decoupled_weight_decay: true,
            beta1: 0.3,
            ..adam
        }),
        D(Adam {
            correct_first: false,
            amsgrad: true,
            ..adam
        }),
    ]
}

impl Rule {
    fn n_states(&self) -> usize {
        match self {
            S(rule) => rule.n_states(),
            A(rule) => rule.n_states(),
            R(rule) => rule.n_states(),
            D(rule) => rule.n_states(),
        }
    }

    /// One step of one element, as the rule is written in the literature.
    fn formula(&self, turn: Turn, param: f64, grad: f64, states: &mut [f64]) -> f64 {
        let grad = turn.scale * if turn.maximize { -grad } else { grad };
        match *self {
            S(r) => {
                let g = decayed(grad, r.weight_decay, param);
                let Some(b) = states.first_mut() else {
                    return param - r.lr * g;
                };
                *b = if turn.first {
                    g
                } else {
                    r.momentum * *b + (1.0 - r.dampening) * g
                };
                param - r.lr * if r.nesterov { g + r.momentum * *b } else { *b }
            }
            A(r) => {
                let g = decayed(grad, r.weight_decay, param);
                states[0] += g * g;
                let lr = r.lr / (1.0 + (turn.step - 1.0) * r.lr_decay);
                param - lr * g / (states[0].sqrt() + r.eps)
            }
            R(r) => {
                let g = decayed(grad, r.weight_decay, param);
                states[0] = r.alpha * states[0] + (1.0 - r.alpha) * g * g;
                let mut v = states[0];
                if r.centered {
                    let m = states.last_mut().unwrap();
                    *m = towards(*m, g, 1.0 - r.alpha);
                    v -= *m * *m;
                }
                let root = if r.eps_inside_sqrt {
                    (v + r.eps).sqrt()
                } else {
                    v.sqrt() + r.eps
                };
                if r.momentum == 0.0 {
                    return param - r.lr * g / root;
                }
                states[1] = r.momentum * states[1] + g / root;
                param - r.lr * states[1]
            }
            D(r) => {
                let (g, param) = if r.decoupled_weight_decay {
                    (grad, param * (1.0 - r.lr * r.weight_decay))
                } else {
                    (decayed(grad, r.weight_decay, param), param)
                };
                states[0] = towards(states[0], g, 1.0 - r.beta1);
                states[1] = r.beta2 * states[1] + (1.0 - r.beta2) * g * g;
                let mut v = states[1];
                if r.amsgrad {
                    // NaN stays, as everywhere.
                    if v.is_nan() || states[2] < v {
                        states[2] = if states[2].is_nan() { states[2] } else { v };
                    }
                    v = states[2];
                }
                let correct = |beta: f64| 1.0 - beta.powf(turn.step);
                let m = states[0]
                    / if r.correct_first {
                        correct(r.beta1)
                    } else {
                        1.0
                    };
                param - r.lr * m / ((v / correct(r.beta2)).sqrt() + r.eps)
            }
        }
    }
}

/// No decay is no term: 0 · ∞ would be NaN.
fn decayed(value: f64, decay: f64, param: f64) -> f64 {
    if decay == 0.0 {
        value
    } else {
        value + decay * param
    }
}

/// The running mean of both ends, from the nearer one as torch does it: so infinities meet alike.
fn towards(from: f64, to: f64, weight: f64) -> f64 {
    if weight < 0.5 {
        from + weight * (to - from)
    } else {
        to - (1.0 - weight) * (to - from)
    }
}

/// What is not of the rule: which step, and what is done to the gradient first.
#[derive(Clone, Copy, Debug)]
struct Turn {
    step: f64,
    first: bool,
    maximize: bool,
    scale: f64,
}

const PLAIN: Turn = Turn {
    step: 3.0,
    first: false,
    maximize: false,
    scale: 1.0,
};

/// Parameter, gradient and states of one tensor.
type Operands = Vec<Buffer>;

fn run(rule: &Rule, turn: Turn, isa: Isa, threads: usize, buffers: &mut [Operands]) {
    fn of<T: UpdateRule>(rule: &T, turn: Turn, isa: Isa, threads: usize, buffers: &mut [Operands]) {
        let tensors: Vec<Tensor> = buffers
            .iter_mut()
            .map(|operands| Tensor::new(&operands.iter_mut().map(Buffer::view).collect::<Vec<_>>()))
            .collect();
        let mut work = WorkList::default();
        for (index, tensor) in tensors.iter().enumerate() {
            work.push(index, tensor);
        }
        let prepared = [Prepared::new(rule, turn.maximize, turn.step, turn.first)];
        let which = vec![0; tensors.len()];
        // SAFETY: the buffers live on, are separate, and nobody else uses them.
        unsafe { step(isa, threads, &prepared, &which, &tensors, &work, turn.scale) };
    }
    match rule {
        S(rule) => of(rule, turn, isa, threads, buffers),
        A(rule) => of(rule, turn, isa, threads, buffers),
        R(rule) => of(rule, turn, isa, threads, buffers),
        D(rule) => of(rule, turn, isa, threads, buffers),
    }
}

/// Numbers between -1 and 1 without pattern.
fn noise(seed: usize, len: usize) -> Vec<f64> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..len).map(|_| draw()).collect()
}

/// Values of each operand such that no formula cancels: second moments are 1 to 3.
fn start(rule: &Rule, len: usize) -> Vec<Vec<f64>> {
    let positive = |operand: usize| match rule {
        A(_) | R(_) => operand == 2,
        D(_) => operand > 2,
        S(_) => false,
    };
    (0..2 + rule.n_states())
        .map(|operand| {
            let values = noise(operand, len);
            if positive(operand) {
                values.iter().map(|value| value + 2.0).collect()
            } else {
                values
            }
        })
        .collect()
}

fn flat(dtypes: &[DType], values: &[Vec<f64>]) -> Operands {
    let layout = Layout::contiguous(&[values[0].len() as i64]);
    let buffers = dtypes.iter().zip(values);
    buffers
        .map(|(&dtype, values)| Buffer::new(dtype, &layout, 0, values))
        .collect()
}

fn contents(operands: &mut Operands) -> Vec<Vec<f64>> {
    operands.iter_mut().map(Buffer::values).collect()
}

/// Bit by bit, but for the payload of a NaN, which Rust does not promise.
fn assert_same_bits(actual: &[Vec<f64>], wanted: &[Vec<f64>], what: &str) {
    for (operand, (actual, wanted)) in actual.iter().zip(wanted).enumerate() {
        assert_eq!(actual.len(), wanted.len());
        for (index, (a, w)) in actual.iter().zip(wanted).enumerate() {
            let same = a.to_bits() == w.to_bits() || (a.is_nan() && w.is_nan());
            assert!(
                same,
                "{what}: operand {operand}, element {index}: {a:e}, not {w:e}"
            );
        }
    }
}

#[test]
fn every_rule_is_its_formula() {
    for rule in rules() {
        for (dtype, tolerance) in [(DType::F64, 2e-15), (DType::F32, 1e-6)] {
            let mut wanted: Vec<Vec<f64>> = start(&rule, 300)
                .iter()
                .map(|values| values.iter().map(|&value| rounded(dtype, value)).collect())
                .collect();
            let mut tensors = [flat(&vec![dtype; wanted.len()], &wanted)];
            for turn in [
                Turn {
                    step: 1.0,
                    first: true,
                    ..PLAIN
                },
                Turn {
                    step: 2.0,
                    maximize: true,
                    ..PLAIN
                },
                Turn {
                    step: 3.0,
                    scale: 0.25,
                    ..PLAIN
                },
                Turn {
                    step: 100_000.0,
                    ..PLAIN
                },
            ] {
                for element in 0..300 {
                    let mut states: Vec<f64> = wanted[2..].iter().map(|s| s[element]).collect();
                    let (param, grad) = (wanted[0][element], wanted[1][element]);
                    wanted[0][element] = rule.formula(turn, param, grad, &mut states);
                    for (state, new) in wanted[2..].iter_mut().zip(states) {
                        state[element] = new;
                    }
                }
                run(&rule, turn, Isa::current(), 1, &mut tensors);
                let actual = contents(&mut tensors[0]);
                assert_eq!(actual[1], wanted[1], "{rule:?} writes its gradient");
                for (actual, wanted) in actual.iter().zip(&wanted) {
                    for (a, w) in actual.iter().zip(wanted) {
                        let error = (a - w).abs() / w.abs().max(1.0);
                        assert!(
                            error < 8.0 * tolerance,
                            "{rule:?} {dtype:?} {turn:?}: {a}, not {w}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_and_threads_give_the_same_bits() {
    let turn = Turn {
        maximize: true,
        scale: 0.7,
        ..PLAIN
    };
    // Of all sizes: more than a thread takes at a time, a last partial vector, one element, none.
    let sizes = if cfg!(miri) {
        [70, 5, 1, 0]
    } else {
        [17_001, 1_037, 1, 0]
    };
    for rule in rules() {
        for dtype in DTYPES {
            let dtypes = vec![dtype; 2 + rule.n_states()];
            let all = sizes.map(|size| start(&rule, size));
            let fresh: Vec<Operands> = all.iter().map(|values| flat(&dtypes, values)).collect();
            let mut plain = fresh.clone();
            run(&rule, turn, Isa::SCALAR, 1, &mut plain);
            let alone = Isa::available().iter().map(|&isa| (isa, 1));
            for (isa, threads) in alone.chain([(Isa::SCALAR, 2), (Isa::current(), 3)]) {
                let mut tensors = fresh.clone();
                run(&rule, turn, isa, threads, &mut tensors);
                for (buffer, plain) in tensors.iter_mut().flatten().zip(plain.iter_mut().flatten())
                {
                    let same = buffer.memory() == plain.memory();
                    assert!(same, "{rule:?} {dtype:?} {isa:?}, {threads} threads");
                }
            }
        }
    }
}

/// A layout that may be written.
fn without_folds(layout: &Layout) -> Layout {
    let mut positions = layout.positions();
    positions.sort_unstable();
    if positions.is_sorted_by(|a, b| a < b) {
        layout.clone()
    } else {
        Layout::contiguous(&layout.shape)
    }
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn layouts_and_alignment_give_the_same_bits(
        rule in select(rules()),
        dtype in select(DTYPES.to_vec()),
        wide_states: bool,
        layouts in operands(5),
        misaligned in prop::collection::vec(0_usize..8, 5),
        threads in 1_usize..4,
    ) {
        let n_operands = 2 + rule.n_states();
        let wide = wide_states && matches!(dtype, DType::Bf16 | DType::F16);
        let dtypes: Vec<DType> = (0..n_operands)
            .map(|operand| if operand > 1 && wide { DType::F32 } else { dtype })
            .collect();
        let layouts: Vec<Layout> = (0..n_operands)
            .map(|operand| {
                let layout = &layouts[operand % layouts.len()];
                if operand == 1 { layout.clone() } else { without_folds(layout) }
            })
            .collect();
        let mut values = start(&rule, layouts[0].positions().len());
        // A broadcast gradient has one value wherever it has one place.
        let places = layouts[1].positions();
        values[1] = places.iter().map(|&place| ((place * 37) % 101) as f64 / 101.0 - 0.5).collect();

        let mut plain = [flat(&dtypes, &values)];
        run(&rule, PLAIN, Isa::SCALAR, 1, &mut plain);
        let wanted = contents(&mut plain[0]);
        for &isa in Isa::available() {
            let mut tensors = [(0..n_operands)
                .map(|i| Buffer::new(dtypes[i], &layouts[i], misaligned[i], &values[i]))
                .collect::<Vec<_>>()];
            run(&rule, PLAIN, isa, threads, &mut tensors);
            assert_same_bits(&contents(&mut tensors[0]), &wanted, &format!("{rule:?} {isa:?}"));
        }
    }
}

#[test]
fn tiles_that_begin_with_a_partial_block() {
    // The last block of rows is a short one, and with an odd number of blocks to a matrix every
    // other tile begins with it.
    let swapped = |shape: [i64; 3]| Layout {
        strides: vec![shape[1] * shape[2], 1, shape[1]],
        ..Layout::contiguous(&shape)
    };
    let stretched = |shape: [i64; 3]| Layout {
        strides: vec![(shape[1] + 1) * (shape[2] + 1), shape[2] + 1, 1],
        ..Layout::contiguous(&shape)
    };
    let matrices = if cfg!(miri) { 2 } else { 9 };
    for (dtype, shape) in [
        (DType::F32, [matrices, 130, 70]),
        (DType::F64, [matrices, 90, 70]),
        (DType::Bf16, [matrices, 130, 33]),
        (DType::F32, [matrices, 65, 513]),
    ] {
        let contiguous = Layout::contiguous(&shape);
        for layouts in [
            [contiguous.clone(), swapped(shape)],
            [swapped(shape), contiguous.clone()],
            [stretched(shape), swapped(shape)],
            [stretched(shape), contiguous],
        ] {
            let rule = rules()[0];
            let values = start(&rule, layouts[0].positions().len());
            let mut plain = [flat(&[dtype; 2], &values)];
            run(&rule, PLAIN, Isa::SCALAR, 1, &mut plain);
            let mut tensors = [(0..2)
                .map(|i| Buffer::new(dtype, &layouts[i], 0, &values[i]))
                .collect::<Vec<_>>()];
            run(&rule, PLAIN, Isa::current(), 2, &mut tensors);
            let wanted = contents(&mut plain[0]);
            assert_same_bits(&contents(&mut tensors[0]), &wanted, &format!("{shape:?}"));
        }
    }
}

#[test]
fn half_types_are_computed_in_f32_and_rounded_once() {
    for rule in rules() {
        for dtype in [DType::Bf16, DType::F16] {
            for state_dtype in [dtype, DType::F32] {
                let mut dtypes = vec![state_dtype; 2 + rule.n_states()];
                dtypes[..2].fill(dtype);
                let held: Vec<Vec<f64>> = start(&rule, 200)
                    .iter()
                    .zip(&dtypes)
                    .map(|(values, &dtype)| values.iter().map(|&v| rounded(dtype, v)).collect())
                    .collect();
                let mut single = [flat(&vec![DType::F32; dtypes.len()], &held)];
                let mut half = [flat(&dtypes, &held)];
                run(&rule, PLAIN, Isa::current(), 1, &mut single);
                run(&rule, PLAIN, Isa::current(), 1, &mut half);
                let wanted: Vec<Vec<f64>> = contents(&mut single[0])
                    .iter()
                    .zip(&dtypes)
                    .map(|(values, &dtype)| values.iter().map(|&v| rounded(dtype, v)).collect())
                    .collect();
                let what = format!("{rule:?} {dtype:?}, states {state_dtype:?}");
                assert_same_bits(&contents(&mut half[0]), &wanted, &what);
            }
        }
    }
}

/// All triples of a parameter, a gradient and what the states hold.
fn triples(numbers: &[f64]) -> [Vec<f64>; 3] {
    let mut columns = [vec![], vec![], vec![]];
    for &param in numbers {
        for &grad in numbers {
            for &state in numbers {
                columns[0].push(param);
                columns[1].push(grad);
                columns[2].push(state);
            }
        }
    }
    columns
}

/// The same numbers for another state, so that one may be NaN where the others are not.
fn turned(numbers: &[f64], state: usize) -> Vec<f64> {
    let turned = numbers.iter().cycle().skip(4 * state);
    turned.take(numbers.len()).copied().collect()
}

const EXTREMES: [f64; 15] = [
    0.0,
    -0.0,
    1.0,
    -2.5,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    5e-324,
    -1e-310,
    1e-45, // a denormal in f32
    1e-39, // likewise
    6e-8,  // in f16
    1e150, // infinite but in f64
    -1e38,
    6e4,
];

#[test]
fn extreme_numbers_go_the_way_of_the_formula() {
    for rule in rules() {
        let [params, grads, states] = triples(&EXTREMES);
        let mut values = vec![params, grads];
        for state in 0..rule.n_states() {
            let second_moment = start(&rule, 1)[2 + state][0] >= 1.0;
            let fit = |&value: &f64| if second_moment { value.abs() } else { value };
            values.push(turned(&states, state).iter().map(fit).collect());
        }
        let mut tensors = [flat(&vec![DType::F64; values.len()], &values)];
        run(&rule, PLAIN, Isa::current(), 1, &mut tensors);
        let actual = contents(&mut tensors[0]);
        for element in 0..values[0].len() {
            let given: Vec<f64> = values.iter().map(|operand| operand[element]).collect();
            let mut wanted = given.clone();
            wanted[0] = rule.formula(PLAIN, given[0], given[1], &mut wanted[2..]);
            for (operand, &w) in wanted.iter().enumerate() {
                let a = actual[operand][element];
                let size = w.abs()
                    + given
                        .iter()
                        .map(|v| if v.is_finite() { v.abs() } else { 0.0 })
                        .sum::<f64>();
                let near = (a - w).abs() <= 1e-13 * size + 1e-300;
                let same = a == w || near || (a.is_nan() && w.is_nan());
                assert!(
                    same,
                    "{rule:?}: operand {operand} of {given:?} is {a:e}, not {w:e}"
                );
            }
        }
    }
}

#[test]
fn extreme_numbers_give_the_same_bits_on_every_instruction_set() {
    for rule in rules() {
        let [params, grads, states] = triples(&EXTREMES);
        let mut values = vec![params, grads];
        values.extend((0..rule.n_states()).map(|state| turned(&states, state)));
        for dtype in DTYPES {
            let dtypes = vec![dtype; values.len()];
            let mut plain = [flat(&dtypes, &values)];
            run(&rule, PLAIN, Isa::SCALAR, 1, &mut plain);
            let wanted = contents(&mut plain[0]);
            for &isa in Isa::available() {
                let mut tensors = [flat(&dtypes, &values)];
                run(&rule, PLAIN, isa, 1, &mut tensors);
                assert_same_bits(
                    &contents(&mut tensors[0]),
                    &wanted,
                    &format!("{rule:?} {dtype:?} {isa:?}"),
                );
            }
        }
    }
}

#[test]
fn denormals_are_not_flushed() {
    let sgd = S(Sgd {
        lr: 1.0,
        momentum: 0.0,
        dampening: 0.0,
        weight_decay: 0.0,
        nesterov: false,
    });
    let units = [
        (DType::F64, 5e-324),
        (DType::F32, f64::from(f32::from_bits(1))),
        (DType::Bf16, f64::from(f32::from_bits(0x1_0000))),
        (DType::F16, 2.0_f64.powi(-24)),
    ];
    for (dtype, unit) in units {
        for &isa in Isa::available() {
            // Long enough for every vector width, and for a rest.
            let mut tensors = [flat(&[dtype; 2], &[vec![3.0 * unit; 77], vec![unit; 77]])];
            run(&sgd, PLAIN, isa, 1, &mut tensors);
            assert_eq!(
                contents(&mut tensors[0])[0],
                vec![2.0 * unit; 77],
                "{dtype:?} {isa:?}"
            );
        }
    }
}

#[test]
fn the_first_step_does_not_read_the_buffer() {
    let sgd = rules()[2];
    let values = [vec![1.0; 40], noise(1, 40), vec![f64::NAN; 40]];
    for dtype in DTYPES {
        let mut tensors = [flat(&[dtype; 3], &values)];
        run(
            &sgd,
            Turn {
                first: true,
                ..PLAIN
            },
            Isa::current(),
            1,
            &mut tensors,
        );
        let after = contents(&mut tensors[0]);
        assert!(after.iter().flatten().all(|value| value.is_finite()));
    }
}

#[test]
fn tensors_of_one_job_may_differ_in_step_and_type() {
    let rule = rules()[11];
    let D(adam) = rule else { unreachable!() };
    let values = start(&rule, 50);
    let each = [(DType::F64, 1.0), (DType::Bf16, 7.0), (DType::F32, 7.0)];
    let alone: Vec<_> = each
        .iter()
        .map(|&(dtype, step)| {
            let mut tensors = [flat(&[dtype; 4], &values)];
            run(
                &rule,
                Turn { step, ..PLAIN },
                Isa::current(),
                1,
                &mut tensors,
            );
            contents(&mut tensors[0])
        })
        .collect();
    let mut together: Vec<Operands> = each
        .iter()
        .map(|&(dtype, _)| flat(&[dtype; 4], &values))
        .collect();
    let tensors: Vec<Tensor> = together
        .iter_mut()
        .map(|operands| Tensor::new(&operands.iter_mut().map(Buffer::view).collect::<Vec<_>>()))
        .collect();
    let mut work = WorkList::default();
    for (index, tensor) in tensors.iter().enumerate() {
        work.push(index, tensor);
    }
    let prepared = [1.0, 7.0].map(|step| Prepared::new(&adam, false, step, false));
    // SAFETY: the buffers live on, are separate, and nobody else uses them.
    unsafe {
        step(
            Isa::current(),
            2,
            &prepared,
            &[0, 1, 1],
            &tensors,
            &work,
            1.0,
        )
    };
    for (tensor, wanted) in together.iter_mut().zip(&alone) {
        assert_same_bits(&contents(tensor), wanted, "together");
    }
}
