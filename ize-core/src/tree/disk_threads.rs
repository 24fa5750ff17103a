//! Threads for what waits for the disk.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for the disk so that others need not. They are started when they are first needed; dropping this waits
/// until all that was handed to them is done.
pub struct DiskThreads {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    threads_max: usize,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    idle: usize,
    closing: bool,
}

impl fmt::Debug for DiskThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskThreads").field("threads_max", &self.threads_max).finish_non_exhaustive()
    }
}

impl DiskThreads {
    /// Makes at most so many threads, at least one.
    pub fn new(threads_max: usize) -> Self {
        Self { shared: Arc::default(), threads: Mutex::default(), threads_max: threads_max.max(1) }
    }

    /// Does something on one of the threads, when one is free.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut jobs = self.shared.jobs.lock();
        jobs.waiting.push_back(Box::new(job));
        if jobs.idle >= jobs.waiting.len() {
            drop(jobs);
            self.shared.changed.notify_one();
            return;
        }
        drop(jobs);
        self.start_one();
    }

    fn start_one(&self) {
        let mut threads = self.threads.lock();
        if threads.len() >= self.threads_max {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match std::thread::Builder::new().name("ize-disk".into()).spawn(move || shared.serve()) {
            Ok(thread) => threads.push(thread),
            Err(error) if threads.is_empty() => {
                tracing::warn!(%error, "no thread to wait for the disk: the request does so itself");
                self.shared.work();
            }
            // The others will come to it.
            Err(_) => {}
        }
    }
}

impl Drop for DiskThreads {
    fn drop(&mut self) {
        self.shared.jobs.lock().closing = true;
        self.shared.changed.notify_all();
        for thread in self.threads.get_mut().drain(..) {
            // A panic there was reported by its own thread.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self) {
        loop {
            self.work();
            let mut jobs = self.jobs.lock();
            while jobs.waiting.is_empty() {
                if jobs.closing {
                    return;
                }
                jobs.idle += 1;
                self.changed.wait(&mut jobs);
                jobs.idle -= 1;
            }
        }
    }

    /// Does what waits, until nothing does.
    fn work(&self) {
        loop {
            let job = self.jobs.lock().waiting.pop_front();
            match job {
                Some(job) => {
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("what was to wait for the disk panicked");
                    }
                }
                None => return,
            }
        }
    }
}
