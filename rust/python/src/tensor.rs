//! Borrowed views of torch tensors and numpy arrays.
//!
//! A view is read anew at every call: it holds pointers that are good while the object is alive and
//! nobody resizes it, which the caller ensures by holding the GIL until the view has been copied into
//! a [`Tensor`](ironstep_kernels::work::Tensor), and the object until the work is done.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use ironstep_kernels::dtype::DType;
use ironstep_kernels::work::View;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyDict, PyList, PyString, PyType};
use pyo3::{ffi, intern};

use crate::error::Refusal;
use crate::team;

/// Shapes and strides that no object keeps for us: boxes, so that they stay where they are.
#[derive(Default)]
pub struct Arena(Vec<Box<[i64]>>);

impl Arena {
    fn keep<'a>(&mut self, values: impl IntoIterator<Item = i64>) -> &'a [i64] {
        let values: Box<[i64]> = values.into_iter().collect();
        let (data, len) = (values.as_ptr(), values.len());
        self.0.push(values);
        // SAFETY: a box's content does not move, and views are dropped before the arena: both live
        // in the same function.
        unsafe { std::slice::from_raw_parts(data, len) }
    }
}

/// What is remembered of an imported torch.
pub struct Torch {
    tensor: Py<PyType>,
    parameter: Py<PyType>,
    float64: Py<PyAny>,
    float32: Py<PyAny>,
    bfloat16: Py<PyAny>,
    float16: Py<PyAny>,
    strided: Py<PyAny>,
    get_num_threads: Py<PyAny>,
    increment_version: Py<PyAny>,
    dispatch_modes: Py<PyAny>,
    /// `dltensor_from_py_object_no_sync`, where torch has the DLPack exchange API.
    exchange: Option<FromPyObject>,
}

type FromPyObject = unsafe extern "C" fn(*mut c_void, *mut DlTensor) -> c_int;

impl Torch {
    /// torch, if the program has imported it.
    pub fn loaded(py: Python<'_>) -> PyResult<Option<&'static Torch>> {
        static TORCH: PyOnceLock<Torch> = PyOnceLock::new();
        if let Some(torch) = TORCH.get(py) {
            return Ok(Some(torch));
        }
        let modules = py
            .import(intern!(py, "sys"))?
            .getattr(intern!(py, "modules"))?;
        let modules = modules.cast_into::<PyDict>()?;
        match modules.get_item(intern!(py, "torch"))? {
            // A module that is still being imported has no `nn` yet.
            Some(torch) if torch.hasattr(intern!(py, "nn"))? => {
                let torch = TORCH.get_or_try_init(py, || Torch::new(&torch))?;
                team::enlist();
                Ok(Some(torch))
            }
            _ => Ok(None),
        }
    }

    /// torch, which a torch optimizer cannot do without.
    pub fn required(py: Python<'_>) -> PyResult<&'static Torch> {
        Torch::loaded(py)?.ok_or_else(|| PyImportError::new_err("torch is not imported"))
    }

    fn new(torch: &Bound<'_, PyAny>) -> PyResult<Torch> {
        let get = |path: &str| -> PyResult<Bound<'_, PyAny>> {
            path.split('.')
                .try_fold(torch.clone(), |object, name| object.getattr(name))
        };
        let tensor = get("Tensor")?.cast_into::<PyType>()?;
        Ok(Torch {
            exchange: exchange_api(&tensor)?,
            tensor: tensor.unbind(),
            parameter: get("nn.Parameter")?.cast_into::<PyType>()?.unbind(),
            float64: get("float64")?.unbind(),
            float32: get("float32")?.unbind(),
            bfloat16: get("bfloat16")?.unbind(),
            float16: get("float16")?.unbind(),
            strided: get("strided")?.unbind(),
            get_num_threads: get("get_num_threads")?.unbind(),
            increment_version: get("autograd.graph.increment_version")?.unbind(),
            dispatch_modes: get("_C._len_torch_dispatch_stack")?.unbind(),
        })
    }

    /// By which way tensors are read.
    pub fn memory_path(&self) -> &'static str {
        if self.exchange.is_some() {
            "dlpack"
        } else {
            "data_ptr"
        }
    }

