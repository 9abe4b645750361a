//! Items prepared ahead on threads, delivered in the order of their positions.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{DatasetError, Mixture, TrainingItem};

/// What a [`Loader`] delivers, and with how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// The run's seed.
    pub seed: u64,
    /// Position of the first item; the count of items already consumed when a run resumes.
    pub start: u64,
    /// Threads that draw and prepare; at least one is started.
    pub workers: usize,
    /// Most items that are finished or in work ahead of the consumer, at least 1.
    pub ahead: usize,
}

/// An endless iterator over prepared items. What it yields depends on seed and position only, not on the number of threads.
///
/// An item that fails is an error at its position; those after it follow. Dropping the loader stops and joins its threads, which
/// takes as long as the items in work.
pub struct Loader<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Told when an item is ready.
    ready: Condvar,
    /// Told when there is room for another item, or when the end has come.
    room: Condvar,
}

struct State<T> {
    /// Finished items that wait for their turn.
    finished: BTreeMap<u64, Result<T, DatasetError>>,
    next_to_start: u64,
    next_to_deliver: u64,
    stopped: bool,
}

impl<T: Send + 'static> Loader<T> {
    /// Starts the threads on the items of `mixture`. `prepare` runs on them: resizing, tokenising, whatever the model needs.
    ///
    /// # Errors
    /// [`DatasetError::Thread`].
    pub fn start<F>(mixture: Arc<Mixture>, config: LoaderConfig, prepare: F) -> Result<Self, DatasetError>
    where
        F: Fn(TrainingItem) -> T + Send + Sync + 'static,
    {
        Self::produce(config, move |seed, position| mixture.item(seed, position).map(&prepare))
    }

    /// Starts the threads on what `make` returns for the run's seed and each position.
    ///
    /// # Errors
    /// [`DatasetError::Thread`].
    pub fn produce<F>(config: LoaderConfig, make: F) -> Result<Self, DatasetError>
    where
        F: Fn(u64, u64) -> Result<T, DatasetError> + Send + Sync + 'static,
    {
        let state = State {
            finished: BTreeMap::new(),
            next_to_start: config.start,
            next_to_deliver: config.start,
            stopped: false,
        };
        let shared = Shared { state: Mutex::new(state), ready: Condvar::new(), room: Condvar::new() };
        let mut loader = Self { shared: Arc::new(shared), workers: Vec::new() };
        let make = Arc::new(make);
        for index in 0..config.workers.max(1) {
            let (shared, make) = (loader.shared.clone(), make.clone());
            let work = move || {
                while let Some(position) = shared.claim(config.ahead.max(1) as u64) {
                    let item = guarded(position, || make(config.seed, position));
                    shared.finish(position, item);
                }
            };
            let thread = Builder::new().name(format!("loader-{index}")).spawn(work);
            loader.workers.push(thread.map_err(DatasetError::Thread)?);
        }
        Ok(loader)
    }
}

impl<T> Loader<T> {
    /// Position of the item that comes next.
    pub fn position(&self) -> u64 {
        self.shared.lock().next_to_deliver
    }
}

impl<T> Iterator for Loader<T> {
    type Item = Result<T, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.shared.lock();
        loop {
            let position = state.next_to_deliver;
            if let Some(item) = state.finished.remove(&position) {
                state.next_to_deliver += 1;
                self.shared.room.notify_one();
                return Some(item);
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Loader<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panics are caught and delivered, so that joining cannot fail.
            let _joined = worker.join();
        }
    }
}

impl<T> Shared<T> {
    /// Nothing panics under the lock, so that the state is whole even where the mutex says otherwise.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next position to work on, once it lies less than `ahead` before the consumer; `None` at the end.
    fn claim(&self, ahead: u64) -> Option<u64> {
        let mut state = self.lock();
        while !state.stopped && state.next_to_start - state.next_to_deliver >= ahead {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return None;
        }
        state.next_to_start += 1;
        Some(state.next_to_start - 1)
    }

    fn finish(&self, position: u64, item: Result<T, DatasetError>) {
        self.lock().finished.insert(position, item);
        self.ready.notify_one();
    }
}

/// Runs `work`; a panic becomes an error.
fn guarded<T>(position: u64, work: impl FnOnce() -> Result<T, DatasetError>) -> Result<T, DatasetError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(DatasetError::Panicked { position, message: message.unwrap_or_else(|| "a panic".to_owned()) })
    })
}
