//! Cross-entropy of torch tensors and numpy arrays.

use ironstep_kernels::dtype::DType;
use ironstep_kernels::isa::Isa;
use ironstep_kernels::loss::{self, CrossEntropy, Layout, Matrix, Reduction, Share, Targets};
use ironstep_kernels::work::View;
use numpy::PyReadonlyArray1;
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::error::Refusal;
use crate::optim::num_threads;
use crate::tensor::{Arena, Torch, shape_text, type_name, view_of_array};

/// Logits below which a loss is not worth another thread, nor letting go of the GIL.
// measured: with 8 Ki logits of 10 classes (23 µs) a second thread saves a quarter; of 100 classes (10 µs)
// it costs 1 µs, and saves a quarter from 32 Ki on
const SMALL: usize = 8 * 1024;

/// The loss, and by what the sum over the rows was divided.
///
/// `target` holds labels, flattened; or probabilities, as `logits` does. With `other` and `share`, the
/// targets are two labels in shares. `losses` takes the rows' losses if `reduction` is "none",
/// `gradient` the derivative by the logits: of the reduced loss if `scaled`, of the rows' otherwise.
#[pyfunction]
#[pyo3(signature = (
    logits, target, *, other=None, share=None, weight=None, sample_weight=None, ignore_index=-100,
    hit=1.0, spread=0.0, reduction="mean", losses=None, gradient=None, scaled=true,
))]
#[allow(clippy::too_many_arguments)]
pub fn cross_entropy<'py>(
    logits: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    other: Option<PyReadonlyArray1<'py, i64>>,
    share: Option<&Bound<'py, PyAny>>,
    weight: Option<PyReadonlyArray1<'py, f64>>,
    sample_weight: Option<PyReadonlyArray1<'py, f64>>,
    ignore_index: i64,
    hit: f64,
    spread: f64,
    reduction: &str,
    losses: Option<&Bound<'py, PyAny>>,
    gradient: Option<&Bound<'py, PyAny>>,
    scaled: bool,
) -> PyResult<(f64, f64)> {
    let py = logits.py();
    let mut arena = Arena::default();
    let view_of_logits = view(logits, "input", false, &mut arena)?;
    let shape = view_of_logits.shape;
    let logits = matrix(&view_of_logits).map_err(|refusal| refusal.of_operand("input"))?;
    let (rows, classes) = (logits.layout.rows(), logits.layout.classes);
    let mut like_logits = |object: &Bound<'py, PyAny>, name: &str, written: bool| {
        let view = view(object, name, written, &mut arena)?;
        if view.shape != shape || view.dtype != view_of_logits.dtype {
            return Err(PyValueError::new_err(format!(
                "{name}: got {} of shape {}; {} of shape {} expected, as input is",
                view.dtype.name(),
                shape_text(view.shape),
                view_of_logits.dtype.name(),
                shape_text(shape),
            )));
        }
        Ok(matrix(&view).map_err(|refusal| refusal.of_operand(name))?)
    };
    let gradient = gradient
        .map(|gradient| like_logits(gradient, "gradient", true))
        .transpose()?;

    let labels: Option<PyReadonlyArray1<'py, i64>> = target.extract().ok();
    let probabilities = match labels {
        Some(_) => None,
        None => Some(like_logits(target, "target", false)?),
    };
    let shares: Option<PyReadonlyArray1<'py, f64>> = share.and_then(|share| share.extract().ok());
    let list = |name: &str, len: usize, wanted: usize| {
        if len == wanted {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "{name}: got {len} elements; {wanted} expected"
        )))
    };
    let targets = match (&labels, &other, share, probabilities) {
        (Some(labels), None, None, _) => {
            let labels = labels.as_slice()?;
            list("target", labels.len(), rows)?;
            Targets::Classes(labels)
        }
        (Some(first), Some(second), Some(share), _) => {
            let (first, second) = (first.as_slice()?, second.as_slice()?);
            list("target[0]", first.len(), rows)?;
            list("target[1]", second.len(), rows)?;
            let share = match &shares {
                Some(shares) => {
                    let shares = shares.as_slice()?;
                    list("target[2]", shares.len(), rows)?;
                    Share::Each(shares)
                }
                None => Share::All(share.extract()?),
            };
            Targets::Mixed(first, second, share)
        }
        (None, None, None, Some(probabilities)) => Targets::Probabilities(probabilities),
        _ => {
            return Err(PyTypeError::new_err(
                "target: labels, two lists of labels with a share, or probabilities expected",
            ));
        }
    };
    let weight = weight
        .as_ref()
        .map(|weight| weight.as_slice())
        .transpose()?;
    if let Some(weight) = weight {
        list("weight", weight.len(), classes)?;
    }
    let sample_weight = sample_weight
        .as_ref()
        .map(|weight| weight.as_slice())
        .transpose()?;
    if let Some(weight) = sample_weight {
        list("sample_weight", weight.len(), rows)?;
    }
    let reduction = match reduction {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => {
            return Err(PyValueError::new_err(format!(
                "reduction: got {other:?}; 'none', 'mean' or 'sum' expected"
            )));
        }
    };
    let losses = losses
        .map(|losses| {
            let view = view(losses, "losses", true, &mut arena)?;
            list("losses", view.len(), rows)?;
            if !view.is_contiguous() || view.dtype != view_of_logits.dtype {
                return Err(PyValueError::new_err(
                    "losses: a contiguous array of input's dtype expected",
                ));
            }
            Ok(Matrix {
                data: view.data,
                dtype: view.dtype,
                layout: Layout {
                    outer_stride: logits.layout.inner as isize,
                    inner_stride: 1,
                    ..logits.layout
                },
            })
        })
        .transpose()?;

    let what = CrossEntropy {
        targets,
        ignore_index,
        hit,
        spread,
        weight,
        sample_weight,
        reduction,
    };
    let isa = Isa::current();
    let work = |threads: usize| {
        // SAFETY: the views were read under the GIL in this call, the caller holds the objects, and
        // `losses` and `gradient` are its own.
        unsafe {
            match logits.dtype {
                DType::F64 => loss::cross_entropy::<f64>(
                    isa, threads, &what, logits, losses, gradient, scaled,
                ),
                _ => loss::cross_entropy::<f32>(
                    isa, threads, &what, logits, losses, gradient, scaled,
                ),
            }
        }
    };
    let answer = if rows * classes <= SMALL {
        work(1)
    } else {
        let threads = num_threads(py)?;
        py.detach(|| work(threads))
    };
    let answer = answer.map_err(|bad| {
        let name = match (other.is_some(), bad.list) {
            (false, _) => "target".into(),
            (true, list) => format!("target[{list}]"),
        };
        PyIndexError::new_err(format!(
            "Target {} is out of bounds: {name} of row {}; a class below {classes} expected",
            bad.label, bad.row
        ))
    })?;
    Ok((answer.loss, answer.divisor))
}

