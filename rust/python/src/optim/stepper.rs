//! `optimizer.step()`: walks torch's param groups and states, and updates what is ours.
//!
//! Nothing is remembered between steps but an order of addresses: every pointer is read anew, so
//! that it does not matter what the program has put in a parameter's, gradient's or state's place.

use std::sync::Mutex;

use ironstep_kernels::dtype::DType;
use ironstep_kernels::optim::{Prepared, clip_coefficient};
use ironstep_kernels::overlap::{Extent, Search};
use ironstep_kernels::work::{MAX_OPERANDS, Tensor, View};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString};
use pyo3::{ffi, intern};

use super::rules::{NamedRule, Options, unknown_rule, with_rule};
use super::{Job, agree, total_norm};
use crate::error::{Obstacle, Refusal};
use crate::tensor::{Arena, Torch, lookup};

/// The native part of a torch optimizer's step.
#[pyclass(frozen, module = "ironstep._native")]
pub struct Stepper {
    rule: String,
    search: Mutex<Search>,
}

/// A parameter: its group's index, and its own in the group.
type Place = (usize, usize);

/// What became of a step: the number of parameters updated, the norm of the gradients (if asked
/// for), those parameters that torch must update and why, and those that have no state yet.
type Outcome = (usize, Option<f64>, Vec<(usize, usize, String)>, Vec<Place>);

#[pymethods]
impl Stepper {
    #[new]
    fn new(rule: String) -> PyResult<Stepper> {
        match rule.as_str() {
            "sgd" | "adagrad" | "rmsprop" | "adam" => Ok(Stepper {
                rule,
                search: Mutex::default(),
            }),
            other => Err(unknown_rule(other)),
        }
    }

    /// Updates every parameter that is ours.
    ///
    /// If some have no state yet, nothing is done. With `all_or_none` nothing is done either if some
    /// are torch's, but the norm of ours is found.
    #[pyo3(signature = (groups, state, *, fresh=vec![], max_norm=None, norm_elsewhere=None, all_or_none=false))]
    fn step<'py>(
        &self,
        groups: &Bound<'py, PyAny>,
        state: &Bound<'py, PyAny>,
        fresh: Vec<Place>,
        max_norm: Option<f64>,
        norm_elsewhere: Option<f64>,
        all_or_none: bool,
    ) -> PyResult<Outcome> {
        let mut new_search = Search::default();
        // Taken by another thread's step: do without the remembered order.
        let mut guard = self.search.try_lock().ok();
        let search = guard.as_deref_mut().unwrap_or(&mut new_search);
        let call = Call {
            groups,
            state: &as_dict(state)?,
            fresh: &fresh,
            max_norm,
            norm_elsewhere,
            all_or_none,
        };
        with_rule!(self.rule.as_str(), step(&call, search))
    }
}

struct Call<'a, 'py> {
    groups: &'a Bound<'py, PyAny>,
    state: &'a Bound<'py, PyDict>,
    /// Parameters whose states hold nothing yet, ascending.
    fresh: &'a [Place],
    max_norm: Option<f64>,
    norm_elsewhere: Option<f64>,
    all_or_none: bool,
}

fn step<R: NamedRule>(call: &Call, search: &mut Search) -> PyResult<Outcome> {
    let py = call.groups.py();
    let torch = Torch::required(py)?;
    let mut walk = Walk::<R>::new(call, torch, &[])?;
    let shared = walk.shared(search);
    if !shared.is_empty() {
        walk = Walk::new(call, torch, &shared)?;
    }
    if !walk.missing.is_empty() {
        return Ok((0, None, vec![], walk.missing));
    }
    let mut grad_scale = 1.0;
    let mut norm = None;
    if let Some(max_norm) = call.max_norm {
        let total = total_norm(walk.job.grad_norm(py)?, call.norm_elsewhere.unwrap_or(0.0));
        grad_scale = clip_coefficient(total, max_norm);
        norm = Some(total);
    }
    if call.all_or_none && !walk.elsewhere.is_empty() {
        return Ok((0, norm, walk.elsewhere, vec![]));
    }
    if walk.written.is_empty() {
        return Ok((0, norm, walk.elsewhere, vec![]));
    }
    let written = PyList::new(py, std::mem::take(&mut walk.written))?;
    torch.increment_version(&written)?;
    for counter in &walk.counters {
        counter.increment();
    }
    walk.job.step(py, grad_scale)?;
    Ok((walk.places.len(), norm, walk.elsewhere, vec![]))
}

/// What a walk through the groups finds. The objects are held until the step is over.
struct Walk<'py, R: NamedRule> {
    /// What is ours, ready to be updated.
    job: Job<R>,
    /// The parameter of each tensor of the job.
    places: Vec<Place>,
    /// Where the extents of each tensor of the job begin.
    starts: Vec<usize>,
    extents: Vec<Extent>,
    counters: Vec<Counter>,
    grads: Vec<Bound<'py, PyAny>>,
    /// Parameters, states and counters.
    written: Vec<Bound<'py, PyAny>>,
    elsewhere: Vec<(usize, usize, String)>,
    missing: Vec<Place>,
}

