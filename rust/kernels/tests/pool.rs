//! Jobs inside jobs, jobs beside jobs, and jobs that panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ironstep_kernels::pool::{requested_threads, run, set_num_threads};

const MANY: usize = if cfg!(miri) { 5 } else { 50 };

fn count(threads: usize, n_tiles: usize, inner: &(dyn Fn(usize) + Sync)) -> usize {
    let ran = AtomicUsize::new(0);
    run(threads, n_tiles, &|tile| {
        inner(tile);
        ran.fetch_add(1, Ordering::Relaxed);
    });
    ran.into_inner()
}

#[test]
fn a_job_may_start_jobs() {
    for threads in [1, 2, 4] {
        let total = AtomicUsize::new(0);
        let outer = count(threads, MANY, &|_| {
            let inner = count(threads, MANY, &|_| {
                total.fetch_add(count(threads, 3, &|_| ()), Ordering::Relaxed);
            });
            assert_eq!(inner, MANY);
        });
        assert_eq!((outer, total.into_inner()), (MANY, 3 * MANY * MANY));
    }
}

#[test]
fn a_panic_in_an_inner_job_reaches_the_outer_caller_after_all_tiles_have_ended() {
    for round in 0..MANY {
        let running = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            run(3, 8, &|outer| {
                run(3, 8, &|inner| {
                    running.fetch_add(1, Ordering::SeqCst);
                    let bad = outer == 3 && inner == round % 8;
                    running.fetch_sub(1, Ordering::SeqCst);
                    assert!(!bad, "the tile's own words");
                });
            });
        }));
        assert_eq!(running.into_inner(), 0);
        let payload = caught.unwrap_err();
        assert_eq!(
            payload.downcast_ref::<&str>(),
            Some(&"the tile's own words")
        );
    }
    assert_eq!(count(3, MANY, &|_| ()), MANY);
}

#[test]
fn every_tile_may_panic() {
    let ran = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        run(2, MANY, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
            panic!("all of them");
        });
    }));
    assert!(caught.is_err());
    // Alone, or where no helper comes, the rest is left out; nothing runs twice.
    assert!((1..=MANY).contains(&ran.into_inner()));
}

#[test]
fn what_a_tile_wrote_is_seen_after_the_job() {
    for round in 0..20 * MANY {
        let slots: Vec<Mutex<usize>> = (0..7).map(|_| Mutex::new(0)).collect();
        let mut plain = [0; 7];
        {
            let cells: Vec<AtomicUsize> = (0..7).map(|_| AtomicUsize::new(0)).collect();
            run(3, 7, &|tile| {
                *slots[tile].lock().unwrap() = round + tile;
                cells[tile].store(round + tile, Ordering::Relaxed);
            });
            for (plain, cell) in plain.iter_mut().zip(&cells) {
                *plain = cell.load(Ordering::Relaxed);
            }
        }
        assert!(
            plain
                .iter()
                .enumerate()
                .all(|(tile, &value)| value == round + tile)
        );
    }
}

#[test]
fn callers_with_different_numbers_of_threads_do_not_disturb_each_other() {
    std::thread::scope(|scope| {
        for threads in 1..=6 {
            scope.spawn(move || {
                for n_tiles in 0..MANY {
                    assert_eq!(count(threads, n_tiles, &|_| ()), n_tiles);
                }
            });
        }
    });
}

#[test]
fn more_threads_than_tiles_and_no_thread_at_all() {
    for threads in [0, 1, 64] {
        for n_tiles in [0, 1, 3] {
            assert_eq!(count(threads, n_tiles, &|_| ()), n_tiles);
        }
    }
}

#[test]
fn a_number_that_was_set_is_told_until_it_is_taken_back() {
    let before = requested_threads();
    set_num_threads(Some(3));
    assert_eq!(requested_threads(), Some(3));
    set_num_threads(None);
    assert_eq!(requested_threads(), before);
}