/// The memory of an array or tensor.
fn view<'a>(
    object: &Bound<'_, PyAny>,
    name: &str,
    written: bool,
    arena: &mut Arena,
) -> PyResult<View<'a>> {
    let view = if let Ok(array) = object.cast::<PyUntypedArray>() {
        view_of_array(array, written, arena)
    } else if let Some(torch) = Torch::loaded(object.py())?
        && torch.is_tensor(object)?
    {
        torch.view(object, arena)
    } else {
        Err(Refusal::Type(format!(
            "got {}; a numpy array or a torch tensor expected",
            type_name(object)
        )))
    };
    Ok(view.map_err(|refusal| refusal.of_operand(name))?)
}

/// Shape (C,), (N, C) or (N, C, d₁, …), where the dimensions behind the classes are walked as one.
fn matrix(view: &View) -> Result<Matrix, Refusal> {
    let dims = || view.shape.iter().zip(view.strides);
    let layout = match view.shape {
        [] => return Err(Refusal::Value("got no dimension; classes expected".into())),
        [_] => [(1, 0), (1, 0)],
        [_, _, ..] => {
            let mut inner = (1, 0);
            for (&size, &stride) in dims().skip(2).filter(|&(&size, _)| size != 1) {
                if inner.0 != 1 && inner.1 != size * stride {
                    return Err(Refusal::Value(
                        "the dimensions behind the classes are not one in memory".into(),
                    ));
                }
                inner = (inner.0 * size, stride);
            }
            let outer = dims()
                .next()
                .map_or((1, 0), |(&size, &stride)| (size, stride));
            // Rows without a dimension behind the classes are the pixels of one image.
            if inner.0 == 1 {
                [(1, 0), outer]
            } else {
                [outer, inner]
            }
        }
    };
    let classes = dims().nth(usize::from(view.shape.len() > 1));
    let (&classes, &class_stride) = classes.unwrap_or((&0, &1));
    if classes == 0 {
        return Err(Refusal::Value("got no class; at least one expected".into()));
    }
    let [(outer, outer_stride), (inner, inner_stride)] = layout;
    Ok(Matrix {
        data: view.data,
        dtype: view.dtype,
        layout: Layout {
            outer: outer as usize,
            inner: inner as usize,
            classes: classes as usize,
            outer_stride: outer_stride as isize,
            inner_stride: inner_stride as isize,
            class_stride: if classes == 1 {
                1
            } else {
                class_stride as isize
            },
        },
    })
}
