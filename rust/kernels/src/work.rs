//! A job over many tensors: how the buffers of each are walked in step, and how all of them together
//! are cut into tiles.
//!
//! Each tensor has several operands of one shape (parameter, gradient, states), each with its own
//! type and strides. They are walked in the first one's order. If all are dense in that order, the
//! tensor is [`Layout::Flat`]; otherwise it is walked in two-dimensional blocks that fit L1, so that
//! a transposed operand is read in whole cache lines. Where tiles begin depends on the shapes alone.

use std::ops::Range;

use crate::dtype::{DType, Grid};
use crate::pool;

/// Parameter, gradient and at most three states.
pub const MAX_OPERANDS: usize = 5;

/// Elements of a block, unless two operands disagree on the fastest dimension: five operands in `f32`
/// take 20 KiB, which leaves room in a 32 KiB L1.
pub const BLOCK: usize = 1024;

/// Elements that a thread takes at a time: at least, and at most where a tensor has many tiles anyway.
// measured: smaller costs the memory's prefetcher (SGD, 25M: 4% between the two), larger leaves one
// thread waiting for another's last tile
const TILE: usize = 16 * BLOCK;
const LARGE_TILE: usize = 8 * TILE;

/// Tiles that are enough to share a tensor out.
const MANY: usize = 64;

/// Rows and columns of a block whose operands disagree on the fastest dimension: four cache lines of
/// `f32` of the operand that is walked across, and rows long enough for the prefetcher.
// measured: 2.3 ns an element at 4096² on one core; 32×32 took 5.3, 16×512 and 128×512 2.5
const ACROSS: (usize, usize) = (64, 512);

/// No block has more elements.
pub const LARGEST_BLOCK: usize = ACROSS.0 * ACROSS.1;

/// One buffer as its owner describes it. Strides count elements and may be negative or zero.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The element with all indices zero.
    pub data: *mut u8,
    /// The elements' type.
    pub dtype: DType,
    /// The size of each dimension.
    pub shape: &'a [i64],
    /// The step of each dimension, in elements.
    pub strides: &'a [i64],
    len: usize,
    is_contiguous: bool,
}

impl<'a> View<'a> {
    /// A view of nothing.
    pub const EMPTY: View<'static> = View {
        data: std::ptr::null_mut(),
        dtype: DType::F32,
        shape: &[0],
        strides: &[1],
        len: 0,
        is_contiguous: true,
    };

    /// A view; sizes are not negative, and there are as many strides.
    pub fn new(data: *mut u8, dtype: DType, shape: &'a [i64], strides: &'a [i64]) -> View<'a> {
        let mut len = 1;
        let mut is_contiguous = true;
        for (&size, &stride) in shape.iter().zip(strides).rev() {
            is_contiguous &= size == 1 || stride == len;
            len *= size;
        }
        View {
            data,
            dtype,
            shape,
            strides,
            len: len as usize,
            // Of no element numpy's strides are zeros.
            is_contiguous: is_contiguous || len == 0,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the elements lie one after another in row-major order.
    pub fn is_contiguous(&self) -> bool {
        self.is_contiguous
    }
}

/// The start and the element type of an operand.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// The element with all indices zero (flat: the first in memory).
    pub data: *mut u8,
    /// The elements' type.
    pub dtype: DType,
}

impl Operand {
    /// Where the element `offset` places away lies.
    #[inline(always)]
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        self.data.wrapping_add(offset * self.dtype.size())
    }
}

/// How the operands of a tensor are walked.
#[derive(Clone, Debug)]
pub enum Layout {
    /// All operands are dense in the same order.
    Flat,
    /// Anything else.
    Blocks(Box<Blocks>),
}

/// A walk in blocks of `block_rows` × `block_cols` over the two dimensions that matter most.
#[derive(Clone, Debug)]
pub struct Blocks {
    outer: Vec<Dim>,
    rows: Dim,
    cols: Dim,
    block_rows: usize,
    block_cols: usize,
}

#[derive(Clone, Copy, Debug)]
struct Dim {
    size: usize,
    strides: [isize; MAX_OPERANDS],
}

impl Dim {
    const ONE: Dim = Dim {
        size: 1,
        strides: [0; MAX_OPERANDS],
    };

