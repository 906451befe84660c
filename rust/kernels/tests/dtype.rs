//! Loads and stores give what the crate `half` gives, on every instruction set and any grid.

mod cases;

use cases::cases;
use half::{bf16, f16};
use ironstep_kernels::dtype::{DType, Float, Grid};
use ironstep_kernels::isa::Isa;
use proptest::prelude::*;

const HALVES: [DType; 2] = [DType::F16, DType::Bf16];

fn row(cols: usize) -> Grid {
    Grid {
        rows: 1,
        cols,
        row_stride: 0,
        col_stride: 1,
    }
}

fn decode(isa: Isa, dtype: DType, bits: &[u16]) -> Vec<f32> {
    let mut values = vec![0.0; bits.len()];
    // SAFETY: the grid is the slice.
    unsafe {
        f32::load(
            isa,
            dtype,
            bits.as_ptr().cast(),
            row(bits.len()),
            &mut values,
        )
    };
    values
}

fn encode(isa: Isa, dtype: DType, values: &[f32]) -> Vec<u16> {
    let mut bits = vec![0_u16; values.len()];
    // SAFETY: as above.
    unsafe {
        f32::store(
            isa,
            dtype,
            values,
            row(values.len()),
            bits.as_mut_ptr().cast(),
        )
    };
    bits
}

fn oracle_decode(dtype: DType, bits: u16) -> f32 {
    match dtype {
        DType::F16 => f16::from_bits(bits).to_f32(),
        _ => bf16::from_bits(bits).to_f32(),
    }
}

fn oracle_encode(dtype: DType, value: f32) -> u16 {
    match dtype {
        DType::F16 => f16::from_f32(value).to_bits(),
        _ => bf16::from_f32(value).to_bits(),
    }
}

fn is_nan(dtype: DType, bits: u16) -> bool {
    let infinity = if dtype == DType::F16 { 0x7c00 } else { 0x7f80 };
    bits & 0x7fff > infinity
}

fn assert_encoded(dtype: DType, values: &[f32], wanted: impl Fn(f32) -> u16) {
    for &isa in Isa::available() {
        for (&value, got) in values.iter().zip(encode(isa, dtype, values)) {
            let right = if value.is_nan() {
                is_nan(dtype, got)
            } else {
                got == wanted(value)
            };
            let bits = value.to_bits();
            assert!(
                right,
                "{isa:?} {dtype:?}: {value:e} ({bits:#010x}) gives {got:#06x}"
            );
        }
    }
}

#[test]
fn every_half_decodes() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for dtype in HALVES {
        for &isa in Isa::available() {
            for (&bits, got) in all.iter().zip(decode(isa, dtype, &all)) {
                let wanted = oracle_decode(dtype, bits);
                let right = if wanted.is_nan() {
                    got.is_nan()
                } else {
                    got.to_bits() == wanted.to_bits()
                };
                assert!(
                    right,
                    "{isa:?} {dtype:?}: {bits:#06x} gives {got:e}, not {wanted:e}"
                );
            }
        }
    }
}

#[test]
fn every_half_its_neighbours_and_the_ties_between_round_to_nearest_even() {
    for dtype in HALVES {
        let mut values = Vec::new();
        for bits in 0..=u16::MAX {
            let value = oracle_decode(dtype, bits);
            let next = oracle_decode(dtype, bits.wrapping_add(1));
            let tie = (f64::from(value) + f64::from(next)) / 2.0;
            for around in [value, tie as f32] {
                values.extend([around.next_down(), around, around.next_up()]);
            }
        }
        assert_encoded(dtype, &values, |value| oracle_encode(dtype, value));
    }
}

#[test]
fn a_dense_sample_of_all_f32_is_rounded_as_half_does() {
    // A prime step: the low bits vary as the high ones do.
    let values: Vec<f32> = (0..=u32::MAX).step_by(10_007).map(f32::from_bits).collect();
    for dtype in HALVES {
        assert_encoded(dtype, &values, |value| oracle_encode(dtype, value));
    }
}

