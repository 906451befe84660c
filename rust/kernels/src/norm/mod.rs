//! Batch normalization (Ioffe & Szegedy 2015), with the addition and the ReLU that may follow it.
//!
//! ```text
//! z = γ·(x − μ)/√(σ² + ε) + β [+ r]          μ, σ² over all elements of a channel
//! y = z, or max(z, 0)
//! ```
//!
//! and its derivative, with dy zero where the ReLU stopped z, x̂ = (x − μ)/√(σ² + ε), and means over a
//! channel:
//!
//! ```text
//! dβ = Σ dy          dγ = Σ dy·x̂          dr = dy
//! dx = γ/√(σ² + ε) · (dy − mean(dy) − x̂·mean(dy·x̂))          with given μ, σ²: γ/√(σ² + ε) · dy
//! ```
//!
//! μ is held in twice the precision of x: x − center is exact where they are close, and what the center
//! misses of μ goes into the addend.

mod columns;
mod map;
mod moments;
mod rows;
mod runs;
mod slabs;
mod stage;

use crate::dtype::{DType, Float};
use crate::isa::Isa;
use crate::memory;
use map::Mask;
use rows::Rows;
use slabs::Slabs;

/// Where a channel's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout(Arrangement);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    Slabs(Slabs),
    Rows(Rows),
}

impl Layout {
    /// `batch` samples of `channels` channels at `positions` places: row-major, or with the channels
    /// last.
    pub fn new(batch: usize, channels: usize, positions: usize, channels_last: bool) -> Layout {
        Layout(if channels == 1 {
            Arrangement::Slabs(Slabs::new(1, 1, batch * positions))
        } else if channels_last || positions == 1 {
            Arrangement::Rows(Rows::new(batch * positions, channels))
        } else {
            Arrangement::Slabs(Slabs::new(batch, channels, positions))
        })
    }

    /// How many channels there are.
    pub fn channels(&self) -> usize {
        match self.0 {
            Arrangement::Slabs(slabs) => slabs.channels(),
            Arrangement::Rows(rows) => rows.channels(),
        }
    }

    /// How many elements a channel has.
    pub fn count(&self) -> usize {
        match self.0 {
            Arrangement::Slabs(slabs) => slabs.count(),
            Arrangement::Rows(rows) => rows.count(),
        }
    }
}

/// Mean and (biased) variance of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// μ
    pub mean: f64,
    /// σ²
    pub variance: f64,
}

impl Statistics {
    /// 1/√(σ² + ε)
    pub fn invstd(&self, eps: f64) -> f64 {
        1.0 / (self.variance + eps).sqrt()
    }

    /// Moves running statistics towards these of `count` elements, whose variance counts unbiased:
    /// running ← (1 − momentum)·running + momentum·new
    pub fn update(&self, count: usize, momentum: f64, mean: &mut f64, variance: &mut f64) {
        let count = count as f64;
        let unbiased = self.variance * count / (count - 1.0);
        *mean = momentum * self.mean + (1.0 - momentum) * *mean;
        *variance = momentum * unbiased + (1.0 - momentum) * *variance;
    }
}

/// Σ dy and Σ dy·(x − μ) of a channel, of the dy that passed the ReLU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Σ dy
    pub grads: f64,
    /// Σ dy·(x − μ)
    pub products: f64,
}

impl Sums {
    /// dL/dγ, Σ dy·x̂
    pub fn of_weight(&self, invstd: f64) -> f64 {
        self.products * invstd
    }
}

/// What is normalised. All buffers are laid out alike.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// Of all buffers.
    pub dtype: DType,
    /// x
    pub input: *const u8,
    /// r, or null.
    pub residual: *const u8,
    /// y
    pub output: *mut u8,
    /// γ; 1 if there is none.
    pub weight: Option<&'a [f64]>,
    /// β; 0 if there is none.
    pub bias: Option<&'a [f64]>,
    /// ε
    pub eps: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
}

// SAFETY: threads use the buffers as `forward`'s caller allows it.
unsafe impl Sync for Forward<'_> {}

/// What goes back. All buffers are laid out alike.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// Of all buffers.
    pub dtype: DType,
    /// dL/dy
    pub grad_output: *const u8,
    /// x
    pub input: *const u8,
    /// y where a ReLU followed an addition, or null.
    pub output: *const u8,
    /// dL/dx, or null.
    pub grad_input: *mut u8,
    /// dL/dr after an addition and a ReLU, or null.
    pub grad_residual: *mut u8,
    /// γ; 1 if there is none.
    pub weight: Option<&'a [f64]>,
    /// β; 0 if there is none.
    pub bias: Option<&'a [f64]>,
    /// μ
    pub means: &'a [f64],
    /// 1/√(σ² + ε)
    pub invstds: &'a [f64],
    /// Whether μ and σ² were the input's own.
    pub training: bool,
    /// Whether the sums are asked for, even if no gradient needs them.
    pub sums: bool,
    /// Whether a ReLU followed.
    pub relu: bool,
}

