use crate::args::ChatArguments;
use crate::exit::{Ending, one_line};
use crate::output::Output;
use crate::ui::{self, Progress};
use maskwise::image::decode_path;
use maskwise::{AskOptions, Record, Turn};
use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

const HELP: &str = "Ask about the image. /image PATH looks at another one, /forget drops what was said, /quit ends.";

pub(crate) fn run(arguments: &ChatArguments, quiet: bool) -> anyhow::Result<Ending> {
    let decode = arguments.image_options.options();
    let mut image = decode_path(&arguments.image, &decode)?;
    let output =
        Output { folder: arguments.output.clone(), similarity: false, labelme: false, pictures: true };
    output.prepare()?;
    let progress = Progress::new(quiet);
    let bar = progress.bytes("loading");
    let shown = bar.clone();
    let segmenter = arguments.model.load(move |read, total| {
        shown.set_length(total);
        shown.set_position(read);
    })?;
    bar.finish_and_clear();

    let mut out = io::stdout().lock();
    let interactive = io::stdin().is_terminal();
    if interactive && !quiet {
        writeln!(out, "{HELP}")?;
    }
    let mut scene = segmenter.look(&image)?;
    let mut path = arguments.image.clone();
    let mut options = AskOptions { max_new_tokens: arguments.max_new_tokens, ..AskOptions::default() };
    let mut asked = 0;
    let mut lines = io::stdin().lock().lines();
    loop {
        if interactive {
            write!(out, "> ")?;
            out.flush()?;
        }
        let Some(line) = lines.next() else { return Ok(Ending::Done) };
        let line = line?;
        let line = line.trim();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => continue,
            ("/quit", _) => return Ok(Ending::Done),
            ("/help", _) => writeln!(out, "{HELP}")?,
            ("/forget", _) => options.history.clear(),
            ("/image", new) => match decode_path(new.as_ref(), &decode) {
                Ok(decoded) => {
                    image = decoded;
                    path = PathBuf::from(new);
                    scene = segmenter.look(&image)?;
                    options.history.clear();
                }
                Err(error) => writeln!(out, "error: {}", one_line(&error.to_string()))?,
            },
            _ => {
                let stages = progress.stages();
                let answer = scene.ask_with(line, &options, &mut |event| {
                    ui::show(&stages, event);
                    ControlFlow::Continue(())
                });
                stages.finish_and_clear();
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error) => {
                        writeln!(out, "error: {}", one_line(&error.to_string()))?;
                        if !options.history.is_empty() {
                            writeln!(out, "If the conversation has become too long, /forget makes room.")?;
                        }
                        continue;
                    }
                };
                asked += 1;
                writeln!(out, "{}", one_line(&answer.text))?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let mut record = Record::new(&path.display().to_string(), image.dimensions(), &answer);
                for file in output.write(&format!("{stem}_{asked}"), &image, &answer, &mut record)? {
                    writeln!(out, "  wrote {}", file.display())?;
                }
                options.history.push(Turn { question: line.to_owned(), answer: answer.text });
            }
        }
    }
}
