//! The kernels of channels side by side: a run is a row, with an element of each. Sums run down the
//! columns.

use super::map::{self, Mask, NONE, OF_INPUT, OF_OUTPUT, passing};
use super::moments::{Runs, from_center, in_two_passes, merge};
use super::{Gradient, Normal, in_wider};
use crate::dtype::Float;
use crate::isa::per_isa;
use crate::lanes::{LANES, Lanes, Used, read};

/// A value for each column, of each of the `N` numbers that a map has.
pub(super) struct Columns<F, const N: usize>([Vec<F>; N]);

impl<F: Float, const N: usize> Columns<F, N> {
    /// From the numbers of each channel, `folded` times one after another.
    pub(super) fn new(channels: &[[F; N]], folded: usize) -> Columns<F, N> {
        Columns(std::array::from_fn(|number| {
            let of_channel: Vec<F> = channels.iter().map(|numbers| numbers[number]).collect();
            of_channel.repeat(folded)
        }))
    }

    /// Those of some columns: slices of one length.
    #[inline(always)]
    fn of(&self, first: usize, columns: usize) -> [&[F]; N] {
        self.0.each_ref().map(|list| &list[first..first + columns])
    }
}

/// The numbers of one column.
#[inline(always)]
fn numbers_of<F: Float, const N: usize>(columns: &[&[F]; N], column: usize) -> [F; N] {
    let mut numbers = [F::ZERO; N];
    for number in 0..N {
        numbers[number] = columns[number][column];
    }
    numbers
}

/// Rows that are added to the sums between a read and a write of these.
const TOGETHER: usize = 4;

/// Rows whose mean is the center of a tile's first part.
const FIRST: usize = 8;

/// Calls a block for strips of columns: with the first, and the lanes that count.
macro_rules! each_strip_of_columns {
    ($cols:expr, |$column:ident, $used:ident| $block:block) => {{
        let cols: usize = $cols;
        for strip in 0..cols / LANES {
            let ($column, $used) = (strip * LANES, Used::All);
            $block
        }
        if cols % LANES > 0 {
            let ($column, $used) = (cols / LANES * LANES, Used::First(cols % LANES));
            $block
        }
    }};
}

per_isa! {
    /// Merges the rows into each column's moments of `count` rows.
    ///
    /// # Safety
    /// The rows from `x` on are valid for reads.
    pub(super) unsafe fn moments[F: Float][F](
        x: *const F, runs: Runs, count: usize, means: &mut [f64], squares: &mut [f64], scratch: &mut Vec<F>,
    ) {
        let Runs { rows, cols, pitch } = runs;
        let [centers, sums, part_squares] = scratch_of(scratch, cols);
        let zeros = [F::ZERO; LANES];
        // The mean of the rows before, or of the first: of a power of two, so that it is exact where all
        // are equal.
        let first = if rows < FIRST { 1 } else { FIRST };
        let share = F::from_f64(1.0 / first as f64);
        each_strip_of_columns!(cols, |column, used| {
            let mut center = zeros;
            if count > 0 {
                let means = &means[column..cols.min(column + LANES)];
                center.iter_mut().zip(means).for_each(|(center, &mean)| *center = F::from_f64(mean));
            } else {
                for row in 0..first {
                    // SAFETY: the strip lies in the row.
                    let x = unsafe { read::<F, F>(x.add(row * pitch + column), used, &zeros) };
                    for l in 0..LANES {
                        center[l] = center[l] + x[l];
                    }
                }
                center = center.map(|sum| sum * share);
            }
            centers[column..column + LANES].copy_from_slice(&center);
        });
        for first in (0..rows).step_by(TOGETHER) {
            let together = first..rows.min(first + TOGETHER);
            each_strip_of_columns!(cols, |column, used| {
                let mut sum = lanes_of(sums, column);
                let mut square = lanes_of(part_squares, column);
                let center = lanes_of(centers, column);
                for row in together.clone() {
                    // SAFETY: the strip lies in the row.
                    let x = unsafe { read::<F, F>(x.add(row * pitch + column), used, &center) };
                    for l in 0..LANES {
                        let distance = x[l] - center[l];
                        sum[l] = sum[l] + distance;
                        square[l] = square[l] + distance * distance;
                    }
                }
                sums[column..column + LANES].copy_from_slice(&sum);
                part_squares[column..column + LANES].copy_from_slice(&square);
            });
        }
        for column in (0..cols).step_by(LANES) {
            let width = LANES.min(cols - column);
            let [center, sum, square] =
                [&*centers, &*sums, &*part_squares].map(|list| lanes_of(list, column).map(F::to_f64));
            let (mut part_means, mut part_squares, mut reliable) =
                ([0.0; LANES], [0.0; LANES], [true; LANES]);
            for l in 0..LANES {
                (part_means[l], part_squares[l], reliable[l]) =
                    from_center(rows as f64, center[l], sum[l], square[l]);
            }
            if reliable != [true; LANES] {
                for l in (0..width).filter(|&l| !reliable[l]) {
                    // SAFETY: the column is valid for reads.
                    let moments = unsafe { in_two_passes(x.add(column + l), Runs { cols: 1, ..runs }) };
                    (part_means[l], part_squares[l]) = (moments.mean, moments.squares);
                }
            }
            merge(
                count as f64,
                &mut means[column..column + width],
                &mut squares[column..column + width],
                rows as f64,
                &part_means[..width],
                &part_squares[..width],
            );
        }
    }
}