// SAFETY: as for `Forward`.
unsafe impl Sync for Backward<'_> {}

/// Normalises by `given` statistics, or by the input's own; returns those used, one for each channel.
///
/// # Safety
/// Until this returns the buffers are valid for as many elements of the type as the layout has, the
/// output for writes, and nobody else uses the output.
pub unsafe fn forward(
    isa: Isa,
    threads: usize,
    layout: Layout,
    job: &Forward,
    given: Option<&[Statistics]>,
) -> Vec<Statistics> {
    large_pages(layout, job.dtype, &[job.output]);
    // SAFETY: by contract.
    unsafe {
        match (layout.0, job.dtype) {
            (Arrangement::Slabs(slabs), DType::F64) => {
                slabs.forward::<f64>(isa, threads, job, given)
            }
            (Arrangement::Slabs(slabs), _) => slabs.forward::<f32>(isa, threads, job, given),
            (Arrangement::Rows(rows), DType::F64) => rows.forward::<f64>(isa, threads, job, given),
            (Arrangement::Rows(rows), _) => rows.forward::<f32>(isa, threads, job, given),
        }
    }
}

/// Computes the gradients of input and residual; returns each channel's sums, or nothing where they
/// were not needed.
///
/// # Safety
/// As for [`forward`], with the gradients of input and residual as outputs; that of the residual is asked
/// for only with a ReLU and the output.
pub unsafe fn backward(isa: Isa, threads: usize, layout: Layout, job: &Backward) -> Vec<Sums> {
    if !job.writes() && !job.needs_sums() {
        return Vec::new();
    }
    large_pages(layout, job.dtype, &[job.grad_input, job.grad_residual]);
    // SAFETY: by contract.
    unsafe {
        match (layout.0, job.dtype) {
            (Arrangement::Slabs(slabs), DType::F64) => slabs.backward::<f64>(isa, threads, job),
            (Arrangement::Slabs(slabs), _) => slabs.backward::<f32>(isa, threads, job),
            (Arrangement::Rows(rows), DType::F64) => rows.backward::<f64>(isa, threads, job),
            (Arrangement::Rows(rows), _) => rows.backward::<f32>(isa, threads, job),
        }
    }
}

/// Outputs of many megabytes are fresh memory as a rule, and a fault for each small page takes longer than
/// the job. measured: of smaller ones the allocator has the pages, and large ones take longer
fn large_pages(layout: Layout, dtype: DType, outputs: &[*mut u8]) {
    let len = layout.channels() * layout.count() * dtype.size();
    for output in outputs.iter().filter(|output| !output.is_null()) {
        if len >= stage::LARGE {
            memory::ask_for_large_pages(*output, len);
        }
    }
}

impl Forward<'_> {
    fn normal<F: Float>(&self, channel: usize, statistics: &Statistics) -> Normal<F> {
        let invstd = statistics.invstd(self.eps);
        let of = |list: Option<&[f64]>, default| list.map_or(default, |list| list[channel]);
        let (weight, bias) = (of(self.weight, 1.0), of(self.bias, 0.0));
        Normal::new(statistics.mean, invstd, weight, bias)
    }
}

