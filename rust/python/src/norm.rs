//! Batch normalization of torch tensors and numpy arrays.

use ironstep_kernels::dtype::{DType, numbers, set_numbers};
use ironstep_kernels::isa::Isa;
use ironstep_kernels::norm::{self, Backward, Forward, Layout, Statistics};
use ironstep_kernels::work::View;
use pyo3::prelude::*;

use crate::error::Refusal;
use crate::optim::num_threads;
use crate::tensor::{Arena, shape_text, view_of};

/// Elements below which another thread is not worth waking.
// measured: as for an optimizer's step
const SMALL: usize = 32 * 1024;

/// Fills `output` with `input` normalised, plus `residual`, through the ReLU if `relu`; `saved`, of shape
/// (2, C), with the means and 1/√(variance + eps); and moves the running statistics if `training`.
#[pyfunction]
#[pyo3(signature = (
    input, weight, bias, running_mean, running_var, residual, output, saved, *, training, momentum, eps, relu
))]
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_forward(
    py: Python<'_>,
    input: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    bias: Option<&Bound<'_, PyAny>>,
    running_mean: Option<&Bound<'_, PyAny>>,
    running_var: Option<&Bound<'_, PyAny>>,
    residual: Option<&Bound<'_, PyAny>>,
    output: &Bound<'_, PyAny>,
    saved: &Bound<'_, PyAny>,
    training: bool,
    momentum: f64,
    eps: f64,
    relu: bool,
) -> PyResult<()> {
    let mut arena = Arena::default();
    let images = Images::new(input, &mut arena)?;
    let residual = images.same("residual", residual, false, &mut arena)?;
    let output = images.same("output", Some(output), true, &mut arena)?;
    let weight = images.list("weight", weight, false, &mut arena)?;
    let bias = images.list("bias", bias, false, &mut arena)?;
    let running_mean = images.list("running_mean", running_mean, training, &mut arena)?;
    let running_var = images.list("running_var", running_var, training, &mut arena)?;
    let saved = images.saved(saved, true, &mut arena)?;
    if running_mean.is_some() != running_var.is_some() || !training && running_mean.is_none() {
        let text = "running_mean and running_var: both expected, or neither in training";
        return Err(Refusal::Value(text.into()).into());
    }
    let count = images.layout.count();
    if training && count == 0 {
        let text = format!(
            "input: got shape {}; at least one value for each channel expected",
            shape_text(images.view.shape)
        );
        return Err(Refusal::Value(text).into());
    }
    let mut means = List::values(running_mean.as_ref());
    let mut variances = List::values(running_var.as_ref());
    let (weight, bias) = (List::values(weight.as_ref()), List::values(bias.as_ref()));
    let job = Forward {
        dtype: images.view.dtype,
        input: images.view.data,
        residual: residual.map_or(std::ptr::null(), |view| view.data.cast_const()),
        output: output.map_or(std::ptr::null_mut(), |view| view.data),
        weight: weight.as_deref(),
        bias: bias.as_deref(),
        eps,
        relu,
    };
    let given: Option<Vec<Statistics>> = match (&means, &variances) {
        (Some(means), Some(variances)) if !training => {
            let channels = means.iter().zip(variances);
            let statistics = channels.map(|(&mean, &variance)| Statistics { mean, variance });
            Some(statistics.collect())
        }
        _ => None,
    };
    // SAFETY: the views were read under the GIL in this call, and the caller holds the objects.
    let found = images.run(py, |isa, threads| unsafe {
        norm::forward(isa, threads, images.layout, &job, given.as_deref())
    })?;
    let of_means = found.iter().map(|statistics| statistics.mean);
    let invstds = found.iter().map(|statistics| statistics.invstd(eps));
    saved.set(&of_means.chain(invstds).collect::<Vec<f64>>());
    if let (true, Some(means), Some(variances)) = (training, &mut means, &mut variances) {
        for ((mean, variance), statistics) in means.iter_mut().zip(variances.iter_mut()).zip(&found)
        {
            statistics.update(count, momentum, mean, variance);
        }
        running_mean.iter().for_each(|list| list.set(means));
        running_var.iter().for_each(|list| list.set(variances));
    }
    Ok(())
}

