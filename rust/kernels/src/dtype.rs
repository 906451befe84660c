//! Element types: how a run of memory becomes the type of computation and goes back.
//!
//! bfloat16 and float16 are computed in `f32`, and rounded once when they are stored (to nearest,
//! ties to even). Loads and stores may be unaligned and strided.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::isa::{Isa, per_isa};

/// The type of a buffer's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary64.
    F64,
    /// IEEE binary32.
    F32,
    /// bfloat16: the upper half of a binary32.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl DType {
    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }

    /// torch's and numpy's name.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "float64",
            DType::F32 => "float32",
            DType::Bf16 => "bfloat16",
            DType::F16 => "float16",
        }
    }
}

/// A type of computation: `f32`, or `f64` for `f64` buffers.
pub trait Float:
    Copy
    + Debug
    + Send
    + Sync
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// 0
    const ZERO: Self;
    /// The buffers that need no decoding.
    const DTYPE: DType;
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
    /// The same value in `f64`.
    fn to_f64(self) -> f64;
    /// Correctly rounded square root.
    fn sqrt(self) -> Self;
    /// Neither infinite nor NaN.
    #[inline(always)]
    fn is_finite(self) -> bool {
        self * Self::ZERO == Self::ZERO
    }
    /// Reads a dense run into `to`, for bodies inside [`per_isa!`].
    ///
    /// # Safety
    /// `from` is valid for reads of as many elements of `dtype`.
    unsafe fn decode(dtype: DType, from: *const u8, to: &mut [Self]);
    /// Writes a dense run, for bodies inside [`per_isa!`].
    ///
    /// # Safety
    /// `to` is valid for writes of as many elements of `dtype`.
    unsafe fn encode(dtype: DType, from: &[Self], to: *mut u8);
    /// Reads `grid` from `from`, row by row, into `to`, whose length is a multiple of the number of
    /// rows: each row begins at such a part, which may be longer than it.
    ///
    /// # Safety
    /// Every element of `grid` around `from` is valid for reads of `dtype`.
    unsafe fn load(isa: Isa, dtype: DType, from: *const u8, grid: Grid, to: &mut [Self]);
    /// Writes `from`, laid out as by `load`, to `grid` around `to`.
    ///
    /// # Safety
    /// Every element of `grid` around `to` is valid for writes of `dtype`.
    unsafe fn store(isa: Isa, dtype: DType, from: &[Self], grid: Grid, to: *mut u8);
}

/// A two-dimensional piece of a buffer; strides in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// How many rows.
    pub rows: usize,
    /// How many elements a row.
    pub cols: usize,
    /// From a row to the next.
    pub row_stride: isize,
    /// From an element to the next in its row.
    pub col_stride: isize,
}

impl Grid {
    /// The distance of rows that are laid out in `len` elements.
    fn pitch(&self, len: usize) -> usize {
        assert!(
            len.is_multiple_of(self.rows) && len >= self.rows * self.cols,
            "{len} elements for {self:?}"
        );
        len / self.rows
    }
}

/// An element as it lies in memory.
trait Element<F>: Copy + 'static {
    fn decode(self) -> F;
    fn encode(value: F) -> Self;
}

impl Element<f64> for f64 {
    #[inline(always)]
    fn decode(self) -> f64 {
        self
    }
    #[inline(always)]
    fn encode(value: f64) -> f64 {
        value
    }
}

