//! The same rules in place on lists of numpy arrays or CPU tensors, without a torch optimizer.

use ironstep_kernels::optim::{Prepared, clip_coefficient};
use ironstep_kernels::overlap::{Extent, Search};
use ironstep_kernels::work::{Tensor, View};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::rules::{NamedRule, Options, with_rule};
use super::{Job, agree};
use crate::tensor::{Arena, Torch, view_of};

/// The operands of one name, one for each parameter.
type Named<'py> = (String, Vec<Bound<'py, PyAny>>);

/// Updates `operands` (parameters, gradients, then the states in the rule's order; each with the
/// name under which errors speak of it) by `rule`; returns the gradients' norm if it is clipped.
#[pyfunction]
#[pyo3(signature = (rule, operands, options, steps, *, first=false, max_norm=None))]
pub fn update<'py>(
    rule: &str,
    operands: Vec<Named<'py>>,
    options: &Bound<'py, PyDict>,
    steps: Vec<u64>,
    first: bool,
    max_norm: Option<f64>,
) -> PyResult<Option<f64>> {
    with_rule!(rule, run(&operands, options, &steps, first, max_norm))
}

fn run<R: NamedRule>(
    operands: &[Named],
    options: &Bound<'_, PyDict>,
    steps: &[u64],
    first: bool,
    max_norm: Option<f64>,
) -> PyResult<Option<f64>> {
    let py = options.py();
    let rule = R::new(&Options(options))?;
    let maximize = Options(options).flag(intern!(py, "maximize"))?;
    let names: Vec<&str> = operands.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = 2 + rule.n_states();
    let (Some((params_name, params)), true) = (operands.first(), operands.len() == wanted) else {
        return Err(PyValueError::new_err(format!(
            "got {names:?}; {wanted} lists expected"
        )));
    };
    for (name, list) in operands {
        if list.len() != params.len() {
            let (got, wanted) = (list.len(), params.len());
            return Err(PyValueError::new_err(format!(
                "{name}: got {got} arrays; {wanted} expected, as in {params_name}"
            )));
        }
    }
    if steps.len() != params.len() {
        let (got, wanted) = (steps.len(), params.len());
        return Err(PyValueError::new_err(format!(
            "steps: got {got} numbers; one or {wanted} expected, as in {params_name}"
        )));
    }

    let mut arena = Arena::default();
    let mut extents = Vec::new();
    let mut job = Job::<R>::new();
    for (index, &step) in steps.iter().enumerate() {
        let mut views: Vec<View> = Vec::with_capacity(wanted);
        for (operand, (name, list)) in operands.iter().enumerate() {
            let written = operand != 1;
            let object = list
                .get(index)
                .ok_or_else(|| PyValueError::new_err("a list changed its length"))?;
            let view =
                view_of(object, written, &mut arena)?.map_err(|refusal| refusal.of(name, index))?;
            agree(views.first().unwrap_or(&view), &view, operand > 1)
                .map_err(|refusal| refusal.of(name, index))?;
            extents.push(Extent::new(&view, written));
            views.push(view);
        }
        if job.prepared.is_empty() || steps.get(index.wrapping_sub(1)) != Some(&step) {
            job.prepared
                .push(Prepared::new(&rule, maximize, step as f64, first));
        }
        job.which.push(job.prepared.len() as u32 - 1);
        job.tensors.push(Tensor::new(&views));
        if max_norm.is_some() {
            job.grads
                .extend(views.get(1).map(|grad| Tensor::new(&[*grad])));
        }
    }
    let shared = Search::default().shared(&extents);
    if !shared.is_empty() {
        let name = |&owner: &usize| {
            format!(
                "{}[{}]",
                names.get(owner % wanted).unwrap_or(&"?"),
                owner / wanted
            )
        };
        let names: Vec<String> = shared.iter().take(4).map(name).collect();
        let text = format!(
            "{}: memory that is written is shared; separate arrays expected",
            names.join(", ")
        );
        return Err(PyValueError::new_err(text));
    }
    if let Some(torch) = Torch::loaded(py)? {
        let written = PyList::empty(py);
        for (_, list) in operands
            .iter()
            .enumerate()
            .filter(|&(operand, _)| operand != 1)
            .map(|(_, named)| named)
        {
            for object in list.iter().filter(|object| torch.is_exact(object)) {
                written.append(object)?;
            }
        }
        if !written.is_empty() {
            torch.increment_version(&written)?;
        }
    }
    let Some(max_norm) = max_norm else {
        job.step(py, 1.0)?;
        return Ok(None);
    };
    let norm = job.grad_norm(py)?;
    job.step(py, clip_coefficient(norm, max_norm))?;
    Ok(Some(norm))
}
