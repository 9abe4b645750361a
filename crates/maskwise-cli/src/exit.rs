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
            let _ = writeln!(io::stderr(), "error: {}", one_line(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
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
    fn the_worst_ending_wins() {
        assert_eq!(Ending::Done.max(Ending::WithoutMask).max(Ending::SomeFailed), Ending::SomeFailed);
    }
}
