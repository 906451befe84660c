//! Threads, and what is in use.

use ironstep_kernels::isa::Isa;
use ironstep_kernels::pool;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::optim;
use crate::tensor::Torch;

/// Sets the number of threads for all later calls; `None` goes back to the default.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub fn set_num_threads(n: Option<usize>) -> PyResult<()> {
    if let Some(n) = n
        && !(1..=pool::MOST_THREADS).contains(&n)
    {
        let most = pool::MOST_THREADS;
        return Err(PyValueError::new_err(format!(
            "n: got {n}; a number of threads from 1 to {most}, or None, expected"
        )));
    }
    pool::set_num_threads(n);
    Ok(())
}

/// The number of threads that the next call may use.
#[pyfunction]
pub fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    optim::num_threads(py)
}

/// The instruction set in use.
#[pyfunction]
pub fn instruction_set() -> &'static str {
    Isa::current().name()
}

/// The way by which torch tensors are read; `"numpy"` while torch is not imported.
#[pyfunction]
pub fn memory_path(py: Python<'_>) -> PyResult<&'static str> {
    Ok(Torch::loaded(py)?.map_or("numpy", Torch::memory_path))
}