impl Element<f32> for f32 {
    #[inline(always)]
    fn decode(self) -> f32 {
        self
    }
    #[inline(always)]
    fn encode(value: f32) -> f32 {
        value
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bf16(u16);

impl Element<f32> for Bf16 {
    #[inline(always)]
    fn decode(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    #[inline(always)]
    fn encode(value: f32) -> Bf16 {
        let bits = value.to_bits();
        let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        Bf16(if value.is_nan() { 0x7fc0 } else { nearest })
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct F16(u16);

impl Element<f32> for F16 {
    #[inline(always)]
    fn decode(self) -> f32 {
        const SUBNORMAL_UNIT: f32 = 5.960_464_5e-8; // 2^-24
        let sign = u32::from(self.0 & 0x8000) << 16;
        let magnitude = i32::from(self.0 & 0x7fff);
        let subnormal = (magnitude as f32 * SUBNORMAL_UNIT).to_bits();
        let shifted = (magnitude as u32) << 13;
        let normal = shifted + (112 << 23); // 127 − 15: the difference of the exponents' biases
        let infinite_or_nan = shifted | 0x7f80_0000;
        let bits = if magnitude < 0x0400 {
            subnormal
        } else if magnitude < 0x7c00 {
            normal
        } else {
            infinite_or_nan
        };
        f32::from_bits(bits | sign)
    }
    #[inline(always)]
    fn encode(value: f32) -> F16 {
        let bits = value.to_bits();
        let sign = (bits >> 16) & 0x8000;
        let magnitude = bits & 0x7fff_ffff;
        let nearest = magnitude.wrapping_add(0xfff + ((magnitude >> 13) & 1));
        let normal = nearest.wrapping_sub(112 << 23) >> 13;
        // Adding one half lets the adder round: its unit in the last place is 2^-24, a subnormal's.
        let subnormal = (f32::from_bits(magnitude) + 0.5)
            .to_bits()
            .wrapping_sub(0x3f00_0000);
        let half = if magnitude > 0x7f80_0000 {
            0x7e00
        } else if magnitude >= 0x4780_0000 {
            0x7c00 // 65536 and more
        } else if magnitude >= 0x3880_0000 {
            normal
        } else {
            subnormal
        };
        F16((half | sign) as u16)
    }
}

/// # Safety
/// `from` is valid for reads of as many elements.
#[inline(always)]
unsafe fn decode_run<F, T: Element<F>>(from: *const T, to: &mut [F]) {
    for (i, to) in to.iter_mut().enumerate() {
        // SAFETY: by contract.
        *to = unsafe { from.add(i).read_unaligned() }.decode();
    }
}

/// # Safety
/// `to` is valid for writes of as many elements.
#[inline(always)]
unsafe fn encode_run<F: Copy, T: Element<F>>(from: &[F], to: *mut T) {
    for (i, from) in from.iter().enumerate() {
        // SAFETY: by contract.
        unsafe { to.add(i).write_unaligned(T::encode(*from)) };
    }
}

per_isa! {
    /// # Safety
    /// Every element of `grid` around `from` is valid for reads.
    unsafe fn load_as[F: Float, T: Element<F>][F, T](from: *const T, grid: Grid, to: &mut [F]) {
        let Grid { rows, cols, row_stride, col_stride } = grid;
        let pitch = grid.pitch(to.len());
        if col_stride == 1 {
            for (row, to) in to.chunks_exact_mut(pitch).enumerate() {
                // SAFETY: the caller vouches for every element of the grid.
                unsafe { decode_run(from.offset(row as isize * row_stride), &mut to[..cols]) };
            }
            return;
        }
        // Columns outside: where rows are adjacent in memory, each cache line is read once.
        for col in 0..cols {
            // SAFETY: as above.
            unsafe {
                let from = from.offset(col as isize * col_stride);
                for row in 0..rows {
                    let value = from.offset(row as isize * row_stride).read_unaligned().decode();
                    *to.get_unchecked_mut(row * pitch + col) = value;
                }
            }
        }
    }
}

per_isa! {
    /// # Safety
    /// Every element of `grid` around `to` is valid for writes.
    unsafe fn store_as[F: Float, T: Element<F>][F, T](from: &[F], grid: Grid, to: *mut T) {
        let Grid { rows, cols, row_stride, col_stride } = grid;
        let pitch = grid.pitch(from.len());
        if col_stride == 1 {
            for (row, from) in from.chunks_exact(pitch).enumerate() {
                // SAFETY: the caller vouches for every element of the grid.
                unsafe { encode_run(&from[..cols], to.offset(row as isize * row_stride)) };
            }
            return;
        }
        for col in 0..cols {
            // SAFETY: as above.
            unsafe {
                let to = to.offset(col as isize * col_stride);
                for row in 0..rows {
                    let value = T::encode(*from.get_unchecked(row * pitch + col));
                    to.offset(row as isize * row_stride).write_unaligned(value);
                }
            }
        }
    }
}

impl Float for f32 {
    const ZERO: f32 = 0.0;
    const DTYPE: DType = DType::F32;
    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        self.sqrt()
    }
    #[inline(always)]
    unsafe fn decode(dtype: DType, from: *const u8, to: &mut [f32]) {
        // SAFETY: the caller vouches for the run in this dtype.
        unsafe {
            match dtype {
                DType::F32 => decode_run::<f32, f32>(from.cast(), to),
                DType::Bf16 => decode_run::<f32, Bf16>(from.cast(), to),
                DType::F16 => decode_run::<f32, F16>(from.cast(), to),
                DType::F64 => unreachable!("f64 buffers are computed in f64"),
            }
        }
    }
    #[inline(always)]
    unsafe fn encode(dtype: DType, from: &[f32], to: *mut u8) {
        // SAFETY: the caller vouches for the run in this dtype.
        unsafe {
            match dtype {
                DType::F32 => encode_run::<f32, f32>(from, to.cast()),
                DType::Bf16 => encode_run::<f32, Bf16>(from, to.cast()),
                DType::F16 => encode_run::<f32, F16>(from, to.cast()),
                DType::F64 => unreachable!("f64 buffers are computed in f64"),
            }
        }
    }
    unsafe fn load(isa: Isa, dtype: DType, from: *const u8, grid: Grid, to: &mut [f32]) {
        // SAFETY: the caller vouches for the grid in this dtype.
        unsafe {
            match dtype {
                DType::F32 => load_as::<f32, f32>(isa, from.cast(), grid, to),
                DType::Bf16 => load_as::<f32, Bf16>(isa, from.cast(), grid, to),
                DType::F16 => load_as::<f32, F16>(isa, from.cast(), grid, to),
                DType::F64 => unreachable!("f64 buffers are computed in f64"),
            }
        }
    }
    unsafe fn store(isa: Isa, dtype: DType, from: &[f32], grid: Grid, to: *mut u8) {
        // SAFETY: the caller vouches for the grid in this dtype.
        unsafe {
            match dtype {
                DType::F32 => store_as::<f32, f32>(isa, from, grid, to.cast()),
                DType::Bf16 => store_as::<f32, Bf16>(isa, from, grid, to.cast()),
                DType::F16 => store_as::<f32, F16>(isa, from, grid, to.cast()),
                DType::F64 => unreachable!("f64 buffers are computed in f64"),
            }
        }
    }
}

impl Float for f64 {
    const ZERO: f64 = 0.0;
    const DTYPE: DType = DType::F64;
    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        self.sqrt()
    }
    #[inline(always)]
    unsafe fn decode(dtype: DType, from: *const u8, to: &mut [f64]) {
        assert!(dtype == DType::F64, "only f64 buffers are computed in f64");
        // SAFETY: the caller vouches for the run.
        unsafe { decode_run::<f64, f64>(from.cast(), to) };
    }
    #[inline(always)]
    unsafe fn encode(dtype: DType, from: &[f64], to: *mut u8) {
        assert!(dtype == DType::F64, "only f64 buffers are computed in f64");
        // SAFETY: the caller vouches for the run.
        unsafe { encode_run::<f64, f64>(from, to.cast()) };
    }
    unsafe fn load(isa: Isa, dtype: DType, from: *const u8, grid: Grid, to: &mut [f64]) {
        assert!(dtype == DType::F64, "only f64 buffers are computed in f64");
        // SAFETY: the caller vouches for the grid.
        unsafe { load_as::<f64, f64>(isa, from.cast(), grid, to) };
    }
    unsafe fn store(isa: Isa, dtype: DType, from: &[f64], grid: Grid, to: *mut u8) {
        assert!(dtype == DType::F64, "only f64 buffers are computed in f64");
        // SAFETY: the caller vouches for the grid.
        unsafe { store_as::<f64, f64>(isa, from, grid, to.cast()) };
    }
}

/// Values of 16 bits in 32: `dtype` is [`DType::Bf16`] or [`DType::F16`].
pub fn widened(dtype: DType, bits: &[u16]) -> Vec<f32> {
    assert!(dtype.size() == 2, "{dtype:?} has not 16 bits");
    let mut wide = vec![0.0; bits.len()];
    let grid = Grid {
        rows: 1,
        cols: bits.len(),
        row_stride: 0,
        col_stride: 1,
    };
    if !bits.is_empty() {
        // SAFETY: the grid is the slice, and its elements are as wide as the type's.
        unsafe { f32::load(Isa::current(), dtype, bits.as_ptr().cast(), grid, &mut wide) };
    }
    wide
}

/// A list of few numbers, in `f64`.
///
/// # Safety
/// Its elements, `stride` apart from `from` on, are valid for reads.
pub unsafe fn numbers(dtype: DType, from: *const u8, len: usize, stride: isize) -> Vec<f64> {
    if len == 0 {
        return Vec::new();
    }
    let grid = Grid {
        rows: 1,
        cols: len,
        row_stride: 0,
        col_stride: stride,
    };
    // SAFETY: by contract, the grid is the list.
    unsafe {
        if dtype == DType::F64 {
            let mut wide = vec![0.0; len];
            f64::load(Isa::current(), dtype, from, grid, &mut wide);
            wide
        } else {
            let mut wide = vec![0.0; len];
            f32::load(Isa::current(), dtype, from, grid, &mut wide);
            wide.into_iter().map(f64::from).collect()
        }
    }
}

/// Writes such a list, each number rounded once to `f64` or `f32` and from there to the type.
///
/// # Safety
/// Its elements, `stride` apart from `to` on, are valid for writes.
pub unsafe fn set_numbers(dtype: DType, to: *mut u8, stride: isize, numbers: &[f64]) {
    if numbers.is_empty() {
        return;
    }
    let grid = Grid {
        rows: 1,
        cols: numbers.len(),
        row_stride: 0,
        col_stride: stride,
    };
    // SAFETY: by contract, the grid is the list.
    unsafe {
        if dtype == DType::F64 {
            f64::store(Isa::current(), dtype, numbers, grid, to);
        } else {
            let narrow: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
            f32::store(Isa::current(), dtype, &narrow, grid, to);
        }
    }
}
