//! A walk through any operands visits every element once, each at the place that its strides say; a
//! work list covers every block once.

mod cases;
mod layouts;

use std::sync::atomic::{AtomicUsize, Ordering};

use cases::cases;
use ironstep_kernels::dtype::DType;
use ironstep_kernels::work::{LARGEST_BLOCK, Layout as Walk, Tensor, View, WorkList};
use layouts::{Layout, operands};
use proptest::collection::vec;
use proptest::prelude::*;

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::Bf16, DType::F16];

/// A view at an address that nobody will follow; each operand has its own, and its own type.
fn view(layout: &Layout, operand: usize) -> View<'_> {
    let dtype = DTYPES[operand % 4];
    let first = (operand + 1) << 32;
    let data = std::ptr::without_provenance_mut(first + layout.offset as usize * dtype.size());
    View::new(data, dtype, &layout.shape, &layout.strides)
}

fn tensor(layouts: &[Layout]) -> Tensor {
    let views: Vec<View> = layouts
        .iter()
        .enumerate()
        .map(|(operand, layout)| view(layout, operand))
        .collect();
    Tensor::new(&views)
}

/// For every element the addresses at which the operands hold it.
fn expected(layouts: &[Layout]) -> Vec<Vec<usize>> {
    let positions: Vec<Vec<i64>> = layouts.iter().map(Layout::positions).collect();
    let mut elements: Vec<Vec<usize>> = (0..positions[0].len())
        .map(|element| {
            let address = |(operand, positions): (usize, &Vec<i64>)| {
                let width = DTYPES[operand % 4].size();
                ((operand + 1) << 32) + positions[element] as usize * width
            };
            positions.iter().enumerate().map(address).collect()
        })
        .collect();
    elements.sort_unstable();
    elements
}

fn visited(tensor: &Tensor) -> Vec<Vec<usize>> {
    let mut elements = Vec::new();
    for index in 0..tensor.n_blocks() {
        let (offsets, grids) = tensor.block(index);
        let (rows, cols) = (grids[0].rows, grids[0].cols);
        assert!(
            (1..=LARGEST_BLOCK).contains(&(rows * cols)),
            "{rows} × {cols}"
        );
        for row in 0..rows as isize {
            for col in 0..cols as isize {
                let address = |operand: usize| {
                    let (grid, at) = (grids[operand], tensor.operands[operand]);
                    assert_eq!((grid.rows, grid.cols), (rows, cols));
                    let step = offsets[operand] + row * grid.row_stride + col * grid.col_stride;
                    at.data
                        .addr()
                        .wrapping_add_signed(step * at.dtype.size() as isize)
                };
                elements.push((0..tensor.n_operands).map(address).collect());
            }
        }
    }
    elements.sort_unstable();
    elements
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn blocks_visit_every_element_once(layouts in operands(5)) {
        let tensor = tensor(&layouts);
        prop_assert_eq!(tensor.n_operands, layouts.len());
        prop_assert_eq!(tensor.len, layouts[0].positions().len());
        prop_assert_eq!(visited(&tensor), expected(&layouts));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn a_work_list_covers_every_block_once(
        tensors in vec(operands(3), 0..12),
        long in prop::option::of(0_i64..200_000),
    ) {
        let mut tensors: Vec<Tensor> = tensors.iter().map(|layouts| tensor(layouts)).collect();
        tensors.extend(long.map(|long| tensor(&[Layout::contiguous(&[long])])));
        let mut work = WorkList::default();
        for (index, tensor) in tensors.iter().enumerate() {
            work.push(index, tensor);
        }
        let covered: Vec<(usize, usize)> = work
            .tiles()
            .iter()
            .flat_map(|tile| tile.blocks.clone().map(|block| (tile.tensor, block)))
            .collect();
        let all: Vec<(usize, usize)> = tensors
            .iter()
            .enumerate()
            .flat_map(|(index, tensor)| (0..tensor.n_blocks()).map(move |block| (index, block)))
            .collect();
        prop_assert_eq!(covered, all);
        prop_assert_eq!(work.len(), tensors.iter().map(|tensor| tensor.len).sum::<usize>());
        prop_assert_eq!(work.is_empty(), work.tiles().is_empty());
        for threads in [0, 1, 2, 3] {
            let runs: Vec<AtomicUsize> = work.tiles().iter().map(|_| AtomicUsize::new(0)).collect();
            work.run(threads, &|tile| {
                runs[tile].fetch_add(1, Ordering::Relaxed);
            });
            prop_assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn a_large_tensor_is_shared_among_threads() {
    let mut work = WorkList::default();
    work.push(0, &tensor(&[Layout::contiguous(&[1 << 20])]));
    assert!(work.tiles().len() >= 16);
}

fn is_flat(layouts: &[Layout]) -> bool {
    matches!(tensor(layouts).layout, Walk::Flat)
}

fn with_strides(shape: &[i64], strides: &[i64]) -> Layout {
    Layout {
        strides: strides.to_vec(),
        ..Layout::contiguous(shape)
    }
}

#[test]
fn the_same_dense_permutation_is_flat() {
    let channels_last = with_strides(&[2, 3, 4, 5], &[60, 1, 15, 3]);
    assert!(is_flat(&[channels_last.clone(), channels_last.clone()]));
    assert!(!is_flat(&[
        channels_last,
        Layout::contiguous(&[2, 3, 4, 5])
    ]));
}

#[test]
fn the_strides_of_dimensions_of_size_1_do_not_matter() {
    assert!(is_flat(&[
        with_strides(&[1, 6, 1], &[7, 1, 0]),
        with_strides(&[1, 6, 1], &[-1, 1, 99]),
    ]));
}

#[test]
fn one_element_and_none() {
    for shape in [&[][..], &[1], &[1, 1, 1]] {
        let one = tensor(&[Layout::contiguous(shape), Layout::contiguous(shape)]);
        assert_eq!((one.len, one.n_blocks()), (1, 1));
    }
    for shape in [&[0][..], &[3, 0], &[0, 3], &[2, 0, 2]] {
        for strides in [&[1, 1, 1][..], &[0, 0, 0], &[-5, 7, 1]] {
            let none = tensor(&[with_strides(shape, &strides[..shape.len()])]);
            assert_eq!((none.len, none.n_blocks()), (0, 0));
            let mut work = WorkList::default();
            work.push(0, &none);
            assert!(work.is_empty());
        }
    }
}