#[test]
#[ignore = "all 2^32 values: minutes, and only with --release"]
fn every_f32_is_rounded_as_half_does() {
    for high in 0..=u16::MAX {
        let values: Vec<f32> = (0..=u16::MAX)
            .map(|low| f32::from_bits(u32::from(high) << 16 | u32::from(low)))
            .collect();
        for dtype in HALVES {
            assert_encoded(dtype, &values, |value| oracle_encode(dtype, value));
        }
    }
}

#[test]
fn the_edges_of_the_types_are_where_ieee_puts_them() {
    let f16_edges = [
        (65519.996, 0x7bff), // the largest that does not round to infinity
        (65520.0, 0x7c00),
        (f32::MAX, 0x7c00),
        (f32::INFINITY, 0x7c00),
        (6.103_515_6e-5, 0x0400), // smallest normal, 2^-14
        (5.960_464_5e-8, 0x0001), // smallest subnormal, 2^-24
        (2.980_232_2e-8, 0x0000), // half of it: a tie, to even
        (2.980_232_6e-8, 0x0001),
        (f32::from_bits(1), 0x0000),
    ];
    let bf16_edges = [
        (f32::MAX, 0x7f80),
        (f32::from_bits(0x7f7f_7fff), 0x7f7f),
        (f32::from_bits(0x7f7f_8000), 0x7f80),
        (f32::MIN_POSITIVE, 0x0080),
        (f32::from_bits(0x0000_8000), 0x0000), // half of the smallest subnormal
        (f32::from_bits(0x0000_8001), 0x0001),
        (f32::from_bits(0x0001_8000), 0x0002),
    ];
    for (dtype, edges) in [(DType::F16, &f16_edges[..]), (DType::Bf16, &bf16_edges)] {
        for &(value, bits) in edges {
            assert_encoded(dtype, &[value], |_| bits);
            assert_encoded(dtype, &[-value], |_| bits | 0x8000);
        }
    }
}

#[test]
fn no_nan_becomes_infinity_or_a_number() {
    // The payload sits in bits that rounding cuts off, or would carry into the sign.
    let payloads = [
        0x7f80_0001,
        0x7fff_ffff,
        0x7f80_8000,
        0xff80_0001,
        0xffff_ffff,
        0x7fc0_0000,
    ];
    for dtype in HALVES {
        assert_encoded(dtype, &payloads.map(f32::from_bits), |_| unreachable!());
    }
}

