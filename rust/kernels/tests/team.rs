//! Another library's threads as helpers, whatever they do: all tiles run once, or a panic is passed on.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use ironstep_kernels::pool::run;
use ironstep_kernels::team::{ParallelFor, set};

type Body = unsafe extern "C" fn(i64, i64, *mut c_void);

/// The team is one for the whole process: its tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// How often a team was asked.
static ASKED: AtomicUsize = AtomicUsize::new(0);

struct Set(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Drop for Set {
    fn drop(&mut self) {
        set(None);
    }
}

fn with(team: ParallelFor) -> Set {
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    ASKED.store(0, Ordering::SeqCst);
    set(Some(team));
    Set(turn)
}

struct Context(*mut c_void);
// SAFETY: what a team's function is given may be used by all its threads.
unsafe impl Send for Context {}

/// Calls the body on `threads` new threads and `own` times on this one.
///
/// # Safety
/// `context` suits `body`.
unsafe fn call(body: Body, context: *mut c_void, own: usize, threads: usize, late: Duration) {
    ASKED.fetch_add(1, Ordering::SeqCst);
    thread::scope(|scope| {
        for _ in 0..threads {
            let context = Context(context);
            scope.spawn(move || {
                let context = context;
                thread::sleep(late);
                // SAFETY: by contract.
                unsafe { body(0, 1, context.0) };
            });
        }
        for _ in 0..own {
            // SAFETY: by contract.
            unsafe { body(0, 1, context) };
        }
    });
}

unsafe extern "C" fn as_asked(_: i64, n: i64, _: i64, body: Body, context: *mut c_void) -> i32 {
    // SAFETY: the caller's context, until this returns.
    unsafe { call(body, context, 1, n as usize - 1, Duration::ZERO) };
    0
}

unsafe extern "C" fn caller_alone(_: i64, _: i64, _: i64, body: Body, context: *mut c_void) -> i32 {
    // SAFETY: as above.
    unsafe { call(body, context, 1, 0, Duration::ZERO) };
    0
}

unsafe extern "C" fn others_alone(_: i64, _: i64, _: i64, body: Body, context: *mut c_void) -> i32 {
    // SAFETY: as above.
    unsafe { call(body, context, 0, 2, Duration::ZERO) };
    0
}

unsafe extern "C" fn too_often(_: i64, _: i64, _: i64, body: Body, context: *mut c_void) -> i32 {
    // SAFETY: as above.
    unsafe { call(body, context, 3, 9, Duration::ZERO) };
    0
}

unsafe extern "C" fn fails(_: i64, _: i64, _: i64, _: Body, _: *mut c_void) -> i32 {
    ASKED.fetch_add(1, Ordering::SeqCst);
    -1
}

unsafe extern "C" fn stalls(_: i64, _: i64, _: i64, body: Body, context: *mut c_void) -> i32 {
    // SAFETY: as above.
    unsafe { call(body, context, 1, 1, Duration::from_millis(20)) };
    0
}

const TEAMS: [(&str, ParallelFor); 5] = [
    ("as asked", as_asked),
    ("caller alone", caller_alone),
    ("others alone", others_alone),
    ("too often", too_often),
    ("fails", fails),
];

fn assert_every_tile_runs_once(threads: usize, n_tiles: usize, what: &str) {
    let runs: Vec<AtomicUsize> = (0..n_tiles).map(|_| AtomicUsize::new(0)).collect();
    run(threads, n_tiles, &|tile| {
        runs[tile].fetch_add(1, Ordering::Relaxed);
    });
    let once = runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1);
    assert!(once, "{what}: {threads} threads, {n_tiles} tiles");
}

#[test]
fn every_tile_runs_once_whoever_comes() {
    for (what, team) in TEAMS {
        let _set = with(team);
        for threads in [2, 3, 8] {
            for n_tiles in [0, 1, 2, 7, 200] {
                assert_every_tile_runs_once(threads, n_tiles, what);
            }
        }
    }
}

#[test]
fn a_panic_does_not_unwind_through_the_team() {
    for (_, team) in TEAMS {
        let _set = with(team);
        for bad in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                run(3, 20, &|tile| assert_ne!(tile, bad))
            }));
            assert!(caught.is_err());
        }
        assert_every_tile_runs_once(3, 50, "after the panics");
    }
}

#[test]
fn jobs_inside_of_a_teams_job() {
    let _set = with(as_asked);
    let inner = AtomicUsize::new(0);
    run(2, 6, &|_| {
        run(2, 6, &|_| {
            inner.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(inner.into_inner(), 36);
}

#[test]
fn a_single_thread_asks_nobody() {
    let _set = with(as_asked);
    assert_every_tile_runs_once(1, 20, "alone");
    assert_every_tile_runs_once(4, 1, "alone");
    assert_eq!(ASKED.load(Ordering::SeqCst), 0);
}

#[test]
fn a_team_that_keeps_the_caller_waiting_is_left_alone_for_a_while_and_then_asked_again() {
    let _set = with(stalls);
    // On a busy machine an earlier test may have seen a long wait: it is over after some jobs.
    let asked = (0..1_000).find(|_| {
        assert_every_tile_runs_once(2, 20, "stalling");
        ASKED.load(Ordering::SeqCst) > 0
    });
    assert!(asked.is_some());
    let stalled = ASKED.load(Ordering::SeqCst);
    set(Some(as_asked));
    for _ in 0..50 {
        assert_every_tile_runs_once(2, 20, "left alone");
    }
    assert_eq!(ASKED.load(Ordering::SeqCst), stalled);
    for _ in 0..1_000 {
        assert_every_tile_runs_once(2, 20, "asked again");
    }
    assert!(ASKED.load(Ordering::SeqCst) > stalled);
}

#[test]
fn without_a_team_the_own_pool_helps() {
    drop(with(as_asked));
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = ASKED.load(Ordering::SeqCst);
    assert_every_tile_runs_once(3, 100, "own pool");
    assert_eq!(ASKED.load(Ordering::SeqCst), before);
}
