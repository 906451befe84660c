//! Where logits, gradients and probabilities lie: classes of pixels of images, in any order of the three.

use crate::dtype::{DType, Grid};

/// Where the logits of `outer` × `inner` rows of `classes` lie; strides in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Images, say.
    pub outer: usize,
    /// Pixels of an image.
    pub inner: usize,
    /// Classes, at least one.
    pub classes: usize,
    /// From an image to the next.
    pub outer_stride: isize,
    /// From a pixel to the next.
    pub inner_stride: isize,
    /// From a class to the next.
    pub class_stride: isize,
}

impl Layout {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.outer * self.inner
    }
}

/// A buffer with its layout.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// The first class of the first row.
    pub data: *mut u8,
    /// The elements' type.
    pub dtype: DType,
    /// Where they lie.
    pub layout: Layout,
}

// SAFETY: the pointer is only followed by `cross_entropy`, whose caller vouches for it.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

impl Matrix {
    /// The first class of a row.
    pub(super) fn at(&self, outer: usize, inner: usize) -> *mut u8 {
        let Layout {
            outer_stride,
            inner_stride,
            ..
        } = self.layout;
        let offset = outer as isize * outer_stride + inner as isize * inner_stride;
        self.data
            .wrapping_offset(offset * self.dtype.size() as isize)
    }

    /// `rows` rows from one on, turned: a row of the grid is a class.
    pub(super) fn turned(&self, rows: usize) -> Grid {
        Grid {
            rows: self.layout.classes,
            cols: rows,
            row_stride: self.layout.class_stride,
            col_stride: self.layout.inner_stride,
        }
    }
}
