use super::RunSettings;
use crate::{GradientSum, Gradients, Learner, LossTerms, MicroBatch, TrainError, first_not_finite};
use maskwise_kernels::matmul::set_precision;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// Computes the micro-batches of a step side by side.
pub(super) struct MicroBatches {
    /// One for each worker, so that the parallel kernels of one micro-batch stay off the threads of another.
    pools: Vec<ThreadPool>,
    all_threads: ThreadPool,
}

/// What a step's micro-batches come to.
pub(super) struct Outcome {
    /// Averaged over the micro-batches.
    pub(super) terms: LossTerms,
    /// Summed, not averaged, over the micro-batches.
    pub(super) gradients: Gradients,
}

/// What the workers take micro-batches from.
struct Queue<'i, I> {
    items: &'i mut I,
    /// Index within the step of the next micro-batch.
    next: usize,
}

impl MicroBatches {
    pub(super) fn new(settings: &RunSettings) -> Result<Self, TrainError> {
        let threads = settings.thread_count();
        let workers = threads.min(settings.grad_accumulation_steps);
        let pool = |threads: usize| {
            let precision = settings.float32_matmul_precision.of_kernels();
            let built = ThreadPoolBuilder::new()
                .num_threads(threads)
                .start_handler(move |_| set_precision(precision))
                .build();
            built
                .map_err(|error| TrainError::setting("run.threads", format!("no {threads} threads: {error}")))
        };
        let share = |worker: usize| threads / workers + usize::from(worker < threads % workers);
        let pools = (0..workers).map(|worker| pool(share(worker))).collect::<Result<_, _>>()?;
        Ok(Self { pools, all_threads: pool(threads)? })
    }

    pub(super) fn with_all_threads<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.all_threads.install(work)
    }

    /// The micro-batches of step `step`, counted from 0. Which worker computes which is left to chance; results are added, and errors
    /// reported, in the order of the micro-batches.
    pub(super) fn compute<L, I>(
        &self,
        learner: &L,
        items: &mut I,
        step: u64,
        settings: &RunSettings,
    ) -> Result<Outcome, TrainError>
    where
        L: Learner,
        I: Iterator<Item = Result<(String, L::Prepared), TrainError>> + Send,
    {
        let queue = Mutex::new(Queue { items, next: 0 });
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for pool in &self.pools {
                let (sender, queue) = (sender.clone(), &queue);
                scope.spawn(move || {
                    while let Some((index, batch)) = take(queue, step, settings) {
                        let result = pool.install(|| compute_one(learner, batch?, step, index, settings));
                        let failed = result.is_err();
                        if sender.send((index, result)).is_err() || failed {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            add_in_order(receiver, settings.grad_accumulation_steps)
        })
    }
}

type Samples<P> = (Vec<String>, Vec<P>);

/// The next micro-batch and its index; none when the step has no more.
fn take<P, I>(
    queue: &Mutex<Queue<I>>,
    step: u64,
    settings: &RunSettings,
) -> Option<(usize, Result<Samples<P>, TrainError>)>
where
    I: Iterator<Item = Result<(String, P), TrainError>>,
{
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let index = queue.next;
    if index >= settings.grad_accumulation_steps {
        return None;
    }
    queue.next += 1;
    let mut samples = (Vec::new(), Vec::new());
    for offset in 0..settings.batch_size {
        match queue.items.next() {
            Some(Ok((id, prepared))) => {
                samples.0.push(id);
                samples.1.push(prepared);
            }
            Some(Err(error)) => return Some((index, Err(error))),
            None => {
                let position =
                    step * settings.items_per_step() + (index * settings.batch_size + offset) as u64;
                let wanted = settings.steps * settings.items_per_step() - position;
                return Some((index, Err(TrainError::OutOfItems { position, wanted })));
            }
        }
    }
    Some((index, Ok(samples)))
}

fn compute_one<L: Learner>(
    learner: &L,
    (ids, items): Samples<L::Prepared>,
    step: u64,
    index: usize,
    settings: &RunSettings,
) -> Result<(LossTerms, Gradients), TrainError> {
    let position = step * settings.grad_accumulation_steps as u64 + index as u64;
    let batch = MicroBatch { items: &items, seed: mix(settings.seed, position) };
    let (terms, gradients) = learner.micro_batch(&batch)?;
    match first_not_finite(&terms, &gradients, learner.parameters())? {
        Some(what) => Err(TrainError::NotFinite { step: step + 1, what, items: ids }),
        None => Ok((terms, gradients)),
    }
}

type Computed = (usize, Result<(LossTerms, Gradients), TrainError>);

fn add_in_order(receiver: mpsc::Receiver<Computed>, count: usize) -> Result<Outcome, TrainError> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    let (mut terms, mut gradients) = (TermMeans::default(), GradientSum::default());
    for (index, result) in receiver {
        waiting.insert(index, result);
        while let Some(result) = waiting.remove(&next) {
            let (new_terms, new_gradients) = result?;
            terms.add(new_terms);
            gradients.add(new_gradients)?;
            next += 1;
        }
    }
    if next < count {
        // Only a panic ends a worker without a result; the scope passes it on.
        return Err(TrainError::setting("run.threads", "a worker ended early"));
    }
    Ok(Outcome { terms: terms.finish(), gradients: gradients.finish() })
}

/// Means of loss terms, each over the micro-batches that have it, in the order of their first appearance.
#[derive(Default)]
struct TermMeans(Vec<(&'static str, f64, u32)>);

impl TermMeans {
    fn add(&mut self, terms: LossTerms) {
        for (name, value) in terms.0 {
            match self.0.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, sum, count)) => (*sum, *count) = (*sum + value, *count + 1),
                None => self.0.push((name, value, 1)),
            }
        }
    }

    fn finish(self) -> LossTerms {
        LossTerms(self.0.into_iter().map(|(name, sum, count)| (name, sum / f64::from(count))).collect())
    }
}

/// SplitMix64 of the seed and a position: neighbouring positions give unrelated seeds.
fn mix(seed: u64, position: u64) -> u64 {
    let mut value = seed ^ position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
