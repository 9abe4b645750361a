//! What a panic prints: one line that asks for a report, and nothing where the panic is caught and becomes an error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::io::{self, Write};
use std::panic::PanicHookInfo;

thread_local! {
    static SILENCED: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the standard library's report, which is several lines about threads.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|info| {
        if !SILENCED.get() {
            // Where even the error stream is gone there is nobody to tell.
            let _ = report(info);
        }
    }));
}

/// Runs `work`, whose panics on this thread are caught inside of it, without a report of them.
pub(crate) fn silenced<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SILENCED.set(self.0);
        }
    }
    let _restore = Restore(SILENCED.replace(true));
    work()
}

fn report(info: &PanicHookInfo) -> io::Result<()> {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = crate::exit::one_line(text.unwrap_or("no message"));
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let issues = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");
    let mut stderr = io::stderr().lock();
    writeln!(
        stderr,
        "error: internal error in {place}: {text}; this is a bug, please report it at {issues}"
    )?;
    // Only with RUST_BACKTRACE, as everywhere.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        writeln!(stderr, "{backtrace}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const CHILD: &str = "MASKWISE_TEST_PANIC";

    /// Runs in a process of its own, started by the test below.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        super::install();
        let caught = super::silenced(|| std::panic::catch_unwind(|| panic!("inside a decoder")));
        assert!(caught.is_err());
        let caught = std::panic::catch_unwind(|| panic!("two\nlines"));
        assert!(caught.is_err());
    }

    #[test]
    fn a_caught_panic_is_silent_and_a_bug_is_one_line() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::tests::child", "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(!stderr.contains("inside a decoder"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: internal error in "), "{stderr}");
        assert!(stderr.contains("two lines") && stderr.contains("please report"), "{stderr}");
    }
}
