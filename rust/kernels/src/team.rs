//! Another library's team of threads as helpers.
//!
//! torch's threads spin for milliseconds after an operation, ready for the next, and hold the cores
//! that a second pool would need. Where torch offers them (`torch_parallel_for`), they help with a
//! step that follows a backward pass.
//!
//! They come at the price of a barrier: if one of them has lost its core to another process, all wait
//! for it. So after a long wait the team is left alone for a while.

use std::ffi::c_void;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::fork;

/// `torch_parallel_for(begin, end, grain, body, context)`: calls `body(begin, end, context)` for
/// parts of the range, on several threads, and returns when all have returned; 0 is success.
pub type ParallelFor = unsafe extern "C" fn(
    i64,
    i64,
    i64,
    unsafe extern "C" fn(i64, i64, *mut c_void),
    *mut c_void,
) -> i32;

static TEAM: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// How many jobs the team is still left alone.
static PAUSE: AtomicU32 = AtomicU32::new(0);

/// A wait that says that a thread of the team has lost its core.
// measured: 4 to 8 ms with a busy process beside it, under 0.1 ms without
const LONG_WAIT: Duration = Duration::from_millis(2);

/// Jobs without the team after such a wait: another one costs a hundredth of each then.
const PAUSED_JOBS: u32 = 200;

/// Sets the team, or none. Never in a forked child: the threads of a team do not exist there.
pub fn set(team: Option<ParallelFor>) {
    if team.is_some() {
        static REGISTERED: Once = Once::new();
        // SAFETY: it stores an atomic.
        unsafe { fork::in_child(&REGISTERED, forget) };
    }
    let team = team.map_or(std::ptr::null_mut(), |team| team as *mut c_void);
    TEAM.store(team, Ordering::Release);
}

unsafe extern "C" fn forget() {
    TEAM.store(std::ptr::null_mut(), Ordering::Release);
}

/// The team, unless there is none or it is left alone.
pub(crate) fn ready() -> Option<Team> {
    let team = TEAM.load(Ordering::Acquire);
    if team.is_null() {
        return None;
    }
    let pause = PAUSE.load(Ordering::Relaxed);
    if pause > 0 {
        PAUSE.store(pause - 1, Ordering::Relaxed);
        return None;
    }
    // SAFETY: only `set` stores here, and it stores such functions.
    Some(Team(unsafe {
        std::mem::transmute::<*mut c_void, ParallelFor>(team)
    }))
}

pub(crate) struct Team(ParallelFor);

impl Team {
    /// Calls `work` on up to `threads` threads, this one among them, and returns when all are done.
    /// May call it on fewer, even none.
    pub(crate) fn run(&self, threads: usize, work: &(dyn Fn() + Sync)) {
        let caller = Caller {
            work,
            thread: std::thread::current().id(),
            ended: Default::default(),
        };
        let context = std::ptr::from_ref(&caller).cast_mut().cast();
        // SAFETY: the function does not return before all calls of `body` have, so `caller` lives.
        unsafe { (self.0)(0, threads as i64, 1, body, context) };
        let ended = caller.ended.get();
        if ended.is_some_and(|ended| ended.elapsed() > LONG_WAIT) {
            PAUSE.store(PAUSED_JOBS, Ordering::Relaxed);
        }
    }
}

struct Caller<'a> {
    work: &'a (dyn Fn() + Sync),
    thread: std::thread::ThreadId,
    /// When the calling thread was done.
    ended: std::sync::OnceLock<Instant>,
}

/// # Safety
/// `context` is a live `Caller`.
unsafe extern "C" fn body(_begin: i64, _end: i64, context: *mut c_void) {
    // SAFETY: by contract.
    let caller = unsafe { &*context.cast::<Caller>() };
    (caller.work)();
    if std::thread::current().id() == caller.thread {
        let _ = caller.ended.set(Instant::now());
    }
}
