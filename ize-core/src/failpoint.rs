//! Steps at which a test can have the process killed.
//!
//! [`pass`] stands at every step between a request and the trim of the journal, of recovery and of closing. In a normal
//! build it is nothing. With the feature `failpoints`, `kill_at` chooses a step, and the process ends there as
//! `kill -9` ends it: without a destructor, a flush or a last word. Every step has a name of its own; the test that kills
//! at each of them finds the names in the source.

/// Tells that a step has come.
#[inline(always)]
pub fn pass(step: &'static str) {
    #[cfg(feature = "failpoints")]
    fail::eval(step, |_| ());
    #[cfg(not(feature = "failpoints"))]
    let _ = step;
}

/// Has this process killed when it comes to a step for the `count`-th time.
///
/// # Errors
/// What is wrong with the name.
#[cfg(feature = "failpoints")]
pub fn kill_at(step: &str, count: u64) -> Result<(), String> {
    use std::sync::atomic::{AtomicU64, Ordering};

    let passed = AtomicU64::new(0);
    fail::cfg_callback(step, move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == count {
            // It cannot fail, and there is nobody to tell.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // The signal ends all threads, this one as soon as it comes out of the kernel.
            loop {
                std::thread::park();
            }
        }
    })
}