/// The numbers of a strip of columns.
#[inline(always)]
fn lanes_of<F: Float>(list: &[F], column: usize) -> Lanes<F> {
    let mut lanes = [F::ZERO; LANES];
    lanes.copy_from_slice(&list[column..column + LANES]);
    lanes
}

/// Zeros for each column, and for the rest of the last strip, `N` times.
#[inline(always)]
fn scratch_of<F: Float, const N: usize>(scratch: &mut Vec<F>, cols: usize) -> [&mut [F]; N] {
    let cols = cols.next_multiple_of(LANES);
    scratch.clear();
    scratch.resize(N * cols, F::ZERO);
    let mut rest = &mut scratch[..];
    [(); N].map(|()| {
        let (list, others) = std::mem::take(&mut rest).split_at_mut(cols);
        rest = others;
        list
    })
}

per_isa! {
    /// As for a run of one channel.
    ///
    /// # Safety
    /// The rows are valid: for reads, and for writes from `y` on.
    pub(super) unsafe fn normalise[F: Float][F](
        x: *const F, residual: *const F, y: *mut F, runs: Runs, first: usize, normals: &Columns<F, 3>, relu: bool,
    ) {
        // SAFETY: by contract.
        unsafe {
            match (residual.is_null(), relu) {
                (true, false) => normalise_as::<F, false, false>(x, residual, y, runs, first, normals),
                (true, true) => normalise_as::<F, false, true>(x, residual, y, runs, first, normals),
                (false, false) => normalise_as::<F, true, false>(x, residual, y, runs, first, normals),
                (false, true) => normalise_as::<F, true, true>(x, residual, y, runs, first, normals),
            }
        }
    }
}

/// # Safety
/// As for [`normalise`].
#[inline(always)]
unsafe fn normalise_as<F: Float, const ADD: bool, const RELU: bool>(
    x: *const F,
    residual: *const F,
    y: *mut F,
    runs: Runs,
    first: usize,
    normals: &Columns<F, 3>,
) {
    let normals = normals.of(first, runs.cols);
    let normal = |column| Normal::of(numbers_of(&normals, column));
    // SAFETY: by contract.
    unsafe { map::normalise_runs::<F, ADD, RELU>(x, residual, y, runs, normal) };
}

per_isa! {
    /// Adds each column's Σ dy and Σ dy·(x − center), of the `dy` that passes the mask.
    ///
    /// # Safety
    /// The rows are valid for reads.
    pub(super) unsafe fn sums[F: Float][F](
        inputs: [*const F; 3], runs: Runs, first: usize, normals: &Columns<F, 3>, mask: Mask,
        sums: &mut [f64], products: &mut [f64], scratch: &mut Vec<F>,
    ) {
        let normals = normals.of(first, runs.cols);
        let parts = scratch_of(scratch, runs.cols);
        // SAFETY: by contract.
        unsafe { match mask {
            Mask::None => sums_as::<F, NONE>(inputs, runs, normals, parts, sums, products),
            Mask::OfInput => sums_as::<F, OF_INPUT>(inputs, runs, normals, parts, sums, products),
            Mask::OfOutput => sums_as::<F, OF_OUTPUT>(inputs, runs, normals, parts, sums, products),
        } }
    }
}

