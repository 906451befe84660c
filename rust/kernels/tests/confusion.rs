//! Counts of pairs of labels against a map that counts one after another.

use std::collections::{BTreeMap, BTreeSet};

use ironstep_kernels::isa::Isa;
use ironstep_kernels::metrics::agreement::count_equal;
use ironstep_kernels::metrics::confusion::{NoCounts, PairCounts, count_pairs};
use ironstep_kernels::metrics::labels::{LabelType, Labels};
use ironstep_kernels::metrics::weighted::weigh_pairs;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const TYPES: [LabelType; 9] = [
    LabelType::Bool,
    LabelType::I8,
    LabelType::I16,
    LabelType::I32,
    LabelType::I64,
    LabelType::U8,
    LabelType::U16,
    LabelType::U32,
    LabelType::U64,
];

/// A column in memory of its own: elements of `dtype`, `gap` bytes between them, from `offset` on, and
/// backwards if asked.
struct Column {
    bytes: Vec<u8>,
    first: usize,
    stride: isize,
    dtype: LabelType,
    values: Vec<i128>,
}

fn size_and_range(dtype: LabelType) -> (usize, i128, i128) {
    match dtype {
        LabelType::Bool => (1, 0, 1),
        LabelType::I8 => (1, i8::MIN.into(), i8::MAX.into()),
        LabelType::I16 => (2, i16::MIN.into(), i16::MAX.into()),
        LabelType::I32 => (4, i32::MIN.into(), i32::MAX.into()),
        LabelType::I64 => (8, i64::MIN.into(), i64::MAX.into()),
        LabelType::U8 => (1, 0, u8::MAX.into()),
        LabelType::U16 => (2, 0, u16::MAX.into()),
        LabelType::U32 => (4, 0, u32::MAX.into()),
        LabelType::U64 => (8, 0, u64::MAX.into()),
    }
}

