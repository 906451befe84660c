//! The names under which torch's param groups and states hold what each rule needs.

use ironstep_kernels::optim::{Adagrad, Adam, Rmsprop, Sgd, UpdateRule};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{ffi, intern};

use crate::error::{Obstacle, Refusal};
use crate::tensor::{Torch, lookup};

/// A rule that knows torch's names.
pub trait NamedRule: UpdateRule + Sized + Send {
    /// Whether each parameter counts its steps in `state["step"]`.
    const COUNTS_STEPS: bool;

    /// Reads the hyperparameters.
    fn new(options: &Options) -> Result<Self, Obstacle>;

    /// The keys of the states, in the order of the kernel.
    fn states<'py>(&self, py: Python<'py>) -> Vec<&'py Bound<'py, PyString>>;
}

/// Calls a generic function with the rule of that name.
macro_rules! with_rule {
    ($name:expr, $function:ident($($argument:expr),*)) => {
        match $name {
            "sgd" => $function::<ironstep_kernels::optim::Sgd>($($argument),*),
            "adagrad" => $function::<ironstep_kernels::optim::Adagrad>($($argument),*),
            "rmsprop" => $function::<ironstep_kernels::optim::Rmsprop>($($argument),*),
            "adam" => $function::<ironstep_kernels::optim::Adam>($($argument),*),
            other => Err($crate::optim::rules::unknown_rule(other)),
        }
    };
}
pub(crate) use with_rule;

pub fn unknown_rule(name: &str) -> PyErr {
    PyValueError::new_err(format!(
        "rule: got {name:?}; sgd, adagrad, rmsprop or adam expected"
    ))
}

/// The hyperparameters of a param group.
pub struct Options<'a, 'py>(pub &'a Bound<'py, PyDict>);

impl<'py> Options<'_, 'py> {
    /// The value of a key; a KeyError if there is none.
    pub fn value(&self, key: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        lookup(self.0, key)?.ok_or_else(|| PyKeyError::new_err(key.to_string()))
    }

    /// A number, or a one-element tensor on the CPU.
    fn number(&self, key: &Bound<'py, PyString>) -> Result<f64, Obstacle> {
        number(&self.value(key)?, key)
    }

    /// Whether a flag is set; a missing one is not.
    pub fn flag(&self, key: &Bound<'py, PyString>) -> PyResult<bool> {
        lookup(self.0, key)?.map_or(Ok(false), |value| value.is_truthy())
    }
}

fn number(value: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> Result<f64, Obstacle> {
    let py = value.py();
    // SAFETY: the object is alive.
    if unsafe { ffi::PyFloat_CheckExact(value.as_ptr()) } == 0
        && let Some(torch) = Torch::loaded(py)?
        && torch.is_tensor(value)?
    {
        let device = value
            .getattr(intern!(py, "device"))?
            .getattr(intern!(py, "type"))?;
        if !torch.is_exact(value) || device.extract::<String>()? != "cpu" {
            let text = format!("{name} is a tensor that is not on the CPU");
            return Err(Refusal::Type(text).into());
        }
        let item = value.call_method0(intern!(py, "item"));
        return Ok(item
            .and_then(|item| item.extract())
            .map_err(|error| no_number(name, value, &error))?);
    }
    Ok(value
        .extract()
        .map_err(|error| no_number(name, value, &error))?)
}

/// A TypeError, or the ValueError that Python raised, that names the option.
fn no_number(name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>, error: &PyErr) -> PyErr {
    let py = name.py();
    let got = value
        .repr()
        .map_or_else(|_| "?".into(), |text| text.to_string());
    let text = format!("{name}: got {got}; a number expected ({error})");
    if error.is_instance_of::<PyValueError>(py) {
        PyValueError::new_err(text)
    } else {
        PyTypeError::new_err(text)
    }
}

impl NamedRule for Sgd {
    const COUNTS_STEPS: bool = false;

    fn new(options: &Options) -> Result<Sgd, Obstacle> {
        let py = options.0.py();
        Ok(Sgd {
            lr: options.number(intern!(py, "lr"))?,
            momentum: options.number(intern!(py, "momentum"))?,
            dampening: options.number(intern!(py, "dampening"))?,
            weight_decay: options.number(intern!(py, "weight_decay"))?,
            nesterov: options.flag(intern!(py, "nesterov"))?,
        })
    }

    fn states<'py>(&self, py: Python<'py>) -> Vec<&'py Bound<'py, PyString>> {
        if self.n_states() > 0 {
            vec![intern!(py, "momentum_buffer")]
        } else {
            vec![]
        }
    }
}