/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn sums_as<F: Float, const MASK: u8>(
    [x, dy, y]: [*const F; 3],
    runs: Runs,
    normals: [&[F]; 3],
    [part_sums, part_products]: [&mut [F]; 2],
    sums: &mut [f64],
    products: &mut [f64],
) {
    let Runs { rows, cols, pitch } = runs;
    let zeros = [F::ZERO; LANES];
    for row in 0..rows {
        each_strip_of_columns!(cols, |column, used| {
            let mut sum = lanes_of(part_sums, column);
            let mut product = lanes_of(part_products, column);
            let at = row * pitch + column;
            // SAFETY: the strip lies in the lists and in the row.
            unsafe {
                let [centers, scales, shifts] = [
                    read::<F, F>(normals[0].as_ptr().add(column), used, &zeros),
                    read::<F, F>(normals[1].as_ptr().add(column), used, &zeros),
                    read::<F, F>(normals[2].as_ptr().add(column), used, &zeros),
                ];
                let x = read::<F, F>(x.add(at), used, &zeros);
                let dy = read::<F, F>(dy.add(at), used, &zeros);
                let y = if MASK == OF_OUTPUT {
                    read::<F, F>(y.add(at), used, &zeros)
                } else {
                    zeros
                };
                for l in 0..LANES {
                    let normal = Normal::of([centers[l], scales[l], shifts[l]]);
                    let dy = passing::<F, MASK>(x[l], dy[l], y[l], normal);
                    sum[l] = sum[l] + dy;
                    product[l] = product[l] + dy * (x[l] - normal.center);
                }
            }
            part_sums[column..column + LANES].copy_from_slice(&sum);
            part_products[column..column + LANES].copy_from_slice(&product);
        });
    }
    for column in 0..runs.cols {
        let (mut sum, mut product) = (part_sums[column].to_f64(), part_products[column].to_f64());
        if !(sum.is_finite() && product.is_finite()) {
            (sum, product) = (0.0, 0.0);
            let normal = Normal::of(numbers_of(&normals, column));
            for row in 0..rows {
                // SAFETY: the column of every row is valid for reads.
                let of = |from: *const F| unsafe { *from.add(row * pitch + column) };
                let y = if MASK == OF_OUTPUT { of(y) } else { F::ZERO };
                let dy = passing::<F, MASK>(of(x), of(dy), y, normal);
                let (dy, distance) = in_wider::<F, f64>(dy, of(x), normal.center);
                sum += dy;
                product += dy * distance;
            }
        }
        sums[column] += sum;
        products[column] += product;
    }
}

per_isa! {
    /// As for a run of one channel.
    ///
    /// # Safety
    /// The rows are valid: for reads, and for writes from `dx` and `dr` on.
    pub(super) unsafe fn gradient[F: Float][F](
        inputs: [*const F; 3], outputs: [*mut F; 2], runs: Runs, first: usize,
        normals: &Columns<F, 3>, gradients: &Columns<F, 4>, mask: Mask,
    ) {
        let all = (normals.of(first, runs.cols), gradients.of(first, runs.cols));
        let written = outputs.map(|output| !output.is_null());
        // SAFETY: by contract.
        unsafe {
            match (mask, written) {
                (Mask::None, _) => gradient_as::<F, NONE, true, false>(inputs, outputs, runs, all),
                (Mask::OfInput, _) => gradient_as::<F, OF_INPUT, true, false>(inputs, outputs, runs, all),
                (_, [true, false]) => gradient_as::<F, OF_OUTPUT, true, false>(inputs, outputs, runs, all),
                (_, [true, true]) => gradient_as::<F, OF_OUTPUT, true, true>(inputs, outputs, runs, all),
                (_, [false, _]) => gradient_as::<F, OF_OUTPUT, false, true>(inputs, outputs, runs, all),
            }
        }
    }
}

/// # Safety
/// As for [`gradient`].
#[inline(always)]
unsafe fn gradient_as<F: Float, const MASK: u8, const DX: bool, const DR: bool>(
    inputs: [*const F; 3],
    outputs: [*mut F; 2],
    runs: Runs,
    (normals, gradients): ([&[F]; 3], [&[F]; 4]),
) {
    let normal = |column| Normal::of(numbers_of(&normals, column));
    let gradient = |column| Gradient::of(numbers_of(&gradients, column));
    // SAFETY: by contract.
    unsafe { map::gradient_runs::<F, MASK, DX, DR>(inputs, outputs, runs, normal, gradient) };
}
