//! The kernels of channels side by side: a run is a row, with an element of each. Sums run down the
//! columns.

use std::slice::from_raw_parts;

use super::map::{self, Mask, NONE, OF_INPUT, OF_OUTPUT, passing};
use super::moments::{Runs, in_range, merge};
use super::{Gradient, Normal};
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

per_isa! {
    /// Merges the rows into each column's moments of `count` rows.
    ///
    /// # Safety
    /// The rows from `x` on are valid for reads.
    pub(super) unsafe fn moments[F: Float][F](
        x: *const F, runs: Runs, count: usize, means: &mut [f64], squares: &mut [f64],
    ) {
        let (means, squares) = (&mut means[..runs.cols], &mut squares[..runs.cols]);
        for column in (0..runs.cols).step_by(LANES) {
            let width = LANES.min(runs.cols - column);
            // SAFETY: the strip of every row lies in the rows. A whole one is said as a constant: only
            // then is its loop made of vectors.
            let mut part = unsafe {
                match width {
                    LANES => strip_moments::<F, F>(x.add(column), runs, Used::All),
                    _ => strip_moments::<F, F>(x.add(column), runs, Used::First(width)),
                }
            };
            if !part.1[..width].iter().all(|&squares| in_range(squares)) {
                // SAFETY: as above.
                part = unsafe { strip_moments::<F, f64>(x.add(column), runs, Used::First(width)) };
            }
            merge(
                count as f64,
                &mut means[column..column + width],
                &mut squares[column..column + width],
                runs.rows as f64,
                &part.0[..width],
                &part.1[..width],
            );
        }
    }
}

/// Means and squared distances of a strip of columns, computed in `A`.
///
/// # Safety
/// The strip of every row is valid for reads.
#[inline(always)]
unsafe fn strip_moments<F: Float, A: Float>(
    x: *const F,
    Runs { rows, pitch, .. }: Runs,
    used: Used,
) -> (Lanes<f64>, Lanes<f64>) {
    let zeros = [A::ZERO; LANES];
    let count = rows as f64;
    let mut sums = zeros;
    for row in 0..rows {
        // SAFETY: by contract.
        let x = unsafe { read::<F, A>(x.add(row * pitch), used, &zeros) };
        for l in 0..LANES {
            sums[l] = sums[l] + x[l];
        }
    }
    let mut centers = zeros;
    for l in 0..LANES {
        centers[l] = A::from_f64(sums[l].to_f64() / count);
    }
    let (mut sums, mut squares) = (zeros, zeros);
    for row in 0..rows {
        // SAFETY: by contract.
        let x = unsafe { read::<F, A>(x.add(row * pitch), used, &zeros) };
        for l in 0..LANES {
            let distance = x[l] - centers[l];
            sums[l] = sums[l] + distance;
            squares[l] = squares[l] + distance * distance;
        }
    }
    let (mut means, mut corrected) = ([0.0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        let missed = sums[l].to_f64() / count;
        let square = squares[l].to_f64() - missed * missed * count;
        means[l] = centers[l].to_f64() + missed;
        corrected[l] = if square < 0.0 { 0.0 } else { square };
    }
    (means, corrected)
}

/// A row.
///
/// # Safety
/// It is valid for reads while it is used.
#[inline(always)]
unsafe fn row_of<'a, F>(x: *const F, runs: Runs, row: usize) -> &'a [F] {
    // SAFETY: by contract.
    unsafe { from_raw_parts(x.add(row * runs.pitch), runs.cols) }
}

/// Zeros for each column, `N` times.
#[inline(always)]
fn scratch_of<F: Float, const N: usize>(scratch: &mut Vec<F>, cols: usize) -> [&mut [F]; N] {
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
    // The gradient that passes, and the distance.
    let of = |x: &[F], dy: &[F], y: &[F], column: usize| {
        let normal = Normal::of(numbers_of(&normals, column));
        let y = if MASK == OF_OUTPUT {
            y[column]
        } else {
            F::ZERO
        };
        (
            passing::<F, MASK>(x[column], dy[column], y, normal),
            normal.center,
        )
    };
    // SAFETY: by contract.
    let rows = |row| unsafe {
        let y: &[F] = if MASK == OF_OUTPUT {
            row_of(y, runs, row)
        } else {
            &[]
        };
        (row_of(x, runs, row), row_of(dy, runs, row), y)
    };
    for row in 0..runs.rows {
        let (x, dy, y) = rows(row);
        for column in 0..runs.cols {
            let (dy, center) = of(x, dy, y, column);
            part_sums[column] = part_sums[column] + dy;
            part_products[column] = part_products[column] + dy * (x[column] - center);
        }
    }
    for column in 0..runs.cols {
        let (mut sum, mut product) = (part_sums[column].to_f64(), part_products[column].to_f64());
        if !(sum.is_finite() && product.is_finite()) {
            (sum, product) = (0.0, 0.0);
            for row in 0..runs.rows {
                let (x, dy, y) = rows(row);
                let (dy, center) = of(x, dy, y, column);
                sum += dy.to_f64();
                product += dy.to_f64() * (x[column].to_f64() - center.to_f64());
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