impl Backward<'_> {
    fn mask(&self) -> Mask {
        match (self.relu, self.output.is_null()) {
            (false, _) => Mask::None,
            (true, true) => Mask::OfInput,
            (true, false) => Mask::OfOutput,
        }
    }

    fn inputs(&self) -> [*const u8; 3] {
        [self.input, self.grad_output, self.output]
    }

    /// Whether anything is written that is as large as the input.
    fn writes(&self) -> bool {
        !(self.grad_input.is_null() && self.grad_residual.is_null())
    }

    fn needs_sums(&self) -> bool {
        self.sums || self.training && !self.grad_input.is_null()
    }

    /// Whether what is written does not depend on the sums, which are asked for as well.
    fn writes_at_once(&self) -> bool {
        self.writes() && self.sums && (!self.training || self.grad_input.is_null())
    }

    fn weight(&self, channel: usize) -> f64 {
        self.weight.map_or(1.0, |list| list[channel])
    }

    fn normal<F: Float>(&self, channel: usize) -> Normal<F> {
        let bias = self.bias.map_or(0.0, |list| list[channel]);
        let (mean, invstd) = (self.means[channel], self.invstds[channel]);
        Normal::new(mean, invstd, self.weight(channel), bias)
    }

    /// Each channel's, from its sums, if they were needed, over `count` elements.
    fn gradients<F: Float>(
        &self,
        channels: usize,
        count: usize,
        sums: &[Sums],
    ) -> Vec<Gradient<F>> {
        let of_channel = |channel| {
            let (mean, invstd) = (self.means[channel], self.invstds[channel]);
            let scale = self.weight(channel) * invstd;
            match sums.get(channel) {
                Some(sums) if self.training => {
                    Gradient::new(count as f64, sums, mean, invstd, scale)
                }
                _ => Gradient::of_given(scale),
            }
        };
        (0..channels).map(of_channel).collect()
    }

    /// With the distances from the rounded mean made those from the mean.
    fn centered<F: Float>(&self, channel: usize, sums: &Sums) -> Sums {
        let mean = self.means[channel];
        let missed = mean - F::from_f64(mean).to_f64();
        Sums {
            grads: sums.grads,
            products: sums.products - missed * sums.grads,
        }
    }
}

/// The map of a channel, (x − center)·scale + shift.
#[derive(Clone, Copy, Debug)]
struct Normal<F> {
    center: F,
    scale: F,
    shift: F,
}

impl<F: Float> Normal<F> {
    fn new(mean: f64, invstd: f64, weight: f64, bias: f64) -> Normal<F> {
        let center = F::from_f64(mean);
        let scale = weight * invstd;
        let missed = mean - center.to_f64();
        // An infinite mean is not missed by NaN: the distances say NaN by themselves.
        let missed = if missed.is_finite() { missed } else { 0.0 };
        Normal {
            center,
            scale: F::from_f64(scale),
            shift: F::from_f64(bias - missed * scale),
        }
    }

    #[inline(always)]
    fn of([center, scale, shift]: [F; 3]) -> Normal<F> {
        Normal {
            center,
            scale,
            shift,
        }
    }

    fn numbers(&self) -> [F; 3] {
        [self.center, self.scale, self.shift]
    }

    #[inline(always)]
    fn apply(&self, x: F) -> F {
        (x - self.center) * self.scale + self.shift
    }
}

/// The gradient of a channel's input, ((dy − mean) + ((x − center)·slope + offset))·scale.
#[derive(Clone, Copy, Debug)]
struct Gradient<F> {
    mean: F,
    scale: F,
    slope: F,
    offset: F,
}

impl<F: Float> Gradient<F> {
    /// With the channel's own statistics.
    fn new(count: f64, sums: &Sums, mean: f64, invstd: f64, scale: f64) -> Gradient<F> {
        let mean_grad = sums.grads / count;
        let rounded = F::from_f64(mean_grad);
        let slope = -invstd * (invstd * (sums.products / count));
        let missed = mean - F::from_f64(mean).to_f64();
        Gradient {
            mean: rounded,
            scale: F::from_f64(scale),
            slope: F::from_f64(slope),
            offset: F::from_f64(rounded.to_f64() - mean_grad - slope * missed),
        }
    }

    /// With given statistics.
    fn of_given(scale: f64) -> Gradient<F> {
        Gradient {
            mean: F::ZERO,
            scale: F::from_f64(scale),
            slope: F::ZERO,
            offset: F::ZERO,
        }
    }

    #[inline(always)]
    fn of([mean, scale, slope, offset]: [F; 4]) -> Gradient<F> {
        Gradient {
            mean,
            scale,
            slope,
            offset,
        }
    }

    fn numbers(&self) -> [F; 4] {
        [self.mean, self.scale, self.slope, self.offset]
    }

    #[inline(always)]
    fn apply(&self, dy: F, distance: F) -> F {
        ((dy - self.mean) + (distance * self.slope + self.offset)) * self.scale
    }
}

/// NaN passes, as through torch's.
#[inline(always)]
fn relu_passes<F: Float>(z: F) -> bool {
    // Not `z > 0`: that stops NaN.
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    !(z <= F::ZERO)
}

/// `dy` and `x − center` in the type of the sums.
#[inline(always)]
fn in_wider<F: Float, A: Float>(dy: F, x: F, center: F) -> (A, A) {
    use crate::lanes::convert;
    let distance = if A::DTYPE == F::DTYPE {
        convert(x - center)
    } else {
        convert::<F, A>(x) - convert::<F, A>(center)
    };
    (convert(dy), distance)
}
