//! The search for shared memory against a table of who touches which byte.

mod cases;

use std::collections::HashMap;

use cases::cases;
use ironstep_kernels::dtype::DType;
use ironstep_kernels::overlap::{Extent, Search};
use ironstep_kernels::work::View;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
struct Buffer {
    address: usize,
    dtype: DType,
    shape: Vec<i64>,
    strides: Vec<i64>,
    written: bool,
}

impl Buffer {
    fn view(&self) -> View<'_> {
        let data = std::ptr::without_provenance_mut(self.address);
        View::new(data, self.dtype, &self.shape, &self.strides)
    }

    fn bytes(&self) -> Vec<usize> {
        let mut elements = vec![self.address];
        let width = self.dtype.size();
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            let step = |index: i64| index as isize * stride as isize * width as isize;
            elements = elements
                .iter()
                .flat_map(|&address| (0..size).map(move |i| address.wrapping_add_signed(step(i))))
                .collect();
        }
        let bytes = elements
            .iter()
            .flat_map(|&address| address..address + width);
        bytes.collect()
    }
}

fn search(search: &mut Search, buffers: &[Buffer]) -> Vec<usize> {
    let extents: Vec<Extent> = buffers
        .iter()
        .map(|buffer| Extent::new(&buffer.view(), buffer.written))
        .collect();
    search.shared(&extents)
}

/// Those with a byte that is touched twice, at least once in writing.
fn by_brute_force(buffers: &[Buffer]) -> Vec<usize> {
    let mut touched: HashMap<usize, (usize, bool)> = HashMap::new();
    for buffer in buffers {
        for byte in buffer.bytes() {
            let (times, written) = touched.entry(byte).or_default();
            *times += 1;
            *written |= buffer.written;
        }
    }
    let clashes = |byte: &usize| touched[byte].0 > 1 && touched[byte].1;
    (0..buffers.len())
        .filter(|&index| buffers[index].bytes().iter().any(clashes))
        .collect()
}

fn buffers() -> impl Strategy<Value = Buffer> {
    let dtype = select(vec![DType::F64, DType::F32, DType::Bf16, DType::F16]);
    let dim = (prop_oneof![9 => 1_i64..5, 1 => Just(0)], -8_i64..9);
    // Often whole elements apart, so that interleaved slices are among the cases; also not.
    let place = prop_oneof![(0_usize..40).prop_map(|place| place * 8), 0_usize..300];
    (dtype, vec(dim, 0..4), place, any::<bool>()).prop_map(|(dtype, dims, place, written)| Buffer {
        address: 0x10_0000 + place,
        dtype,
        shape: dims.iter().map(|dim| dim.0).collect(),
        strides: dims.iter().map(|dim| dim.1).collect(),
        written,
    })
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn one_search_finds_what_brute_force_finds_time_after_time(
        rounds in vec(vec(buffers(), 0..8), 1..4),
    ) {
        let mut remembering = Search::default();
        for buffers in &rounds {
            let wanted = by_brute_force(buffers);
            prop_assert_eq!(search(&mut remembering, buffers), wanted.clone());
            prop_assert_eq!(search(&mut remembering, buffers), wanted);
        }
    }

    #[test]
    fn buffers_that_trade_places_are_searched_anew(
        buffers in vec(buffers(), 1..8),
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut remembering = Search::default();
        search(&mut remembering, &buffers);
        let order: Vec<usize> = order.into_iter().filter(|&index| index < buffers.len()).collect();
        let moved: Vec<Buffer> = order.iter().map(|&index| buffers[index].clone()).collect();
        prop_assert_eq!(search(&mut remembering, &moved), by_brute_force(&moved));
    }
}

fn written(address: usize, shape: &[i64], strides: &[i64]) -> Buffer {
    Buffer {
        address,
        dtype: DType::F32,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
        written: true,
    }
}

fn read(address: usize, shape: &[i64], strides: &[i64]) -> Buffer {
    Buffer {
        written: false,
        ..written(address, shape, strides)
    }
}

#[test]
fn interleaved_slices_share_nothing() {
    let even = written(0x1000, &[100], &[2]);
    let odd = written(0x1004, &[100], &[2]);
    let columns = [0, 4, 8].map(|offset| written(0x8000 + offset, &[50, 1], &[3, 1]));
    assert_eq!(search(&mut Search::default(), &[even, odd]), []);
    assert_eq!(search(&mut Search::default(), &columns), []);
}

#[test]
fn a_written_buffer_may_not_fold_but_a_read_one_may() {
    let expanded = |buffer: Buffer| search(&mut Search::default(), &[buffer]);
    assert_eq!(expanded(written(0x1000, &[3, 4], &[0, 1])), [0]);
    assert_eq!(expanded(read(0x1000, &[3, 4], &[0, 1])), []);
    assert_eq!(expanded(written(0x1000, &[3, 2], &[1, 1])), [0]);
    // Strides that interlock without meeting: 0 2 4 and 3 5 7.
    assert_eq!(expanded(written(0x1000, &[3, 2], &[2, 3])), []);
    // Size 1: the stride leads nowhere.
    assert_eq!(expanded(written(0x1000, &[1, 4], &[0, 1])), []);
}

#[test]
fn reading_twice_is_allowed_until_somebody_writes() {
    let shared = read(0x1000, &[4], &[1]);
    assert_eq!(
        search(&mut Search::default(), &[shared.clone(), shared.clone()]),
        []
    );
    let writer = written(0x100c, &[4], &[1]);
    let apart = written(0x101c, &[4], &[1]);
    let all = [shared.clone(), writer, shared, apart];
    assert_eq!(search(&mut Search::default(), &all), [0, 1, 2]);
}

#[test]
fn neighbours_and_empty_buffers_share_nothing() {
    let first = written(0x1000, &[4], &[1]);
    let next = written(0x1010, &[4], &[1]);
    let backwards = written(0x102c, &[4], &[-1]);
    let empty = written(0x1008, &[0, 4], &[4, 1]);
    let all = [first, next, backwards, empty];
    assert_eq!(search(&mut Search::default(), &all), []);
}

#[test]
fn a_large_stride_0_gradient_costs_nothing_where_ranges_do_not_meet() {
    let huge = read(0x1000, &[1 << 40, 1 << 20], &[0, 0]);
    assert_eq!(
        search(&mut Search::default(), &[huge, written(0x2000, &[4], &[1])]),
        []
    );
}
