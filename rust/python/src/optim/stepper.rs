//! `optimizer.step()`: walks torch's param groups and states, and updates what is ours.
//!
//! Nothing is remembered between steps but the order of addresses: every pointer is read anew, so
//! that it does not matter what the program has put in a parameter's, gradient's or state's place.

use std::sync::Mutex;

use ironstep_kernels::dtype::DType;
use ironstep_kernels::optim::{Prepared, clip_coefficient};
use ironstep_kernels::overlap::{Extent, Search};
use ironstep_kernels::work::{MAX_OPERANDS, Tensor, View};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use pyo3::{ffi, intern};

use super::rules::{NamedRule, Options, Unreadable, unknown_rule, with_rule};
use super::{Job, agree};
use crate::error::Refusal;
use crate::tensor::{Arena, Torch, lookup};

/// The native part of a torch optimizer's step.
#[pyclass(frozen, module = "ironstep._native")]
pub struct Stepper {
    rule: String,
    search: Mutex<Search>,
}

/// A parameter: its group's index, and its own in the group.
type Place = (usize, usize);

/// What became of a step: the number of parameters updated, the norm of their gradients (if asked
/// for), those that torch must update and why, and those that have no state yet.
type Outcome = (usize, Option<f64>, Vec<(usize, usize, String)>, Vec<Place>);

#[pymethods]
#[allow(clippy::too_many_arguments)]
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
    /// If some have no state yet, nothing is done. If some are torch's, nothing is done either with
    /// `all_or_none`, nor with `max_norm` until the norm of their gradients is given.
    #[pyo3(signature = (groups, state, *, fresh=None, max_norm=None, norm_elsewhere=None, all_or_none=false))]
    fn step<'py>(
        &self,
        groups: &Bound<'py, PyList>,
        state: &Bound<'py, PyDict>,
        fresh: Option<Vec<Place>>,
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
            state,
            fresh: &fresh.unwrap_or_default(),
            max_norm,
            norm_elsewhere,
            all_or_none,
        };
        with_rule!(self.rule.as_str(), step(call, search))
    }
}

struct Call<'a, 'py> {
    groups: &'a Bound<'py, PyList>,
    state: &'a Bound<'py, PyDict>,
    fresh: &'a [Place],
    max_norm: Option<f64>,
    norm_elsewhere: Option<f64>,
    all_or_none: bool,
}

fn step<R: NamedRule>(call: Call, search: &mut Search) -> PyResult<Outcome> {
    let py = call.groups.py();
    let torch = Torch::required(py)?;
    let mut found = Found::<R>::new();
    found.walk(&call, torch)?;
    if !found.missing.is_empty() {
        return Ok((0, None, vec![], found.missing));
    }
    // From here to the job's end no view is older than this call, and the GIL is held until all
    // are copied into the job.
    let mut arena = Arena::default();
    let mut ready: Vec<(Entry, Views)> = Vec::with_capacity(found.entries.len());
    for entry in std::mem::take(&mut found.entries) {
        match Views::of(
            entry.objects(&found.objects),
            entry.n_operands,
            torch,
            &mut arena,
        ) {
            Ok(views) => ready.push((entry, views)),
            Err(refusal) => found.elsewhere(entry.place, refusal.text()),
        }
    }
    for owner in search.owners(&extents(&ready)).into_iter().rev() {
        let (entry, _) = ready.remove(owner);
        found.elsewhere(entry.place, "memory shared with another operand".into());
    }
    found.elsewhere.sort_unstable();
    if call.all_or_none && !found.elsewhere.is_empty() {
        return Ok((0, None, found.elsewhere, vec![]));
    }

    let job = job(&ready, &found.rules, &call);
    let norm = match call.max_norm {
        None => None,
        Some(_) => Some(job.grad_norm(py)?.hypot(call.norm_elsewhere.unwrap_or(0.0))),
    };
    if norm.is_some() && call.norm_elsewhere.is_none() && !found.elsewhere.is_empty() {
        return Ok((0, norm, found.elsewhere, Vec::new()));
    }
    let grad_scale = match (norm, call.max_norm) {
        (Some(norm), Some(max_norm)) => clip_coefficient(norm, max_norm),
        _ => 1.0,
    };

    if let Err(error) = increment_versions(torch, &ready, &found.objects, py) {
        // Tensors made in inference mode have no version: torch tells the caller what is wrong.
        for (entry, _) in &ready {
            found.elsewhere(entry.place, error.value(py).to_string());
        }
        found.elsewhere.sort_unstable();
        return Ok((0, norm, found.elsewhere, vec![]));
    }
    for (_, views) in &ready {
        views.count_step();
    }
    job.step(py, grad_scale)?;
    Ok((ready.len(), norm, found.elsewhere, vec![]))
}

/// The objects of a parameter with a gradient, and where they begin among all objects.
struct Entry {
    place: Place,
    rule: usize,
    start: usize,
    /// Parameter, gradient, states; `state["step"]` stands behind them where steps are counted.
    n_operands: usize,
    counts_steps: bool,
}

