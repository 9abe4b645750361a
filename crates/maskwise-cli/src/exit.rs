//! Exit codes: 0 a mask for every item, 1 an item without a mask, 2 the input or the environment at fault.

use std::io::{self, Write};
use std::process::ExitCode;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// All is well: 0.
    Done,
    /// Some answer came without a mask: 1.
    WithoutMask,
    /// Some item failed, and a line of the output says why: 2.
    SomeFailed,
}

pub(crate) fn finish(result: anyhow::Result<Ending>) -> ExitCode {
    match result {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::WithoutMask) => ExitCode::from(1),
        Ok(Ending::SomeFailed) => ExitCode::from(2),
        // Whoever reads our output has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even the error stream is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {}", describe(&error));
            ExitCode::from(2)
        }
    }
}

/// What the parser of the command line has to say: help, or what is wrong with the command.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let code = if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    let shown = if error.kind() == clap::error::ErrorKind::ValueValidation {
        // The value's own message says it all; usage would bury it.
        let text = error.to_string();
        let text = text.split("\n\n").next().unwrap_or_default();
        writeln!(io::stderr(), "{}", one_line(text))
    } else {
        error.print().and_then(|()| end_line(error))
    };
    // Where the stream is gone there is nobody to tell.
    let _ = shown;
    code
}

/// clap leaves the last line open where a command's help ends in a remark.
fn end_line(error: &clap::Error) -> io::Result<()> {
    match error.to_string().ends_with('\n') {
        true => Ok(()),
        false if error.use_stderr() => writeln!(io::stderr()),
        false => writeln!(io::stdout()),
    }
}

/// The error and its causes on one line, a cause left out where the message before it has quoted it.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    one_line(&text)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The text on one line, control characters escaped: messages may hold what a file or a person wrote.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => line.push(' '),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(one_line("a\nb\x1b[2Jc"), "a b\\u{1b}[2Jc");
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("the disk is gone");
        let quoted = anyhow::Error::new(cause()).context("cannot read a.png: the disk is gone");
        assert_eq!(describe(&quoted), "cannot read a.png: the disk is gone");
        let plain = anyhow::Error::new(cause()).context("cannot read a.png");
        assert_eq!(describe(&plain), "cannot read a.png: the disk is gone");
    }

    #[test]
    fn the_worst_ending_wins() {
        assert_eq!(Ending::Done.max(Ending::WithoutMask).max(Ending::SomeFailed), Ending::SomeFailed);
    }
}
