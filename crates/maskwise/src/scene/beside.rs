use super::{EmbeddedImage, Scene};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads of the current pool from which on SAM's image encoder runs beside the language model. With fewer, each of the two would be slowed down
/// by about what the other one gains.
pub const THREADS_FOR_BOTH: usize = 8;

impl Scene<'_> {
    /// Does `write`, and meanwhile encodes the image for masks, each on a half of the threads, if it is not encoded yet and there are threads for both.
    pub(super) fn with_encoding_beside<R: Send>(&mut self, write: impl FnOnce() -> R + Send) -> R {
        let Some((writers, encoders)) = self.halves() else { return write() };
        let (segmenter, image) = (self.segmenter, &self.image);
        let (written, encoded) = std::thread::scope(|scope| {
            let encoding = scope.spawn(|| encoders.install(|| EmbeddedImage::of(segmenter, image)));
            (writers.install(write), encoding.join())
        });
        match encoded {
            // An error is found again where a mask is needed.
            Ok(encoded) => self.embedding = encoded.ok(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        written
    }

    /// A pool for the language model and one for SAM; none where one should wait for the other.
    fn halves(&self) -> Option<(ThreadPool, ThreadPool)> {
        let threads = rayon::current_num_threads();
        let is_wanted = self.embedding.is_none()
            && threads >= THREADS_FOR_BOTH
            && self.image_tokens.as_ref().is_some_and(|tokens| tokens.device().is_cpu());
        let pool = |threads: usize| ThreadPoolBuilder::new().num_threads(threads).build().ok();
        if is_wanted { pool(threads - threads / 2).zip(pool(threads / 2)) } else { None }
    }
}
