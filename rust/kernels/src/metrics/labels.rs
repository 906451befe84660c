//! Columns of labels: integers of any width, or bools, with any stride.

use std::fmt::Debug;
use std::ops::BitOr;

/// The type of a column's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum LabelType {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

/// A column that its owner keeps alive. Every element is readable, of the type it says.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    data: *const u8,
    len: usize,
    stride: isize,
    dtype: LabelType,
}

// SAFETY: the memory is only read, and `Labels::new` asks that it be readable as long as it is used.
unsafe impl Send for Labels {}
// SAFETY: as above.
unsafe impl Sync for Labels {}

impl Labels {
    /// `len` elements, `stride` bytes from one to the next.
    ///
    /// # Safety
    /// All of them are valid for reads of `dtype` while this value is used. They may be unaligned.
    pub unsafe fn new(data: *const u8, len: usize, stride: isize, dtype: LabelType) -> Labels {
        Labels {
            data,
            len,
            stride,
            dtype,
        }
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements' type.
    pub fn dtype(&self) -> LabelType {
        self.dtype
    }

    /// The first `len` labels, or all if there are fewer.
    pub(super) fn first(&self, len: usize) -> Labels {
        Labels {
            len: len.min(self.len),
            ..*self
        }
    }

    /// The elements from `start` on, as they lie in memory; `None` if they are not dense and aligned.
    #[inline]
    pub(super) fn dense<T: Label>(&self, start: usize, len: usize) -> Option<&[T]> {
        let first = self.at::<T>(start, len);
        let is_dense = self.stride == size_of::<T>() as isize && first.is_aligned();
        // SAFETY: dense, aligned and readable (`new`); any bits are a value of `T`.
        is_dense.then(|| unsafe { std::slice::from_raw_parts(first, len) })
    }

    /// The elements from `start` on, as many as `buffer` has; copied into it where they are not dense.
    #[inline]
    pub(super) fn read<'a, T: Label>(&'a self, start: usize, buffer: &'a mut [T]) -> &'a [T] {
        if let Some(values) = self.dense(start, buffer.len()) {
            return values;
        }
        let first = self.at::<T>(start, buffer.len());
        for (i, value) in buffer.iter_mut().enumerate() {
            // SAFETY: element `start + i` is one of the column's (`at`), and readable (`new`).
            *value = unsafe { first.byte_offset(i as isize * self.stride).read_unaligned() };
        }
        buffer
    }

    /// Where element `start` is, if there are `len` from it on.
    #[inline]
    fn at<T: Label>(&self, start: usize, len: usize) -> *const T {
        let end = start.checked_add(len);
        assert!(T::DTYPE == self.dtype && end.is_some_and(|end| end <= self.len));
        // In bounds, or one past the end if none is read.
        self.data
            .wrapping_offset(start as isize * self.stride)
            .cast::<T>()
    }
}

/// Calls a generic function with the column's type: `with_type!(dtype, function(args…))`.
macro_rules! with_type {
    ($dtype:expr, $function:ident($($arg:expr),* $(,)?)) => {{
        use $crate::metrics::labels::{Flag, LabelType};
        match $dtype {
            LabelType::Bool => $function::<Flag>($($arg),*),
            LabelType::I8 => $function::<i8>($($arg),*),
            LabelType::I16 => $function::<i16>($($arg),*),
            LabelType::I32 => $function::<i32>($($arg),*),
            LabelType::I64 => $function::<i64>($($arg),*),
            LabelType::U8 => $function::<u8>($($arg),*),
            LabelType::U16 => $function::<u16>($($arg),*),
            LabelType::U32 => $function::<u32>($($arg),*),
            LabelType::U64 => $function::<u64>($($arg),*),
        }
    }};
}
pub(super) use with_type;

/// An unsigned type in which labels are counted from the lowest: 32 bits if the labels have no more.
pub(super) trait Code: Copy + Default + BitOr<Output = Self> {
    fn of(value: i64) -> Self;
    fn low_bits(self) -> u32;
    fn fits(self, bits: u32) -> bool;
}

macro_rules! code {
    ($type:ty) => {
        impl Code for $type {
            #[inline(always)]
            fn of(value: i64) -> $type {
                value as $type
            }
            #[inline(always)]
            fn low_bits(self) -> u32 {
                self as u32
            }
            #[inline(always)]
            fn fits(self, bits: u32) -> bool {
                self >> bits == 0
            }
        }
    };
}
code!(u32);
code!(u64);

/// See [`Label::overflow`].
pub(super) const LARGEST_LOW: u64 = 1 << 30;

/// A type of label. Every pattern of bits is one.
pub(super) trait Label: Copy + Default + Ord + Debug + Send + Sync {
    const DTYPE: LabelType;
    type Code: Code;
    /// How far above `low`, wrapping around.
    fn code(self, low: Self::Code) -> Self::Code;
    /// Not 0 if the label is so large that `code` may have wrapped around to a small one. With `low`
    /// from −[`LARGEST_LOW`] to [`LARGEST_LOW`] no other label's code can.
    fn overflow(self) -> Self::Code;
    /// The value, if `i64` has it.
    fn value(self) -> Option<i64>;
}

macro_rules! label {
    ($($type:ty: $dtype:ident as $code:ty, top bit $top:expr;)*) => { $(
        impl Label for $type {
            const DTYPE: LabelType = LabelType::$dtype;
            type Code = $code;
            #[inline(always)]
            fn code(self, low: $code) -> $code {
                (self as $code).wrapping_sub(low)
            }
            #[inline(always)]
            fn overflow(self) -> $code {
                self as $code & $top
            }
            #[inline(always)]
            fn value(self) -> Option<i64> {
                i64::try_from(self).ok()
            }
        }
    )* };
}
label! {
    i8: I8 as u32, top bit 0;
    i16: I16 as u32, top bit 0;
    i32: I32 as u32, top bit 0;
    i64: I64 as u64, top bit 0;
    u8: U8 as u32, top bit 0;
    u16: U16 as u32, top bit 0;
    u32: U32 as u32, top bit 1 << 31;
    u64: U64 as u64, top bit 1 << 63;
}

/// numpy's bool, of which no one guarantees that it is 0 or 1.
#[derive(Clone, Copy, Default, Debug)]
#[repr(transparent)]
pub(super) struct Flag(u8);

impl Flag {
    #[inline(always)]
    fn bit(self) -> u32 {
        u32::from(self.0 != 0)
    }
}

impl PartialEq for Flag {
    #[inline(always)]
    fn eq(&self, other: &Flag) -> bool {
        self.bit() == other.bit()
    }
}

impl Eq for Flag {}

impl PartialOrd for Flag {
    #[inline(always)]
    fn partial_cmp(&self, other: &Flag) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flag {
    #[inline(always)]
    fn cmp(&self, other: &Flag) -> std::cmp::Ordering {
        self.bit().cmp(&other.bit())
    }
}

impl Label for Flag {
    const DTYPE: LabelType = LabelType::Bool;
    type Code = u32;
    #[inline(always)]
    fn code(self, low: u32) -> u32 {
        self.bit().wrapping_sub(low)
    }
    #[inline(always)]
    fn overflow(self) -> u32 {
        0
    }
    #[inline(always)]
    fn value(self) -> Option<i64> {
        Some(i64::from(self.bit()))
    }
}