/// A group that is ours.
struct Group<'py, R> {
    rule: R,
    maximize: bool,
    /// The keys of the states, and then of the counter where steps are counted.
    keys: Vec<&'py Bound<'py, PyString>>,
    /// For how many steps made, and whether for fresh states, the last of `Job::prepared` is.
    prepared: Option<(f64, bool)>,
}

impl<'py, R: NamedRule> Walk<'py, R> {
    fn new(call: &Call<'_, 'py>, torch: &Torch, shared: &[Place]) -> PyResult<Walk<'py, R>> {
        let py = call.groups.py();
        let mut walk = Walk {
            job: Job::new(),
            places: vec![],
            starts: vec![],
            extents: vec![],
            counters: vec![],
            grads: vec![],
            written: vec![],
            elsewhere: vec![],
            missing: vec![],
        };
        let watched = torch.is_watched(py)?;
        let mut states = States::new(call.state);
        for (g, group) in call.groups.try_iter()?.enumerate() {
            let group = &as_dict(&group?)?;
            let params = Options(group).value(intern!(py, "params"))?;
            let mut group = if watched {
                Err(Refusal::Type("a dispatch mode is active".into()))
            } else {
                read_group::<R>(group)?
            };
            for (i, param) in params.try_iter()?.enumerate() {
                let param = param?;
                let state = states.of(&param)?;
                let grad = param.getattr(intern!(py, "grad"))?;
                if grad.is_none() {
                    continue;
                }
                let added = match &mut group {
                    Err(refusal) => Err(refusal.clone().into()),
                    Ok(_) if shared.binary_search(&(g, i)).is_ok() => {
                        Err(Refusal::Value("memory shared with another operand".into()).into())
                    }
                    Ok(group) => walk.add(call, torch, group, (g, i), param, grad, state),
                };
                match added {
                    Ok(()) => (),
                    Err(Obstacle::Refusal(refusal)) => walk.elsewhere.push((g, i, refusal.text())),
                    Err(Obstacle::Error(error)) => return Err(error),
                }
            }
        }
        Ok(walk)
    }

    /// Adds a parameter to the job, or notes that it has no state yet. Fails if it is not ours.
    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        call: &Call<'_, 'py>,
        torch: &Torch,
        group: &mut Group<'py, R>,
        place: Place,
        param: Bound<'py, PyAny>,
        grad: Bound<'py, PyAny>,
        state: Option<Bound<'py, PyAny>>,
    ) -> Result<(), Obstacle> {
        let mut arena = Arena::default();
        let mut views = [View::EMPTY; MAX_OPERANDS];
        let mut operands = views.iter_mut();
        let mut n_operands = 0;
        let mut push = |view| {
            n_operands += 1;
            if let Some(place) = operands.next() {
                *place = view;
            }
        };
        let named = |name: &'static str| move |refusal: Refusal| refusal.of_operand(name);
        let of_param = torch.view(&param, &mut arena).map_err(named("param"))?;
        let of_grad = torch.view(&grad, &mut arena).map_err(named("grad"))?;
        agree(&of_param, &of_grad, false).map_err(named("grad"))?;
        push(of_param);
        push(of_grad);

        let fresh = call.fresh.binary_search(&place).is_ok();
        let state = state.as_ref().map(as_dict).transpose()?;
        let state = state.as_ref();
        let mut objects = Vec::with_capacity(group.keys.len());
        for key in &group.keys {
            let value = match state {
                Some(state) => lookup(state, key)?,
                None => None,
            };
            match value.filter(|value| !value.is_none()) {
                Some(value) => objects.push(value),
                None if fresh
                    || (R::COUNTS_STEPS && state.is_some_and(|state| !state.is_empty())) =>
                {
                    return Err(Refusal::Value(format!("its state has no {key}")).into());
                }
                None => {
                    self.missing.push(place);
                    return Ok(());
                }
            }
        }
        let counter = if R::COUNTS_STEPS {
            objects.last()
        } else {
            None
        };
        let counter = counter
            .map(|step| Counter::new(torch, step, &mut arena))
            .transpose();
        let counter = counter.map_err(named("step"))?;
        for (key, object) in group.keys.iter().zip(&objects).take(group.rule.n_states()) {
            let of_state = torch.view(object, &mut arena).and_then(|of_state| {
                agree(&of_param, &of_state, true)?;
                Ok(of_state)
            });
            push(of_state.map_err(|refusal| refusal.of_operand(&key.to_string()))?);
        }

        let views = views.get(..n_operands).unwrap_or_default();
        self.starts.push(self.extents.len());
        self.extents.extend(
            views
                .iter()
                .enumerate()
                .map(|(operand, view)| Extent::new(view, operand != 1)),
        );
        self.extents.extend(counter.iter().map(Counter::extent));
        let made = counter.as_ref().map_or(0.0, Counter::steps_made);
        self.counters.extend(counter);
        if group.prepared != Some((made, fresh)) {
            group.prepared = Some((made, fresh));
            self.job.prepared.push(Prepared::new(
                &group.rule,
                group.maximize,
                made + 1.0,
                fresh,
            ));
        }
        self.job.which.push(self.job.prepared.len() as u32 - 1);
        self.job.tensors.push(Tensor::new(views));
        if call.max_norm.is_some() {
            self.job.grads.push(Tensor::new(&[of_grad]));
        }
        self.places.push(place);
        self.grads.push(grad);
        self.written.push(param);
        self.written.extend(objects);
        Ok(())
    }

    /// The parameters whose memory is shared where it is written, ascending.
    fn shared(&self, search: &mut Search) -> Vec<Place> {
        let shared = search.shared(&self.extents).into_iter();
        let tensor = |extent| self.starts.partition_point(|&start| start <= extent) - 1;
        let mut places: Vec<Place> = shared
            .filter_map(|extent| self.places.get(tensor(extent)).copied())
            .collect();
        places.dedup();
        places
    }
}