#[test]
fn f32_and_f64_travel_bit_for_bit() {
    let singles: Vec<f32> = (0..=u32::MAX)
        .step_by(1_000_003)
        .map(f32::from_bits)
        .collect();
    let doubles: Vec<f64> = (0..4_000_u64)
        .map(|i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    for &isa in Isa::available() {
        let mut loaded = vec![0.0_f32; singles.len()];
        let mut stored = vec![0.0_f32; singles.len()];
        // SAFETY: the grids are the slices.
        unsafe {
            f32::load(
                isa,
                DType::F32,
                singles.as_ptr().cast(),
                row(singles.len()),
                &mut loaded,
            );
            f32::store(
                isa,
                DType::F32,
                &loaded,
                row(loaded.len()),
                stored.as_mut_ptr().cast(),
            );
        }
        assert!(
            singles
                .iter()
                .map(|v| v.to_bits())
                .eq(stored.iter().map(|v| v.to_bits()))
        );
        let mut loaded = vec![0.0_f64; doubles.len()];
        let mut stored = vec![0.0_f64; doubles.len()];
        // SAFETY: as above.
        unsafe {
            f64::load(
                isa,
                DType::F64,
                doubles.as_ptr().cast(),
                row(doubles.len()),
                &mut loaded,
            );
            f64::store(
                isa,
                DType::F64,
                &loaded,
                row(loaded.len()),
                stored.as_mut_ptr().cast(),
            );
        }
        assert!(
            doubles
                .iter()
                .map(|v| v.to_bits())
                .eq(stored.iter().map(|v| v.to_bits()))
        );
    }
}

/// The bytes of small whole numbers, which every type holds exactly.
fn bytes_of(dtype: DType, number: u8) -> Vec<u8> {
    match dtype {
        DType::F64 => f64::from(number).to_ne_bytes().to_vec(),
        DType::F32 => f32::from(number).to_ne_bytes().to_vec(),
        DType::F16 => f16::from(number).to_ne_bytes().to_vec(),
        DType::Bf16 => bf16::from_f32(f32::from(number)).to_ne_bytes().to_vec(),
    }
}

/// Loads a grid of such numbers, adds 1 and stores it: in place of all elements and nothing else.
fn add_1<F: Float>(isa: Isa, dtype: DType, grid: Grid, first: usize, memory: &mut [u8]) {
    let one = F::from_f64(1.0);
    let mut values = vec![F::ZERO; grid.rows * grid.cols];
    // SAFETY: the caller's grid lies in `memory`.
    unsafe {
        let first = memory.as_mut_ptr().add(first);
        F::load(isa, dtype, first, grid, &mut values);
        values.iter_mut().for_each(|value| *value = *value + one);
        F::store(isa, dtype, &values, grid, first);
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn grids_of_any_strides_and_alignment(
        dtype in prop::sample::select(vec![DType::F64, DType::F32, DType::Bf16, DType::F16]),
        rows in 1_usize..40,
        cols in 1_usize..40,
        col_step in 1_isize..4,
        gap in 0_isize..3,
        transposed: bool,
        flips: (bool, bool),
        misaligned in 0_usize..8,
    ) {
        let width = dtype.size();
        let (mut row_stride, mut col_stride) = (cols as isize * col_step + gap, col_step);
        if transposed {
            (row_stride, col_stride) = (col_step, rows as isize * col_step + gap);
        }
        let mut offset = 0;
        if flips.0 {
            offset += (rows - 1) * row_stride as usize;
            row_stride = -row_stride;
        }
        if flips.1 {
            offset += (cols - 1) * col_stride as usize;
            col_stride = -col_stride;
        }
        let grid = Grid { rows, cols, row_stride, col_stride };
        let first = misaligned + offset * width;
        let len = (rows - 1) * row_stride.unsigned_abs() + (cols - 1) * col_stride.unsigned_abs() + 1;
        let places: Vec<usize> = (0..rows as isize)
            .flat_map(|row| (0..cols as isize).map(move |col| row * row_stride + col * col_stride))
            .map(|step| first.wrapping_add_signed(step * width as isize))
            .collect();
        for &isa in Isa::available() {
            let mut memory = vec![0xa5; misaligned + len * width + 8];
            let mut wanted = memory.clone();
            for (index, &place) in places.iter().enumerate() {
                let number = (index % 200) as u8;
                memory[place..place + width].copy_from_slice(&bytes_of(dtype, number));
                wanted[place..place + width].copy_from_slice(&bytes_of(dtype, number + 1));
            }
            if dtype == DType::F64 {
                add_1::<f64>(isa, dtype, grid, first, &mut memory);
            } else {
                add_1::<f32>(isa, dtype, grid, first, &mut memory);
            }
            prop_assert_eq!(&memory, &wanted, "{:?}", isa);
        }
    }

    #[test]
    fn any_length_is_the_same_on_every_instruction_set(
        values in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 1..200),
    ) {
        for dtype in HALVES {
            let plain = encode(Isa::SCALAR, dtype, &values);
            let decoded: Vec<u32> = decode(Isa::SCALAR, dtype, &plain).iter().map(|v| v.to_bits()).collect();
            for &isa in Isa::available() {
                prop_assert_eq!(&encode(isa, dtype, &values), &plain);
                let again: Vec<u32> = decode(isa, dtype, &plain).iter().map(|v| v.to_bits()).collect();
                prop_assert_eq!(&again, &decoded);
            }
        }
    }
}