impl Entry {
    fn objects<'a, 'py>(&self, all: &'a [Bound<'py, PyAny>]) -> &'a [Bound<'py, PyAny>] {
        let counter = usize::from(self.counts_steps);
        all.get(self.start..self.start + self.n_operands + counter)
            .unwrap_or_default()
    }
}

/// What a walk through the groups has found. The objects are held until the step is over.
struct Found<'py, R> {
    /// Of each group that is ours: the rule, and whether it maximizes.
    rules: Vec<(R, bool)>,
    objects: Vec<Bound<'py, PyAny>>,
    entries: Vec<Entry>,
    elsewhere: Vec<(usize, usize, String)>,
    missing: Vec<Place>,
}

impl<'py, R: NamedRule> Found<'py, R> {
    fn new() -> Self {
        Found {
            rules: vec![],
            objects: vec![],
            entries: vec![],
            elsewhere: vec![],
            missing: vec![],
        }
    }

    fn elsewhere(&mut self, (group, index): Place, reason: String) {
        self.elsewhere.push((group, index, reason));
    }

    fn walk(&mut self, call: &Call<'_, 'py>, torch: &Torch) -> PyResult<()> {
        let py = call.groups.py();
        let watched = torch.is_watched(py)?;
        let mut states = States::new(call.state);
        for (g, group) in call.groups.iter().enumerate() {
            let group = group.cast::<PyDict>()?;
            let params = group.as_any().get_item(intern!(py, "params"))?;
            let rule = if watched {
                Err("a dispatch mode is active".into())
            } else {
                read_rule::<R>(group)?
            };
            let names = rule
                .as_ref()
                .map_or_else(|_| vec![], |(rule, _)| rule.states(py));
            for (i, param) in params.cast::<PyList>()?.iter().enumerate() {
                let state = states.of(&param)?;
                let grad = param.getattr(intern!(py, "grad"))?;
                if grad.is_none() {
                    continue;
                }
                match &rule {
                    Err(reason) => self.elsewhere((g, i), String::clone(reason)),
                    Ok(_) => self.collect(call, torch, (g, i), param, grad, state, &names)?,
                }
            }
            self.rules.extend(rule.ok());
        }
        Ok(())
    }