impl NamedRule for Adagrad {
    const COUNTS_STEPS: bool = true;

    fn new(options: &Options) -> Result<Adagrad, Obstacle> {
        let py = options.0.py();
        Ok(Adagrad {
            lr: options.number(intern!(py, "lr"))?,
            lr_decay: options.number(intern!(py, "lr_decay"))?,
            weight_decay: options.number(intern!(py, "weight_decay"))?,
            eps: options.number(intern!(py, "eps"))?,
        })
    }

    fn states<'py>(&self, py: Python<'py>) -> Vec<&'py Bound<'py, PyString>> {
        vec![intern!(py, "sum")]
    }
}

impl NamedRule for Rmsprop {
    const COUNTS_STEPS: bool = true;

    fn new(options: &Options) -> Result<Rmsprop, Obstacle> {
        let py = options.0.py();
        Ok(Rmsprop {
            lr: options.number(intern!(py, "lr"))?,
            alpha: options.number(intern!(py, "alpha"))?,
            eps: options.number(intern!(py, "eps"))?,
            weight_decay: options.number(intern!(py, "weight_decay"))?,
            momentum: options.number(intern!(py, "momentum"))?,
            centered: options.flag(intern!(py, "centered"))?,
            eps_inside_sqrt: options.flag(intern!(py, "eps_inside_sqrt"))?,
        })
    }

    fn states<'py>(&self, py: Python<'py>) -> Vec<&'py Bound<'py, PyString>> {
        let mut names = vec![intern!(py, "square_avg")];
        if self.momentum > 0.0 {
            names.push(intern!(py, "momentum_buffer"));
        }
        if self.centered {
            names.push(intern!(py, "grad_avg"));
        }
        names
    }
}

impl NamedRule for Adam {
    const COUNTS_STEPS: bool = true;

    fn new(options: &Options) -> Result<Adam, Obstacle> {
        let py = options.0.py();
        let name = intern!(py, "betas");
        let betas = options.value(name)?;
        let of_betas = |error| no_number(name, &betas, &error);
        if betas.len().map_err(of_betas)? != 2 {
            return Err(of_betas(PyValueError::new_err("two expected")).into());
        }
        let beta = |index: usize| number(&betas.get_item(index).map_err(of_betas)?, name);
        let correct_first = match lookup(options.0, intern!(py, "bias_correction"))? {
            Some(form) => form.eq(intern!(py, "both"))?,
            None => true,
        };
        Ok(Adam {
            lr: options.number(intern!(py, "lr"))?,
            beta1: beta(0)?,
            beta2: beta(1)?,
            eps: options.number(intern!(py, "eps"))?,
            weight_decay: options.number(intern!(py, "weight_decay"))?,
            decoupled_weight_decay: options.flag(intern!(py, "decoupled_weight_decay"))?,
            amsgrad: options.flag(intern!(py, "amsgrad"))?,
            correct_first,
        })
    }

    fn states<'py>(&self, py: Python<'py>) -> Vec<&'py Bound<'py, PyString>> {
        let mut names = vec![intern!(py, "exp_avg"), intern!(py, "exp_avg_sq")];
        if self.amsgrad {
            names.push(intern!(py, "max_exp_avg_sq"));
        }
        names
    }
}
