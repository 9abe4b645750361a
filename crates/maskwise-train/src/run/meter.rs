use std::time::{Duration, Instant};

/// Weight of the newest step in the running mean of step times.
const NEWEST: f64 = 0.1;

/// Measures steps and estimates the rest of a run.
#[derive(Debug, Default)]
pub(super) struct Meter {
    begun: Option<Instant>,
    last_end: Option<Instant>,
    mean_seconds: Option<f64>,
}

impl Meter {
    pub(super) fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    /// Seconds since [`Meter::begin`], above zero.
    pub(super) fn end(&mut self) -> f64 {
        let now = Instant::now();
        let since =
            |earlier: Option<Instant>| earlier.map_or(0.0, |earlier| (now - earlier).as_secs_f64()).max(1e-9);
        let step = since(self.begun);
        // From end to end, so that validations and saves count in the estimate.
        let whole = if self.last_end.is_some() { since(self.last_end) } else { step };
        self.last_end = Some(now);
        self.mean_seconds = Some(self.mean_seconds.map_or(whole, |mean| mean + NEWEST * (whole - mean)));
        step
    }

    pub(super) fn remaining(&self, steps: u64) -> Duration {
        let seconds = self.mean_seconds.unwrap_or(0.0) * steps as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// The process's resident memory where the system tells it in `/proc`.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_from_the_steps_made() {
        let mut meter = Meter::default();
        assert_eq!(meter.remaining(10), Duration::ZERO);
        meter.begin();
        std::thread::sleep(Duration::from_millis(5));
        let seconds = meter.end();
        assert!(seconds >= 0.005);
        assert!((meter.remaining(10).as_secs_f64() - 10.0 * seconds).abs() < 1e-6);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_the_resident_memory() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
