//! Finds torch's own team of threads: `torch_parallel_for`, in torch since 2.10.

use ironstep_kernels::team::{self, ParallelFor};

/// Lets torch's team help, where torch has one to offer and it can be relied on.
pub fn enlist() {
    let declined = std::env::var("IRONSTEP_HELPERS").is_ok_and(|helpers| helpers == "own");
    if !declined && !is_forked() {
        team::set(find());
    }
}

/// The function in the library that torch has loaded.
#[cfg(target_os = "linux")]
fn find() -> Option<ParallelFor> {
    // SAFETY: RTLD_NOLOAD only looks among what is loaded; both names are C strings.
    let function = unsafe {
        let library = libc::dlopen(
            c"libtorch_cpu.so".as_ptr(),
            libc::RTLD_NOLOAD | libc::RTLD_LAZY,
        );
        if library.is_null() {
            return None;
        }
        libc::dlsym(library, c"torch_parallel_for".as_ptr())
    };
    // SAFETY: torch/csrc/stable/c/shim.h declares it so, and calls its ABI stable.
    (!function.is_null())
        .then(|| unsafe { std::mem::transmute::<*mut libc::c_void, ParallelFor>(function) })
}

#[cfg(not(target_os = "linux"))]
fn find() -> Option<ParallelFor> {
    None
}

/// Whether this process was forked and did not exec: if its parent had used the team, the team's
/// threads are gone, and waiting for them would never end.
fn is_forked() -> bool {
    const FORKED_NOT_EXECUTED: u64 = 0x40; // PF_FORKNOEXEC, include/linux/sched.h
    // proc_pid_stat(5): the name in parentheses is the second field, the flags are the ninth.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
    let flags = behind_name
        .and_then(|rest| rest.split(' ').nth(6))
        .and_then(|flags| flags.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & FORKED_NOT_EXECUTED != 0)
}
