use super::{AskOptions, EmbeddedImage, Scene};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads of the current pool from which on SAM's image encoder runs beside the language model. With fewer, each of the two would be slowed down
/// by about what the other one gains.
pub const THREADS_FOR_BOTH: usize = 8;

/// Threads for the language model, which waits for memory while it writes, and for SAM's image encoder.
pub(crate) struct Pools {
    writers: ThreadPool,
    encoders: ThreadPool,
}

impl Pools {
    /// None where the system has no threads to give.
    pub(crate) fn new(threads: usize) -> Option<Self> {
        let pool = |threads: usize| ThreadPoolBuilder::new().num_threads(threads).build().ok();
        let writers = (threads / 4).max(THREADS_FOR_BOTH / 2);
        Some(Self { writers: pool(writers)?, encoders: pool(threads - writers)? })
    }
}

impl Scene<'_> {
    /// Does `write`, and meanwhile encodes the image for masks, if that is wanted and not done yet and there are threads for both.
    pub(super) fn with_encoding_beside<R: Send>(
        &mut self,
        options: &AskOptions,
        write: impl FnOnce() -> R + Send,
    ) -> R {
        let is_wanted = options.encode_beside
            && self.embedding.is_none()
            && self.image_tokens.as_ref().is_some_and(|tokens| tokens.device().is_cpu());
        let Some(pools) = is_wanted.then(|| self.segmenter.pools()).flatten() else { return write() };
        let (segmenter, image) = (self.segmenter, &self.image);
        let mut encoded = None;
        let written = pools.encoders.in_place_scope(|scope| {
            scope.spawn(|_| encoded = Some(EmbeddedImage::of(segmenter, image)));
            pools.writers.install(write)
        });
        // An error is found again where a mask is needed.
        self.embedding = encoded.and_then(Result::ok);
        written
    }
}
