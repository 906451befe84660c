//! Threads: who runs a job, and how many. The one place that knows.
//!
//! A job is a number of tiles and a function of the tile's index. The caller takes tiles from a
//! shared counter at once; helpers on the pool join late or never, and the caller waits only for
//! tiles that a helper has really taken. So a busy machine costs little: a helper that gets no core
//! takes no tile. Which thread runs a tile never changes a result.
//!
//! The pool is made at the first job that wants one, never at import, and made anew in a forked
//! child, whose copy of the threads does not exist. Where the program has another team of threads
//! that has just worked and still spins ([`team`]), that one helps instead.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::thread::Thread;

use rayon_core::{ThreadPool, ThreadPoolBuilder};

use crate::{fork, team};

/// No more can be asked for.
pub const MOST_THREADS: usize = 1024;

/// The number asked for by `set_num_threads`; 0 is none.
static REQUESTED: AtomicUsize = AtomicUsize::new(0);

/// The helpers, never freed: a job may still run on them.
static CREW: AtomicPtr<Crew> = AtomicPtr::new(std::ptr::null_mut());

/// Threads, and those that were there before: more are added when more are wanted.
struct Crew {
    pool: ThreadPool,
    before: Option<&'static Crew>,
    size: usize,
}

/// Sets the number of threads for all later jobs. `None` goes back to the default.
pub fn set_num_threads(n: Option<usize>) {
    REQUESTED.store(n.unwrap_or(0), Ordering::Relaxed);
}

/// The number set by [`set_num_threads`], or by the environment variable `IRONSTEP_NUM_THREADS`.
pub fn requested_threads() -> Option<usize> {
    static ENVIRONMENT: OnceLock<usize> = OnceLock::new();
    let set = match REQUESTED.load(Ordering::Relaxed) {
        0 => *ENVIRONMENT.get_or_init(|| {
            let value = std::env::var("IRONSTEP_NUM_THREADS").ok();
            let number = value.and_then(|text| text.trim().parse().ok());
            number
                .filter(|n| (1..=MOST_THREADS).contains(n))
                .unwrap_or(0)
        }),
        n => n,
    };
    (set > 0).then_some(set)
}

/// The number of cores that this process may use.
pub fn available_threads() -> usize {
    // Asking reads the control group's files each time: once is enough.
    static AVAILABLE: OnceLock<usize> = OnceLock::new();
    *AVAILABLE.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs `tile(0)`, …, `tile(n_tiles - 1)`, each once, on the caller and up to `threads - 1` helpers.
/// Returns when all have ended. A panic in a tile is passed on.
pub fn run(threads: usize, n_tiles: usize, tile: &(dyn Fn(usize) + Sync)) {
    let threads = threads.min(n_tiles);
    if threads < 2 {
        return (0..n_tiles).for_each(tile);
    }
    // SAFETY: only the lifetime changes. `tile` is called for taken tiles alone, and this function
    // does not return before every taken tile has ended: a helper that comes later finds none left.
    let tile = unsafe {
        std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(tile)
    };
    let job = Arc::new(Job::new(tile, n_tiles));
    if let Some(team) = team::ready() {
        team.run(threads, &|| job.work());
    } else {
        let mut crew = crew(threads - 1);
        let mut wanted = threads - 1;
        while let Some(Crew { pool, before, .. }) = crew {
            for _ in 0..wanted.min(pool.current_num_threads()) {
                let job = Arc::clone(&job);
                pool.spawn(move || job.work());
                wanted -= 1;
            }
            crew = *before;
        }
    }
    job.work();
    job.wait();
}

struct Job {
    tile: &'static (dyn Fn(usize) + Sync),
    n_tiles: usize,
    next: AtomicUsize,
    ended: AtomicUsize,
    waiting: AtomicBool,
    caller: Thread,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl Job {
    fn new(tile: &'static (dyn Fn(usize) + Sync), n_tiles: usize) -> Job {
        Job {
            tile,
            n_tiles,
            next: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
            caller: std::thread::current(),
            panic: Mutex::new(None),
        }
    }

    /// Takes tiles until none is left.
    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.n_tiles {
                return;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.tile)(index)))
                && let Ok(mut first) = self.panic.lock()
            {
                first.get_or_insert(payload);
            }
            let ended = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
            if ended == self.n_tiles && self.waiting.load(Ordering::SeqCst) {
                self.caller.unpark();
            }
        }
    }

    /// Waits for the tiles that helpers have taken.
    fn wait(&self) {
        // measured: a tile takes 2 to 20 µs, about this many turns; sleeping and waking costs 5 and more
        const SPINS: usize = 2_000;
        let all_ended = || self.ended.load(Ordering::SeqCst) == self.n_tiles;
        for _ in 0..SPINS {
            if all_ended() {
                break;
            }
            std::hint::spin_loop();
        }
        self.waiting.store(true, Ordering::SeqCst);
        while !all_ended() {
            std::thread::park();
        }
        let panic = self.panic.lock().ok().and_then(|mut first| first.take());
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

/// At least so many helpers; fewer, even none, if the system gives no more threads.
fn crew(helpers: usize) -> Option<&'static Crew> {
    // SAFETY: the pointer is null or comes from `Box::leak` below.
    let before = unsafe { CREW.load(Ordering::Acquire).as_ref() };
    let size = before.map_or(0, |crew| crew.size);
    if size >= helpers {
        return before;
    }
    static REGISTERED: Once = Once::new();
    // SAFETY: it stores an atomic.
    unsafe { fork::in_child(&REGISTERED, forget) };
    let pool = ThreadPoolBuilder::new()
        .num_threads(helpers - size)
        .thread_name(|index| format!("ironstep-{index}"))
        .build();
    let Ok(pool) = pool else {
        return before;
    };
    let made: &'static Crew = Box::leak(Box::new(Crew {
        pool,
        before,
        size: helpers,
    }));
    CREW.store(std::ptr::from_ref(made).cast_mut(), Ordering::Release);
    Some(made)
}

unsafe extern "C" fn forget() {
    CREW.store(std::ptr::null_mut(), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_runs_once() {
        for threads in [1, 2, 3, 8] {
            for n_tiles in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..n_tiles).map(|_| AtomicUsize::new(0)).collect();
                run(threads, n_tiles, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_in_a_tile_reaches_the_caller_and_the_pool_survives() {
        for round in 0..20 {
            let caught = catch_unwind(|| run(2, 100, &|i| assert_ne!(i, 5 * round)));
            assert!(caught.is_err());
        }
        every_tile_runs_once();
    }

    #[test]
    fn many_callers_share_the_pool() {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = AtomicUsize::new(0);
                        run(3, 50, &|i| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 49 * 50 / 2);
                    }
                });
            }
        });
    }
}