    /// Notes the objects of one parameter.
    #[allow(clippy::too_many_arguments)]
    fn collect(
        &mut self,
        call: &Call<'_, 'py>,
        torch: &Torch,
        place: Place,
        param: Bound<'py, PyAny>,
        grad: Bound<'py, PyAny>,
        state: Option<Bound<'py, PyAny>>,
        names: &[&Bound<'py, PyString>],
    ) -> PyResult<()> {
        let py = param.py();
        let start = self.objects.len();
        self.objects.extend([param, grad]);
        let state = match &state {
            Some(state) => Some(state.cast::<PyDict>()?),
            None => None,
        };
        let counter = R::COUNTS_STEPS.then(|| intern!(py, "step"));
        for name in names.iter().chain(&counter) {
            // SAFETY: the dictionary holds the value, and `from_borrowed_ptr_or_opt` counts it.
            let value = state.and_then(|state| unsafe {
                Bound::from_borrowed_ptr_or_opt(py, lookup(state.as_ptr(), name.as_ptr()))
            });
            if let Some(value) = value.filter(|value| !value.is_none()) {
                self.objects.push(value);
            }
        }
        let entry = Entry {
            place,
            rule: self.rules.len(),
            start,
            n_operands: 2 + names.len(),
            counts_steps: R::COUNTS_STEPS,
        };
        let complete =
            self.objects.len() - start == entry.n_operands + usize::from(R::COUNTS_STEPS);
        if complete {
            self.entries.push(entry);
            return Ok(());
        }
        // Without a whole state. If torch would make it now, it is for the caller to make.
        let stateless = state.is_none_or(|state| state.is_empty()) || !R::COUNTS_STEPS;
        let mut arena = Arena::default();
        let operands = self.objects.get(start..start + 2).unwrap_or_default();
        match views(operands, torch, &mut arena) {
            Err(refusal) => self.elsewhere(place, refusal.text()),
            Ok(_) if !stateless || call.fresh.contains(&place) => {
                self.elsewhere(place, "its state is incomplete".into())
            }
            Ok(_) => self.missing.push(place),
        }
        self.objects.truncate(start);
        Ok(())
    }
}

/// The rule of a group and whether it maximizes, or why the group is torch's.
fn read_rule<R: NamedRule>(group: &Bound<'_, PyDict>) -> PyResult<Result<(R, bool), String>> {
    let py = group.py();
    let options = Options(group);
    for name in [intern!(py, "differentiable"), intern!(py, "capturable")] {
        if options.flag(name)? {
            return Ok(Err(format!("{name}=True")));
        }
    }
    match R::new(&options) {
        Ok(rule) => Ok(Ok((rule, options.flag(intern!(py, "maximize"))?))),
        Err(Unreadable::Refused(refusal)) => Ok(Err(refusal.text())),
        Err(Unreadable::Error(error)) => Err(error),
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

/// The memory of one entry.
struct Views<'a> {
    operands: [View<'a>; MAX_OPERANDS],
    n_operands: usize,
    step: Option<View<'a>>,
}

impl<'a> Views<'a> {
    fn operands(&self) -> &[View<'a>] {
        self.operands.get(..self.n_operands).unwrap_or_default()
    }

    /// The number of steps made so far; states without a counter have none.
    fn steps_made(&self) -> f64 {
        match &self.step {
            // SAFETY: `of` saw one element of this type, and the object is held.
            Some(view) if view.dtype == DType::F64 => unsafe {
                view.data.cast::<f64>().read_unaligned()
            },
            // SAFETY: as above.
            Some(view) => f64::from(unsafe { view.data.cast::<f32>().read_unaligned() }),
            None => 0.0,
        }
    }

    fn count_step(&self) {
        match &self.step {
            // SAFETY: as in `steps_made`; `Search` saw that nothing else lies there.
            Some(view) if view.dtype == DType::F64 => unsafe {
                let step = view.data.cast::<f64>();
                step.write_unaligned(step.read_unaligned() + 1.0);
            },
            // SAFETY: as above.
            Some(view) => unsafe {
                let step = view.data.cast::<f32>();
                step.write_unaligned(step.read_unaligned() + 1.0);
            },
            None => (),
        }
    }

    fn of(
        objects: &[Bound<'_, PyAny>],
        n_operands: usize,
        torch: &Torch,
        arena: &mut Arena,
    ) -> Result<Views<'a>, Refusal> {
        let (operands, counter) = objects.split_at_checked(n_operands).unwrap_or_default();
        let operands = views(operands, torch, arena)?;
        let step = match counter.first() {
            None => None,
            Some(step) => Some(
                torch
                    .view(step, arena)
                    .map_err(|refusal| refusal.of_operand("step"))?,
            ),
        };
        if step
            .is_some_and(|step| step.len() != 1 || !matches!(step.dtype, DType::F32 | DType::F64))
        {
            return Err(Refusal::Type("step: not one float32 or float64".into()));
        }
        Ok(Views {
            operands,
            n_operands,
            step,
        })
    }
}

/// Views of parameter, gradient and states, which must agree.
fn views<'a>(
    objects: &[Bound<'_, PyAny>],
    torch: &Torch,
    arena: &mut Arena,
) -> Result<[View<'a>; MAX_OPERANDS], Refusal> {
    const NAMES: [&str; 3] = ["param", "grad", "state"];
    let mut views = [View {
        data: std::ptr::null_mut(),
        dtype: DType::F32,
        shape: &[],
        strides: &[],
    }; MAX_OPERANDS];
    let mut param = None;
    for (index, (view, object)) in views.iter_mut().zip(objects).enumerate() {
        let name = NAMES.get(index).unwrap_or(&"state");
        *view = torch
            .view(object, arena)
            .map_err(|refusal| refusal.of_operand(name))?;
        let param = *param.get_or_insert(*view);
        agree(&param, view, index > 1).map_err(|refusal| refusal.of_operand(name))?;
    }
    Ok(views)
}

/// What each entry reads and writes.
fn extents<'a>(ready: &[(Entry, Views<'a>)]) -> Vec<Extent<'a>> {
    let mut extents = Vec::with_capacity(ready.len() * MAX_OPERANDS);
    for (owner, (_, views)) in ready.iter().enumerate() {
        for (operand, view) in views.operands().iter().enumerate() {
            extents.push(Extent::new(*view, operand != 1, owner));
        }
        extents.extend(views.step.map(|step| Extent::new(step, true, owner)));
    }
    extents
}

/// Copies what is needed of all views, and prepares each rule once for each number of steps.
fn job<R: NamedRule>(ready: &[(Entry, Views)], rules: &[(R, bool)], call: &Call) -> Job<R> {
    let mut job = Job::new();
    let mut last = None;
    for (entry, views) in ready {
        let fresh = call.fresh.contains(&entry.place);
        let at = (entry.rule, views.steps_made().to_bits(), fresh);
        if last != Some(at)
            && let Some((rule, maximize)) = rules.get(entry.rule)
        {
            job.prepared.push(Prepared::new(
                rule,
                *maximize,
                views.steps_made() + 1.0,
                fresh,
            ));
            last = Some(at);
        }
        job.which.push(job.prepared.len() as u32 - 1);
        job.tensors.push(Tensor::new(views.operands()));
        if call.max_norm.is_some() {
            job.grads
                .extend(views.operands().get(1).map(|grad| Tensor::new(&[*grad])));
        }
    }
    job
}

/// Tells autograd of everything that is written: all but the gradients.
fn increment_versions(
    torch: &Torch,
    ready: &[(Entry, Views)],
    objects: &[Bound<'_, PyAny>],
    py: Python<'_>,
) -> PyResult<()> {
    let written = ready.iter().flat_map(|(entry, _)| {
        let operands = entry.objects(objects).iter().enumerate();
        operands
            .filter(|&(operand, _)| operand != 1)
            .map(|(_, object)| object)
    });
    let written: Vec<_> = written.collect();
    if written.is_empty() {
        return Ok(());
    }
    torch.increment_version(&PyList::new(py, written)?)
}
