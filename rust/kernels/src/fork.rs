//! A forked child has its parent's memory but none of its threads: what leads to them is forgotten.

use std::sync::Once;

/// Has `forget` called in every child that is forked from now on.
///
/// # Safety
/// `forget` does no more than what is allowed between fork and exec: it stores atomics, say.
pub(crate) unsafe fn in_child(registered: &Once, forget: unsafe extern "C" fn()) {
    #[cfg(unix)]
    registered.call_once(|| {
        // SAFETY: by contract.
        unsafe { libc::pthread_atfork(None, None, Some(forget)) };
    });
    #[cfg(not(unix))]
    let _ = (registered, forget);
}