    fn count(&self, block: usize) -> usize {
        self.size.div_ceil(block)
    }
}

/// One tensor of a job.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Parameter, gradient, states; those after `n_operands` are copies of the first.
    pub operands: [Operand; MAX_OPERANDS],
    /// How many operands there are.
    pub n_operands: usize,
    /// Elements of each operand.
    pub len: usize,
    /// How they are walked.
    pub layout: Layout,
}

// SAFETY: the pointers are only followed by `WorkList::run`'s caller, who vouches for them there.
unsafe impl Send for Tensor {}
// SAFETY: as above.
unsafe impl Sync for Tensor {}

impl Tensor {
    /// A tensor with these operands, which must be of one shape.
    pub fn new(views: &[View]) -> Tensor {
        let first = Operand {
            data: views[0].data,
            dtype: views[0].dtype,
        };
        let mut operands = [first; MAX_OPERANDS];
        for (operand, view) in operands.iter_mut().zip(views) {
            *operand = Operand {
                data: view.data,
                dtype: view.dtype,
            };
        }
        let layout = if views.iter().all(View::is_contiguous) {
            Layout::Flat
        } else {
            layout(views)
        };
        Tensor {
            operands,
            n_operands: views.len(),
            len: views[0].len(),
            layout,
        }
    }

    /// The number of blocks.
    pub fn n_blocks(&self) -> usize {
        match &self.layout {
            Layout::Flat => self.len.div_ceil(BLOCK),
            Layout::Blocks(_) if self.len == 0 => 0,
            Layout::Blocks(blocks) => blocks.count(),
        }
    }

    /// The rows and columns of the largest block. Blocks at the end of a dimension are smaller.
    pub(crate) fn block_shape(&self) -> (usize, usize) {
        match &self.layout {
            Layout::Flat => (1, BLOCK.min(self.len)),
            Layout::Blocks(blocks) => {
                let Blocks {
                    rows,
                    cols,
                    block_rows,
                    block_cols,
                    ..
                } = **blocks;
                (block_rows.min(rows.size), block_cols.min(cols.size))
            }
        }
    }

    /// Where block `index` lies: the offset of its first element in each operand, and its grids.
    pub fn block(&self, index: usize) -> ([isize; MAX_OPERANDS], [Grid; MAX_OPERANDS]) {
        match &self.layout {
            Layout::Flat => {
                let start = index * BLOCK;
                let cols = BLOCK.min(self.len - start);
                let grid = Grid {
                    rows: 1,
                    cols,
                    row_stride: 0,
                    col_stride: 1,
                };
                ([start as isize; MAX_OPERANDS], [grid; MAX_OPERANDS])
            }
            Layout::Blocks(blocks) => blocks.block(index),
        }
    }
}

impl Blocks {
    fn count(&self) -> usize {
        let outer: usize = self.outer.iter().map(|dim| dim.size).product();
        outer * self.rows.count(self.block_rows) * self.cols.count(self.block_cols)
    }

    fn block(&self, index: usize) -> ([isize; MAX_OPERANDS], [Grid; MAX_OPERANDS]) {
        // Down the rows first: what lies across is then read on where the last block left it.
        let (rest, row) = div_mod(index, self.rows.count(self.block_rows));
        let (mut rest, col) = div_mod(rest, self.cols.count(self.block_cols));
        let (row, col) = (row * self.block_rows, col * self.block_cols);
        let mut offsets = [0; MAX_OPERANDS];
        let mut add = |dim: &Dim, index: usize| {
            for (offset, stride) in offsets.iter_mut().zip(dim.strides) {
                *offset += index as isize * stride;
            }
        };
        add(&self.rows, row);
        add(&self.cols, col);
        for dim in self.outer.iter().rev() {
            let (quotient, index) = div_mod(rest, dim.size);
            add(dim, index);
            rest = quotient;
        }
        let grids = std::array::from_fn(|operand| Grid {
            rows: self.block_rows.min(self.rows.size - row),
            cols: self.block_cols.min(self.cols.size - col),
            row_stride: self.rows.strides[operand],
            col_stride: self.cols.strides[operand],
        });
        (offsets, grids)
    }
}

fn div_mod(a: usize, b: usize) -> (usize, usize) {
    (a / b, a % b)
}