    /// The size of torch's own team.
    pub fn num_threads(&self, py: Python<'_>) -> PyResult<usize> {
        self.get_num_threads.bind(py).call0()?.extract()
    }

    /// Whether a dispatch mode (a fake or a counting one, say) watches every operation.
    pub fn is_watched(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.dispatch_modes.bind(py).call0()?.extract::<usize>()? > 0)
    }

    /// Tells autograd that these tensors are written.
    pub fn increment_version(&self, tensors: &Bound<'_, PyList>) -> PyResult<()> {
        self.increment_version
            .bind(tensors.py())
            .call1((tensors,))
            .map(drop)
    }

    /// Whether this is a plain tensor or parameter, no subclass.
    pub fn is_exact(&self, object: &Bound<'_, PyAny>) -> bool {
        let class = object.get_type_ptr().cast();
        class == self.tensor.as_ptr() || class == self.parameter.as_ptr()
    }

    /// Whether this is a tensor of any class.
    pub fn is_tensor(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        object.is_instance(self.tensor.bind(object.py()))
    }

    /// The memory of a dense, real, floating-point tensor on the CPU.
    pub fn view<'a>(
        &self,
        object: &Bound<'_, PyAny>,
        arena: &mut Arena,
    ) -> Result<View<'a>, Refusal> {
        let view = self.view_as_stored(object, arena)?;
        // Only views of complex tensors have the neg bit: they have gaps or a single element.
        let maybe_negated = view.len() == 1 || !view.is_contiguous();
        if maybe_negated && truth(object, intern!(object.py(), "is_neg")) {
            return Err(Refusal::Type("a negated view".into()));
        }
        Ok(view)
    }

    /// The same, whatever its neg bit says.
    pub fn view_as_stored<'a>(
        &self,
        object: &Bound<'_, PyAny>,
        arena: &mut Arena,
    ) -> Result<View<'a>, Refusal> {
        if !self.is_exact(object) {
            return Err(Refusal::Type(format!(
                "tensor subclass {}",
                type_name(object)
            )));
        }
        let view = match self.exchange {
            Some(exchange) => view_by_exchange(exchange, object)?,
            None => self.view_by_methods(object, arena)?,
        };
        if view.data.is_null() && !view.is_empty() {
            return Err(Refusal::Type("a tensor without storage".into()));
        }
        Ok(view)
    }

    fn view_by_methods<'a>(
        &self,
        object: &Bound<'_, PyAny>,
        arena: &mut Arena,
    ) -> Result<View<'a>, Refusal> {
        type Facts = (usize, DType, Vec<i64>, Vec<i64>);
        let read = || -> PyResult<Result<Facts, Refusal>> {
            let py = object.py();
            let device: String = object.getattr("device")?.getattr("type")?.extract()?;
            if device != "cpu" {
                return Ok(Err(Refusal::Type(format!("on device {device}"))));
            }
            if !object.getattr("layout")?.is(&self.strided) {
                return Ok(Err(Refusal::Type(format!(
                    "layout {}",
                    object.getattr("layout")?
                ))));
            }
            let dtype = object.getattr("dtype")?;
            let known = [
                (&self.float32, DType::F32),
                (&self.float64, DType::F64),
                (&self.bfloat16, DType::Bf16),
                (&self.float16, DType::F16),
            ];
            let Some((_, dtype)) = known.iter().find(|(object, _)| dtype.is(object.bind(py)))
            else {
                return Ok(Err(Refusal::Type(format!("dtype {dtype}"))));
            };
            Ok(Ok((
                object.call_method0("data_ptr")?.extract()?,
                *dtype,
                object.getattr("shape")?.extract()?,
                object.call_method0("stride")?.extract()?,
            )))
        };
        let (address, dtype, shape, strides) =
            read().map_err(|error| Refusal::Type(format!("not readable: {error}")))??;
        let data = std::ptr::with_exposed_provenance_mut(address);
        Ok(View::new(
            data,
            dtype,
            arena.keep(shape),
            arena.keep(strides),
        ))
    }
}