impl Column {
    fn new(dtype: LabelType, values: &[i128], gap: usize, offset: usize, reversed: bool) -> Column {
        let (size, low, high) = size_and_range(dtype);
        let values: Vec<i128> = values.iter().map(|&v| v.clamp(low, high)).collect();
        let step = size + gap;
        let mut bytes = vec![0xa5; offset + step * values.len() + 8];
        let place = |index: usize| {
            let index = if reversed {
                values.len() - 1 - index
            } else {
                index
            };
            offset + step * index
        };
        for (index, value) in values.iter().enumerate() {
            // numpy's bool may be any byte but 0.
            let value = if dtype == LabelType::Bool && *value != 0 {
                1 + index as i128 % 255
            } else {
                *value
            };
            bytes[place(index)..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        let stride = step as isize * if reversed { -1 } else { 1 };
        let first = if values.is_empty() { offset } else { place(0) };
        Column {
            first,
            bytes,
            stride,
            dtype,
            values,
        }
    }

    fn labels(&self) -> Labels {
        // SAFETY: `new` wrote as many elements there.
        unsafe {
            let first = self.bytes.as_ptr().add(self.first);
            Labels::new(first, self.values.len(), self.stride, self.dtype)
        }
    }
}

/// Labels in order, and the table.
fn oracle(y_true: &[i128], y_pred: &[i128]) -> (Vec<i128>, Vec<u64>) {
    let labels: BTreeSet<i128> = y_true.iter().chain(y_pred).copied().collect();
    let mut counts = BTreeMap::new();
    for pair in y_true.iter().zip(y_pred) {
        *counts.entry(pair).or_insert(0) += 1;
    }
    let table = labels
        .iter()
        .flat_map(|row| labels.iter().map(move |column| (row, column)));
    let table = table
        .map(|pair| counts.get(&pair).copied().unwrap_or(0))
        .collect();
    (labels.into_iter().collect(), table)
}

fn counted(y_true: &Column, y_pred: &Column) -> Result<PairCounts, NoCounts> {
    let count = |isa, threads| {
        count_pairs(
            isa,
            threads,
            &y_true.labels(),
            &y_pred.labels(),
            &mut || true,
        )
    };
    let first = count(Isa::SCALAR, 1);
    for &isa in Isa::available() {
        for threads in [1, 2, 3] {
            assert_eq!(count(isa, threads), first, "{isa:?}, {threads} threads");
        }
    }
    first
}

/// What is counted is right; labels within 128 of each other are counted.
fn check(y_true: &Column, y_pred: &Column) {
    let (labels, table) = oracle(&y_true.values, &y_pred.values);
    match counted(y_true, y_pred) {
        Ok(counts) => {
            let got: Vec<i128> = counts.labels.iter().map(|&label| label.into()).collect();
            assert_eq!((got, counts.counts), (labels, table));
        }
        Err(reason) => {
            assert_eq!(reason, NoCounts::TooWide);
            let (low, high) = (labels[0], labels[labels.len() - 1]);
            assert!(high - low >= 128 || high > i64::MAX.into());
        }
    }
}

fn values() -> impl Strategy<Value = Vec<(i128, i128)>> {
    let centre = select(vec![
        0_i128,
        1,
        -1,
        14,
        100,
        -100,
        127,
        255,
        1 << 15,
        1 << 31,
        -(1 << 31),
        (1 << 32) - 1,
        1 << 40,
        i64::MAX.into(),
        i64::MIN.into(),
        u64::MAX.into(),
    ]);
    let width = select(vec![1_i128, 2, 3, 10, 17, 120, 5000]);
    (centre, width, 0..3000_usize).prop_flat_map(|(centre, width, n)| {
        let label = centre - width / 2..centre - width / 2 + width;
        vec((label.clone(), label), n)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_type_stride_and_range(
        pairs in values(),
        types in (select(&TYPES[..]), select(&TYPES[..])),
        same_type: bool,
        gaps in (select(vec![0_usize, 0, 1, 8]), select(vec![0_usize, 0, 1, 8])),
        offsets in (0..9_usize, 0..9_usize),
        reversed in any::<(bool, bool)>(),
    ) {
        let (truth, pred): (Vec<i128>, Vec<i128>) = pairs.into_iter().unzip();
        let type_pred = if same_type { types.0 } else { types.1 };
        let y_true = Column::new(types.0, &truth, gaps.0, offsets.0, reversed.0);
        let y_pred = Column::new(type_pred, &pred, gaps.1, offsets.1, reversed.1);
        check(&y_true, &y_pred);
        if types.0 == type_pred {
            let equal = y_true.values.iter().zip(&y_pred.values).filter(|(a, b)| a == b).count();
            for &isa in Isa::available() {
                let (y_true, y_pred) = (y_true.labels(), y_pred.labels());
                let got = count_equal(isa, 2, &y_true, &y_pred, &mut || true);
                prop_assert_eq!(got, Ok(equal as u64));
            }
        }
    }

    #[test]
    fn weights_are_added_as_if_by_a_longer_float(
        pairs in vec((0..20_i128, 0..3_i128, -1e6..1e6_f64), 1..2000),
    ) {
        let truth: Vec<i128> = pairs.iter().map(|pair| pair.0).collect();
        let pred: Vec<i128> = pairs.iter().map(|pair| pair.1).collect();
        let weights: Vec<f64> = pairs.iter().map(|pair| pair.2).collect();
        let y_true = Column::new(LabelType::I64, &truth, 0, 0, false);
        let y_pred = Column::new(LabelType::U8, &pred, 0, 0, false);
        let weigh = |isa, threads| {
            weigh_pairs(isa, threads, &y_true.labels(), &y_pred.labels(), &weights, &mut || true)
        };
        let got = weigh(Isa::SCALAR, 1).unwrap();
        for &isa in Isa::available() {
            prop_assert_eq!(weigh(isa, 3).unwrap(), got.clone());
        }
        let width = got.labels.len();
        for (row, &label_true) in got.labels.iter().enumerate() {
            for (column, &label_pred) in got.labels.iter().enumerate() {
                let of_pair = pairs.iter().filter(|pair| {
                    (pair.0, pair.1) == (label_true.into(), label_pred.into())
                });
                // Multiples of 2⁻⁶⁰ up to 2²⁰ are exact in i128.
                let exact: i128 = of_pair.clone().map(|pair| (pair.2 * 2_f64.powi(60)) as i128).sum();
                let size: f64 = of_pair.map(|pair| pair.2.abs()).sum();
                let exact = exact as f64 / 2_f64.powi(60);
                let sum = got.weights[row * width + column];
                prop_assert!((sum - exact).abs() <= exact.abs() * f64::EPSILON + size * 1e-29);
            }
        }
    }
}

/// More than one tile and one piece of work, and a label that only the last tile has.
#[test]
fn a_late_label_begins_again() {
    let n = 140_001;
    for late in [3, 14, 15, -2, 200, 3000] {
        for dtype in [LabelType::I64, LabelType::I32, LabelType::I16] {
            let mut truth: Vec<i128> = (0..n).map(|i| i % 7).collect();
            let pred: Vec<i128> = (0..n).map(|i| (i * i) % 5).collect();
            truth[n as usize - 1] = late;
            let y_true = Column::new(dtype, &truth, 0, 0, false);
            let y_pred = Column::new(dtype, &pred, 0, 0, false);
            check(&y_true, &y_pred);
        }
    }
}

#[test]
fn weights_of_many_parts_do_not_depend_on_threads() {
    let n = 400_000;
    let truth: Vec<i128> = (0..n).map(|i| i % 3).collect();
    let y_true = Column::new(LabelType::I32, &truth, 0, 0, false);
    let weights: Vec<f64> = (0..n).map(|i| 1.0 / (1.0 + i as f64)).collect();
    let weigh = |threads| {
        let (y_true, isa) = (y_true.labels(), Isa::current());
        weigh_pairs(isa, threads, &y_true, &y_true, &weights, &mut || true)
    };
    assert_eq!(weigh(1), weigh(2));
    assert_eq!(weigh(1), weigh(5));
}

#[test]
fn a_stop_is_an_answer() {
    // Two pieces of 2²⁵: the question comes in between.
    let bytes = vec![1_u8; (1 << 25) + 1];
    // SAFETY: as many bytes.
    let labels = unsafe { Labels::new(bytes.as_ptr(), bytes.len(), 1, LabelType::U8) };
    let stopped = count_pairs(Isa::current(), 2, &labels, &labels, &mut || false);
    assert_eq!(stopped, Err(NoCounts::Stopped));
}