/// Chooses the walk: dimensions in the first operand's order, adjacent ones merged where every
/// operand allows it, and a block over the fastest dimension of the first operand and that of
/// another which disagrees.
fn layout(views: &[View]) -> Layout {
    let mut dims: Vec<Dim> = Vec::with_capacity(views[0].shape.len());
    for (axis, &size) in views[0].shape.iter().enumerate() {
        if size != 1 {
            let mut strides = [0; MAX_OPERANDS];
            for (stride, view) in strides.iter_mut().zip(views) {
                *stride = view.strides[axis] as isize;
            }
            dims.push(Dim {
                size: size as usize,
                strides,
            });
        }
    }
    dims.sort_by_key(|dim| std::cmp::Reverse(dim.strides[0].unsigned_abs()));
    let mut merged: Vec<Dim> = Vec::with_capacity(dims.len());
    for dim in dims {
        match merged.last_mut() {
            Some(outer) if outer.continues(&dim, views.len()) => {
                *outer = Dim {
                    size: outer.size * dim.size,
                    ..dim
                };
            }
            _ => merged.push(dim),
        }
    }
    let Some(cols) = merged.pop() else {
        return Layout::Flat;
    };
    if merged.is_empty()
        && cols.strides[..views.len()]
            .iter()
            .all(|&stride| stride == 1)
    {
        return Layout::Flat;
    }
    let faster = |operand: usize| {
        let key = |dim: &Dim| match dim.strides[operand].unsigned_abs() {
            0 => usize::MAX, // a broadcast dimension costs nothing in any order
            stride => stride,
        };
        let (position, dim) = merged.iter().enumerate().min_by_key(|(_, dim)| key(dim))?;
        (key(dim) < key(&cols)).then_some(position)
    };
    let (rows, block_rows, block_cols) = match (1..views.len()).find_map(faster) {
        Some(position) => (merged.remove(position), ACROSS.0, ACROSS.1),
        None => {
            let block_cols = cols.size.clamp(1, BLOCK);
            (
                merged.pop().unwrap_or(Dim::ONE),
                BLOCK / block_cols,
                block_cols,
            )
        }
    };
    Layout::Blocks(Box::new(Blocks {
        outer: merged,
        rows,
        cols,
        block_rows,
        block_cols,
    }))
}

impl Dim {
    /// Whether `inner` and this dimension are one for the first `n` operands.
    fn continues(&self, inner: &Dim, n: usize) -> bool {
        let pairs = self.strides.iter().zip(inner.strides).take(n);
        pairs
            .into_iter()
            .all(|(&outer, step)| outer == step * inner.size as isize)
    }
}

/// A part of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Which tensor.
    pub tensor: usize,
    /// Which of its blocks.
    pub blocks: Range<usize>,
}

/// The tiles of all tensors of a job. Small tensors share a turn, large ones have many.
#[derive(Clone, Debug, Default)]
pub struct WorkList {
    tiles: Vec<Tile>,
    /// Where each turn begins in `tiles`.
    turns: Vec<usize>,
    len: usize,
    open: usize,
}

impl WorkList {
    /// Adds the tensor with this index.
    pub fn push(&mut self, index: usize, tensor: &Tensor) {
        let n_blocks = tensor.n_blocks();
        if n_blocks == 0 {
            return;
        }
        let per_block = tensor.len.div_ceil(n_blocks);
        let tile = (tensor.len / MANY).clamp(TILE, LARGE_TILE);
        let step = (tile / per_block).max(1);
        for start in (0..n_blocks).step_by(step) {
            let blocks = start..(start + step).min(n_blocks);
            if self.turns.is_empty() || self.open >= TILE {
                self.turns.push(self.tiles.len());
                self.open = 0;
            }
            self.open += blocks.len() * per_block;
            self.tiles.push(Tile {
                tensor: index,
                blocks,
            });
        }
        self.len += tensor.len;
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// The tiles, in order.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Calls `work` with the index of every tile, each once, on up to `threads` threads.
    pub fn run(&self, threads: usize, work: &(dyn Fn(usize) + Sync)) {
        pool::run(threads, self.turns.len(), &|turn| {
            let end = self
                .turns
                .get(turn + 1)
                .copied()
                .unwrap_or(self.tiles.len());
            (self.turns[turn]..end).for_each(work);
        });
    }
}
