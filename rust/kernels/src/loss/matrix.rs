//! Where logits, gradients and probabilities lie: classes of pixels of images, in any order of the three.

use crate::dtype::{DType, Grid};
use crate::memory;

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

    /// Asks for large pages: a gradient is fresh memory as a rule, and a fault for each small page takes
    /// as long as its arithmetic.
    pub(super) fn ask_for_large_pages(&self) {
        let Layout {
            outer,
            inner,
            classes,
            outer_stride,
            inner_stride,
            class_stride,
        } = self.layout;
        let len = self.layout.rows() * classes;
        let ways = [
            (outer, outer_stride),
            (inner, inner_stride),
            (classes, class_stride),
        ];
        let last: isize = ways
            .iter()
            .map(|&(n, stride)| (n as isize - 1) * stride)
            .sum();
        // Of what lies in a larger buffer nothing is known.
        if last + 1 == len as isize && ways.iter().all(|&(_, stride)| stride >= 0) {
            memory::ask_for_large_pages(self.data, len * self.dtype.size());
        }
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
