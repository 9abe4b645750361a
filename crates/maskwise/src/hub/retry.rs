//! When to try again, and when to give up.

use std::time::Duration;

use super::HubError;
use super::download::PullOptions;

/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again would give the same answer.
    Final(HubError),
    /// The connection broke, or the server is busy.
    Passing {
        /// What happened, in words.
        reason: String,
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Failure::Passing { reason: reason.into(), wait: None }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Failure::Final(error)
    }
}

/// Counts the attempts at one address and doubles the wait after each.
pub(super) struct Retry {
    address: String,
    attempts: u32,
    allowed: u32,
    first_wait: Duration,
}

/// An attempt that will follow.
pub(super) struct Again {
    pub(super) attempt: u32,
    pub(super) wait: Duration,
    pub(super) reason: String,
}

impl Retry {
    pub(super) fn new(address: &str, options: &PullOptions) -> Self {
        Self {
            address: address.to_owned(),
            attempts: 0,
            allowed: options.attempts.max(1),
            first_wait: options.first_wait,
        }
    }

    /// What to do after a failure: how long to wait, or the error to give up with.
    pub(super) fn after(&mut self, failure: Failure) -> Result<Again, HubError> {
        let (reason, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { reason, wait } => (reason, wait),
        };
        self.attempts += 1;
        if self.attempts >= self.allowed {
            return Err(HubError::Transfer { url: self.address.clone(), attempts: self.attempts, reason });
        }
        let doubled = self.first_wait * 2_u32.saturating_pow((self.attempts - 1).min(16));
        let wait = asked.map_or(doubled, |asked| asked.max(doubled)).min(LONGEST_WAIT);
        Ok(Again { attempt: self.attempts + 1, wait, reason })
    }

    /// Bytes have arrived: the count starts again.
    pub(super) fn progressed(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let options =
            PullOptions { attempts: 4, first_wait: Duration::from_secs(1), ..PullOptions::default() };
        let mut retry = Retry::new("http://x", &options);
        let mut waits = Vec::new();
        let error = loop {
            match retry.after(Failure::passing("reset")) {
                Ok(again) => waits.push(again.wait.as_secs()),
                Err(error) => break error,
            }
        };
        assert_eq!(waits, [1, 2, 4]);
        assert!(matches!(error, HubError::Transfer { attempts: 4, .. }));
        retry.progressed();
        let asked = Failure::Passing { reason: String::new(), wait: Some(Duration::from_secs(9999)) };
        assert_eq!(retry.after(asked).unwrap().wait, LONGEST_WAIT);
    }
}