/// Fills the gradients that are given, each `None` if it is not asked for.
#[pyfunction]
#[pyo3(signature = (
    grad_output, input, weight, bias, output, saved, grad_input, grad_residual, grad_weight, grad_bias, *,
    training, relu
))]
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward(
    py: Python<'_>,
    grad_output: &Bound<'_, PyAny>,
    input: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    bias: Option<&Bound<'_, PyAny>>,
    output: Option<&Bound<'_, PyAny>>,
    saved: &Bound<'_, PyAny>,
    grad_input: Option<&Bound<'_, PyAny>>,
    grad_residual: Option<&Bound<'_, PyAny>>,
    grad_weight: Option<&Bound<'_, PyAny>>,
    grad_bias: Option<&Bound<'_, PyAny>>,
    training: bool,
    relu: bool,
) -> PyResult<()> {
    let mut arena = Arena::default();
    let images = Images::new(input, &mut arena)?;
    let grad_output = images.same("grad_output", Some(grad_output), false, &mut arena)?;
    let output = images.same("output", output, false, &mut arena)?;
    let grad_input = images.same("grad_input", grad_input, true, &mut arena)?;
    let grad_residual = images.same("grad_residual", grad_residual, true, &mut arena)?;
    let weight = images.list("weight", weight, false, &mut arena)?;
    let bias = images.list("bias", bias, false, &mut arena)?;
    let grad_weight = images.list("grad_weight", grad_weight, true, &mut arena)?;
    let grad_bias = images.list("grad_bias", grad_bias, true, &mut arena)?;
    if grad_residual.is_some() && !(relu && output.is_some()) {
        let text = "expected only with relu and output; without a ReLU it is grad_output";
        return Err(Refusal::Value(text.into())
            .of_operand("grad_residual")
            .into());
    }
    let saved = images.saved(saved, false, &mut arena)?.get();
    let (means, invstds) = saved.split_at(saved.len() / 2);
    let (weight, bias) = (List::values(weight.as_ref()), List::values(bias.as_ref()));
    let written = |view: Option<View<'_>>| view.map_or(std::ptr::null_mut(), |view| view.data);
    let job = Backward {
        dtype: images.view.dtype,
        grad_output: written(grad_output),
        input: images.view.data,
        output: written(output),
        grad_input: written(grad_input),
        grad_residual: written(grad_residual),
        weight: weight.as_deref(),
        bias: bias.as_deref(),
        means,
        invstds,
        training,
        sums: grad_weight.is_some() || grad_bias.is_some(),
        relu,
    };
    // SAFETY: the views were read under the GIL in this call, and the caller holds the objects.
    let sums = images.run(py, |isa, threads| unsafe {
        norm::backward(isa, threads, images.layout, &job)
    })?;
    if let Some(list) = grad_weight {
        let grads = sums
            .iter()
            .zip(invstds)
            .map(|(sums, &invstd)| sums.of_weight(invstd));
        list.set(&grads.collect::<Vec<f64>>());
    }
    if let Some(list) = grad_bias {
        list.set(&sums.iter().map(|sums| sums.grads).collect::<Vec<f64>>());
    }
    Ok(())
}

/// What is normalised, and where its elements are.
struct Images<'a> {
    view: View<'a>,
    layout: Layout,
}

impl<'a> Images<'a> {
    fn new(input: &Bound<'_, PyAny>, arena: &mut Arena) -> PyResult<Images<'a>> {
        let view = view_of(input, false, arena)?.map_err(|refusal| refusal.of_operand("input"))?;
        let layout = layout(&view).map_err(|refusal| refusal.of_operand("input"))?;
        Ok(Images { view, layout })
    }

    /// A buffer that is laid out as the input.
    fn same(
        &self,
        name: &str,
        object: Option<&Bound<'_, PyAny>>,
        written: bool,
        arena: &mut Arena,
    ) -> PyResult<Option<View<'a>>> {
        let Some(object) = object else {
            return Ok(None);
        };
        let view = view_of(object, written, arena)?.map_err(|refusal| refusal.of_operand(name))?;
        let wrong = if view.shape != self.view.shape {
            let (got, wanted) = (shape_text(view.shape), shape_text(self.view.shape));
            Refusal::Value(format!("shape {got} does not match the input's {wanted}"))
        } else if view.dtype != self.view.dtype {
            let (got, wanted) = (view.dtype.name(), self.view.dtype.name());
            Refusal::Type(format!("dtype {got} does not match the input's {wanted}"))
        } else if layout(&view).ok() != Some(self.layout) {
            let (got, wanted) = (shape_text(view.strides), shape_text(self.view.strides));
            Refusal::Value(format!("strides {got} do not match the input's {wanted}"))
        } else {
            return Ok(Some(view));
        };
        Err(wrong.of_operand(name).into())
    }