/// torch's table of functions for DLPack, if it has one that we know.
fn exchange_api(tensor: &Bound<'_, PyType>) -> PyResult<Option<FromPyObject>> {
    const NAME: &std::ffi::CStr = c"dlpack_exchange_api";
    let forced = std::env::var("IRONSTEP_MEMORY").is_ok_and(|path| path == "data_ptr");
    let capsule = tensor.getattr_opt("__dlpack_c_exchange_api__")?;
    let Some(capsule) = capsule.filter(|_| !forced) else {
        return Ok(None);
    };
    let Ok(capsule) = capsule.cast_into::<PyCapsule>() else {
        return Ok(None);
    };
    let Ok(pointer) = capsule.pointer_checked(Some(NAME)) else {
        return Ok(None);
    };
    let api: NonNull<ExchangeApi> = pointer.cast();
    // SAFETY: a capsule of this name holds a pointer to such a table, which lives as long as torch;
    // the header, and the rest for major version 1, are fixed by the standard.
    let api = unsafe { api.as_ref() };
    Ok(if api.major == 1 {
        api.dltensor_from_py_object_no_sync
    } else {
        None
    })
}

fn view_by_exchange<'a>(
    exchange: FromPyObject,
    object: &Bound<'_, PyAny>,
) -> Result<View<'a>, Refusal> {
    const CPU: i32 = 1;
    const FLOAT: u8 = 2;
    const BFLOAT: u8 = 4;
    let mut tensor = DlTensor::default();
    // SAFETY: the GIL is held, `object` is alive, and the function fills the struct or fails.
    if unsafe { exchange(object.as_ptr().cast(), &mut tensor) } != 0 {
        drop(PyErr::take(object.py()));
        return Err(Refusal::Type(describe(object)));
    }
    let dtype = match (tensor.code, tensor.bits, tensor.lanes) {
        (FLOAT, 64, 1) => Ok(DType::F64),
        (FLOAT, 32, 1) => Ok(DType::F32),
        (FLOAT, 16, 1) => Ok(DType::F16),
        (BFLOAT, 16, 1) => Ok(DType::Bf16),
        _ => Err(()),
    };
    let (CPU, Ok(dtype)) = (tensor.device_type, dtype) else {
        return Err(Refusal::Type(describe(object)));
    };
    let list = |data: *const i64| match tensor.ndim {
        // SAFETY: the table's function sets both to arrays of `ndim` numbers that live in the tensor.
        n if n > 0 && !data.is_null() => unsafe { std::slice::from_raw_parts(data, n as usize) },
        _ => &[],
    };
    let data: *mut u8 = tensor.data.cast();
    let data = data.wrapping_add(tensor.byte_offset as usize);
    Ok(View::new(
        data,
        dtype,
        list(tensor.shape),
        list(tensor.strides),
    ))
}

/// Why a tensor is not one of ours; asked only when it is not.
fn describe(tensor: &Bound<'_, PyAny>) -> String {
    let text = |name: &str| {
        tensor
            .getattr(name)
            .map_or_else(|_| "?".into(), |value| value.to_string())
    };
    match (text("device"), text("layout"), text("dtype")) {
        (device, _, _) if device != "cpu" => format!("on device {device}"),
        (_, layout, _) if layout != "torch.strided" => format!("layout {layout}"),
        (_, _, dtype) => match dtype.as_str() {
            "torch.float64" | "torch.float32" | "torch.bfloat16" | "torch.float16" => {
                "a tensor without plain storage".into()
            }
            _ => format!("dtype {dtype}"),
        },
    }
}

fn truth(object: &Bound<'_, PyAny>, method: &Bound<'_, PyString>) -> bool {
    // A tensor that cannot tell is not ours.
    object
        .call_method0(method)
        .and_then(|answer| answer.is_truthy())
        .unwrap_or(true)
}

/// The name of an object's class.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "?".into(), |name| name.to_string())
}

/// numpy's numbers of types (`NPY_TYPES`).
const FLOAT: i32 = 11;
const DOUBLE: i32 = 12;
const HALF: i32 = 23;
const USER_DEFINED: i32 = 256;

