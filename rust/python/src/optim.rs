//! The optimizers' step: from torch's param groups, or from lists of arrays, to one job of the kernels.

mod arrays;
mod rules;
mod stepper;

pub use arrays::update;
pub use stepper::Stepper;

use ironstep_kernels::dtype::DType;
use ironstep_kernels::isa::Isa;
use ironstep_kernels::optim::{self, Prepared, UpdateRule};
use ironstep_kernels::pool;
use ironstep_kernels::work::{Tensor, View, WorkList};
use pyo3::prelude::*;

use crate::error::Refusal;
use crate::tensor::{Torch, shape_text};

/// Elements below which a job is not worth another thread, nor letting go of the GIL.
// measured: with 32 Ki elements the second thread gains what waking it costs
const SMALL: usize = 32 * 1024;

/// Tensors that are ready to be updated: all checks are done.
struct Job<R: UpdateRule> {
    prepared: Vec<Prepared<R>>,
    /// Which of `prepared` each tensor takes.
    which: Vec<u32>,
    tensors: Vec<Tensor>,
    /// The gradients alone, where their norm is asked for.
    grads: Vec<Tensor>,
}

impl<R: UpdateRule> Job<R> {
    fn new() -> Job<R> {
        Job {
            prepared: Vec::new(),
            which: Vec::new(),
            tensors: Vec::new(),
            grads: Vec::new(),
        }
    }

    fn grad_norm(&self, py: Python<'_>) -> PyResult<f64> {
        // SAFETY: the views were read under the GIL in this call, and the caller holds the objects.
        run(py, &self.grads, |threads, work| unsafe {
            optim::grad_norm(Isa::current(), threads, &self.grads, work)
        })
    }

    fn step(&self, py: Python<'_>, grad_scale: f64) -> PyResult<()> {
        // SAFETY: as above; written memory that is shared was refused.
        run(py, &self.tensors, |threads, work| unsafe {
            optim::step(
                Isa::current(),
                threads,
                &self.prepared,
                &self.which,
                &self.tensors,
                work,
                grad_scale,
            );
        })
    }
}

/// Whether a gradient or a state fits its parameter: same shape, same type; a state of a bfloat16 or
/// float16 parameter may be float32.
fn agree(param: &View, other: &View, is_state: bool) -> Result<(), Refusal> {
    if other.shape != param.shape {
        let shape = |view: &View| shape_text(view.shape);
        return Err(Refusal::Value(format!(
            "shape {} does not match the parameter's {}",
            shape(other),
            shape(param)
        )));
    }
    let half = matches!(param.dtype, DType::Bf16 | DType::F16);
    if other.dtype != param.dtype && !(is_state && half && other.dtype == DType::F32) {
        let (got, wanted) = (other.dtype.name(), param.dtype.name());
        return Err(Refusal::Type(format!(
            "dtype {got} does not match the parameter's {wanted}"
        )));
    }
    Ok(())
}

/// Cuts the tensors into a work list and runs a job on it, without the GIL if it is worth it.
fn run<T: Send>(
    py: Python<'_>,
    tensors: &[Tensor],
    job: impl Fn(usize, &WorkList) -> T + Send + Sync,
) -> PyResult<T> {
    let mut work = WorkList::default();
    for (index, tensor) in tensors.iter().enumerate() {
        work.push(index, tensor);
    }
    if work.len() < SMALL {
        return Ok(job(1, &work));
    }
    let threads = num_threads(py)?;
    Ok(py.detach(|| job(threads, &work)))
}

/// The factor that `torch.nn.utils.clip_grad_norm_` applies.
#[pyfunction]
pub fn clip_coefficient(norm: f64, max_norm: f64) -> f64 {
    optim::clip_coefficient(norm, max_norm)
}

/// The norm of what has these two norms; NaN if either is, as in torch.
#[pyfunction]
pub fn total_norm(norm: f64, other: f64) -> f64 {
    if norm.is_nan() || other.is_nan() {
        f64::NAN
    } else {
        norm.hypot(other)
    }
}

/// What was asked for, or else as many as torch would use and the machine has.
pub fn num_threads(py: Python<'_>) -> PyResult<usize> {
    if let Some(requested) = pool::requested_threads() {
        return Ok(requested);
    }
    let available = pool::available_threads();
    Ok(match Torch::loaded(py)? {
        Some(torch) => available.min(torch.num_threads(py)?),
        None => available,
    })
}