/// The rule of a group, or why the group is torch's.
fn read_group<'a, R: NamedRule>(
    group: &Bound<'a, PyDict>,
) -> PyResult<Result<Group<'a, R>, Refusal>> {
    let py = group.py();
    let options = Options(group);
    for name in [intern!(py, "differentiable"), intern!(py, "capturable")] {
        if options.flag(name)? {
            return Ok(Err(Refusal::Value(format!("{name}=True"))));
        }
    }
    let rule = match R::new(&options) {
        Ok(rule) => rule,
        Err(Obstacle::Refusal(refusal)) => return Ok(Err(refusal)),
        Err(Obstacle::Error(error)) => return Err(error),
    };
    let mut keys = rule.states(py);
    if R::COUNTS_STEPS {
        keys.push(intern!(py, "step"));
    }
    Ok(Ok(Group {
        rule,
        maximize: options.flag(intern!(py, "maximize"))?,
        keys,
        prepared: None,
    }))
}

/// The dictionary itself, or what any other mapping holds.
fn as_dict<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = mapping.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    let dict = PyDict::new(mapping.py());
    dict.update(mapping.cast::<PyMapping>()?)?;
    Ok(dict)
}

/// A parameter's count of steps: one number in memory.
struct Counter {
    data: *mut u8,
    dtype: DType,
}

impl Counter {
    fn new(torch: &Torch, step: &Bound<'_, PyAny>, arena: &mut Arena) -> Result<Counter, Refusal> {
        // Not asked whether it is negated, which costs as much as the rest: torch makes no such one.
        let view = torch.view_as_stored(step, arena)?;
        if view.len() != 1 || !matches!(view.dtype, DType::F32 | DType::F64) {
            return Err(Refusal::Type(
                "step: one float32 or float64 expected".into(),
            ));
        }
        Ok(Counter {
            data: view.data,
            dtype: view.dtype,
        })
    }

    fn extent(&self) -> Extent {
        Extent::new(&View::new(self.data, self.dtype, &[], &[]), true)
    }

    fn steps_made(&self) -> f64 {
        // SAFETY: `new` saw one element of this type, and the walk holds the object.
        unsafe {
            match self.dtype {
                DType::F64 => self.data.cast::<f64>().read_unaligned(),
                _ => f64::from(self.data.cast::<f32>().read_unaligned()),
            }
        }
    }

    /// Counts in the number's own type, as torch does: a float32 stops at 2^24.
    fn increment(&self) {
        // SAFETY: as above, and the search saw that nothing else lies there.
        unsafe {
            match self.dtype {
                DType::F64 => self
                    .data
                    .cast::<f64>()
                    .write_unaligned(self.steps_made() + 1.0),
                _ => self
                    .data
                    .cast::<f32>()
                    .write_unaligned(self.steps_made() as f32 + 1.0),
            }
        }
    }
}

/// The states of parameters that are asked for in about the order of the dictionary. A look-up by
/// key costs a call of `Tensor.__hash__`, which is Python: it is made only where the order differs.
struct States<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    position: ffi::Py_ssize_t,
    next: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
}

impl<'a, 'py> States<'a, 'py> {
    fn new(dict: &'a Bound<'py, PyDict>) -> Self {
        let mut states = States {
            dict,
            position: 0,
            next: None,
        };
        states.advance();
        states
    }

    fn advance(&mut self) {
        let py = self.dict.py();
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: a dictionary that changes in the meantime gives other items, never bad pointers;
        // both are counted at once.
        self.next = unsafe {
            (ffi::PyDict_Next(self.dict.as_ptr(), &mut self.position, &mut key, &mut value) != 0)
                .then(|| {
                    (
                        Bound::from_borrowed_ptr(py, key),
                        Bound::from_borrowed_ptr(py, value),
                    )
                })
        };
    }

    fn of(&mut self, param: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some((key, _)) = &self.next
            && key.is(param)
        {
            let value = self.next.take().map(|(_, value)| value);
            self.advance();
            return Ok(value);
        }
        self.dict.get_item(param)
    }
}