    /// A number for each channel.
    fn list(
        &self,
        name: &str,
        object: Option<&Bound<'_, PyAny>>,
        written: bool,
        arena: &mut Arena,
    ) -> PyResult<Option<List<'a>>> {
        let Some(object) = object else {
            return Ok(None);
        };
        let view = view_of(object, written, arena)?.map_err(|refusal| refusal.of_operand(name))?;
        let channels = self.view.shape.get(1..2).unwrap_or_default();
        let half = matches!(self.view.dtype, DType::Bf16 | DType::F16);
        let wrong = if view.shape != channels {
            let (got, wanted) = (shape_text(view.shape), shape_text(channels));
            Refusal::Value(format!(
                "got shape {got}; {wanted} expected, a number for each channel"
            ))
        } else if view.dtype != self.view.dtype && !(half && view.dtype == DType::F32) {
            let (got, wanted) = (view.dtype.name(), self.view.dtype.name());
            Refusal::Type(format!("dtype {got} does not match the input's {wanted}"))
        } else {
            return Ok(Some(List(view)));
        };
        Err(wrong.of_operand(name).into())
    }

    /// Means and 1/√(variance + eps).
    fn saved(
        &self,
        object: &Bound<'_, PyAny>,
        written: bool,
        arena: &mut Arena,
    ) -> PyResult<List<'a>> {
        let view =
            view_of(object, written, arena)?.map_err(|refusal| refusal.of_operand("saved"))?;
        let channels = self.view.shape.get(1).copied().unwrap_or_default();
        if view.shape != [2, channels] || view.dtype != DType::F64 || !view.is_contiguous() {
            let got = shape_text(view.shape);
            let text =
                format!("got shape {got}; contiguous float64 of shape (2, {channels}) expected");
            return Err(Refusal::Value(text).of_operand("saved").into());
        }
        Ok(List(view))
    }

    /// Runs a job, on several threads if it is worth it.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        job: impl FnOnce(Isa, usize) -> T + Send,
    ) -> PyResult<T> {
        let threads = if self.view.len() < SMALL {
            1
        } else {
            num_threads(py)?
        };
        Ok(py.detach(|| job(Isa::current(), threads)))
    }
}

/// Row-major or channels last; both, where they are the same.
fn layout(view: &View) -> Result<Layout, Refusal> {
    let [batch, channels, positions @ ..] = view.shape else {
        let got = shape_text(view.shape);
        return Err(Refusal::Value(format!(
            "got shape {got}; (N, C, …) expected"
        )));
    };
    let count: i64 = positions.iter().product();
    let of = |channels_last| {
        Layout::new(
            *batch as usize,
            *channels as usize,
            count as usize,
            channels_last,
        )
    };
    if view.is_contiguous() {
        return Ok(of(false));
    }
    let mut step = 1;
    let last_to_first = std::iter::once(1)
        .chain((2..view.shape.len()).rev())
        .chain([0]);
    for axis in last_to_first {
        let (size, stride) = (view.shape.get(axis), view.strides.get(axis));
        let (Some(&size), Some(&stride)) = (size, stride) else {
            continue;
        };
        if size != 1 && stride != step {
            let got = shape_text(view.strides);
            let text =
                format!("got strides {got}; a dense row-major or channels-last layout expected");
            return Err(Refusal::Value(text));
        }
        step *= size;
    }
    Ok(of(true))
}

/// A list of numbers in their own type.
struct List<'a>(View<'a>);

impl List<'_> {
    fn stride(&self) -> isize {
        self.0.strides.last().copied().unwrap_or(1) as isize
    }

    fn get(&self) -> Vec<f64> {
        // SAFETY: the view was read under the GIL in this call.
        unsafe { numbers(self.0.dtype, self.0.data, self.0.len(), self.stride()) }
    }

    fn set(&self, values: &[f64]) {
        debug_assert_eq!(values.len(), self.0.len());
        // SAFETY: as above; it is written by its own caller alone.
        unsafe { set_numbers(self.0.dtype, self.0.data, self.stride(), values) }
    }

    fn values(list: Option<&List<'_>>) -> Option<Vec<f64>> {
        list.map(List::get)
    }
}