/// The memory of a numpy array of floats.
pub fn view_of_array<'a>(
    array: &Bound<'_, PyUntypedArray>,
    written: bool,
    arena: &mut Arena,
) -> Result<View<'a>, Refusal> {
    let descr = array.dtype();
    let name = descr
        .getattr("name")
        .map_or_else(|_| "?".into(), |name| name.to_string());
    let dtype = match (descr.num(), name.as_str()) {
        (DOUBLE, _) => DType::F64,
        (FLOAT, _) => DType::F32,
        (HALF, _) => DType::F16,
        // ml_dtypes' type, which has no number of its own in numpy.
        (num, "bfloat16") if num >= USER_DEFINED && descr.itemsize() == 2 => DType::Bf16,
        _ => {
            return Err(Refusal::Type(format!(
                "dtype {name}; float64, float32, float16 or bfloat16 expected"
            )));
        }
    };
    if descr.is_native_byteorder() == Some(false) {
        return Err(Refusal::Type(format!(
            "dtype {name} in foreign byte order; native order expected"
        )));
    }
    // SAFETY: the array is alive and the GIL is held.
    let (data, flags) = unsafe {
        let array = array.as_array_ptr();
        ((*array).fields.data, (*array).fields.flags)
    };
    if written && flags & numpy::npyffi::NPY_ARRAY_WRITEABLE == 0 {
        return Err(Refusal::Value(
            "a read-only array; a writable one expected".into(),
        ));
    }
    let size = dtype.size() as isize;
    let dims = || array.shape().iter().zip(array.strides());
    if dims().any(|(&len, &stride)| len > 1 && stride % size != 0) {
        return Err(Refusal::Value(format!(
            "strides {:?} bytes; multiples of {size} expected",
            array.strides()
        )));
    }
    let shape = arena.keep(array.shape().iter().map(|&size| size as i64));
    let strides = arena.keep(array.strides().iter().map(|&stride| (stride / size) as i64));
    Ok(View::new(data.cast(), dtype, shape, strides))
}

/// The memory of an array or tensor.
pub fn view_of<'a>(
    object: &Bound<'_, PyAny>,
    written: bool,
    arena: &mut Arena,
) -> PyResult<Result<View<'a>, Refusal>> {
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        return Ok(view_of_array(array, written, arena));
    }
    if let Some(torch) = Torch::loaded(object.py())?
        && torch.is_tensor(object)?
    {
        return Ok(torch.view(object, arena));
    }
    let text = format!(
        "got {}; a numpy array or a torch tensor expected",
        type_name(object)
    );
    Ok(Err(Refusal::Type(text)))
}

/// A shape as Python writes it.
pub fn shape_text(shape: &[i64]) -> String {
    match shape {
        [size] => format!("({size},)"),
        _ => format!(
            "({})",
            shape
                .iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// DLPack 1.x, `DLTensor`.
#[repr(C)]
#[derive(Debug)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}

impl Default for DlTensor {
    fn default() -> DlTensor {
        DlTensor {
            data: std::ptr::null_mut(),
            device_type: 0,
            device_id: 0,
            ndim: 0,
            code: 0,
            bits: 0,
            lanes: 0,
            shape: std::ptr::null(),
            strides: std::ptr::null(),
            byte_offset: 0,
        }
    }
}

/// DLPack 1.3, `DLPackExchangeAPI`; the functions that are not called here are plain pointers.
#[repr(C)]
struct ExchangeApi {
    major: u32,
    _minor: u32,
    _previous: *const c_void,
    _managed_tensor_allocator: *const c_void,
    _managed_tensor_from_py_object_no_sync: *const c_void,
    _managed_tensor_to_py_object_no_sync: *const c_void,
    dltensor_from_py_object_no_sync: Option<FromPyObject>,
    _current_work_stream: *const c_void,
}

/// A dictionary's value, if it has the key; unlike `get_item` without a lookup of `__getitem__`.
pub fn lookup<'py>(
    dict: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = dict.py();
    // SAFETY: both are alive and the GIL is held; the dictionary holds the value, which
    // `from_borrowed_ptr_or_opt` counts.
    let value = unsafe {
        let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        Bound::from_borrowed_ptr_or_opt(py, value)
    };
    match value {
        // A key of the program's own may fail to compare.
        None => PyErr::take(py).map_or(Ok(None), Err),
        some => Ok(some),
    }
}
