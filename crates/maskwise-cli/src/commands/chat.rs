use crate::args::ChatArguments;
use crate::batch::{cut_off, without_mask};
use crate::decode::decode;
use crate::exit::{Ending, describe, one_line};
use crate::output::Output;
use crate::ui::{self, Progress};
use maskwise::image::DecodeOptions;
use maskwise::{Answer, AskOptions, Record, Scene, Segmenter, Turn};
use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const HELP: &str =
    "Ask about the image. /image PATH looks at another one, /forget drops what was said, /quit ends.";

pub(crate) fn run(arguments: &ChatArguments, quiet: bool) -> anyhow::Result<Ending> {
    let image_options = arguments.image_options.options();
    // An image that cannot be read is told before the model is loaded, which may take minutes.
    let image = decode(&arguments.image, &image_options)?;
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
    ui::name_embedded_model(&arguments.model.model, quiet)?;

    let mut chat = Chat {
        segmenter: &segmenter,
        image_options,
        output,
        progress,
        path: arguments.image.clone(),
        scene: segmenter.look(&image)?,
        options: AskOptions { max_new_tokens: arguments.max_new_tokens, ..AskOptions::default() },
        asked: 0,
    };
    let mut out = io::stdout().lock();
    let interactive = io::stdin().is_terminal();
    if interactive && !quiet {
        writeln!(out, "{HELP}")?;
    }
    let mut lines = io::stdin().lock().lines();
    loop {
        if interactive {
            write!(out, "> ")?;
            out.flush()?;
        }
        match lines.next() {
            None => return Ok(Ending::Done),
            Some(Ok(line)) if line.trim() == "/quit" => return Ok(Ending::Done),
            Some(Ok(line)) => chat.turn(line.trim(), &mut out)?,
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                writeln!(out, "error: this line is not UTF-8 text")?;
            }
            Some(Err(error)) => return Err(error.into()),
        }
        out.flush()?;
    }
}

/// An image, and what was said about it.
struct Chat<'a> {
    segmenter: &'a Segmenter,
    image_options: DecodeOptions,
    output: Output,
    progress: Progress,
    path: PathBuf,
    scene: Scene<'a>,
    options: AskOptions,
    asked: usize,
}

impl Chat<'_> {
    /// Does what one line says. What goes wrong is told on `out`; only `out` itself failing is an error.
    fn turn(&mut self, line: &str, out: &mut impl Write) -> io::Result<()> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => Ok(()),
            ("/help", _) => writeln!(out, "{HELP}"),
            ("/forget", _) => {
                self.options.history.clear();
                Ok(())
            }
            ("/image", "") => writeln!(out, "error: /image needs the path of an image"),
            ("/image", path) => match self.look(path.trim().as_ref()) {
                Ok(()) => Ok(()),
                Err(error) => writeln!(out, "error: {}", describe(&error)),
            },
            (command, _) if command.starts_with('/') => {
                writeln!(out, "error: unknown command {}; {HELP}", one_line(command))
            }
            _ => self.ask(line, out),
        }
    }

    /// Turns to another image; after an error the old one is still there.
    fn look(&mut self, path: &Path) -> anyhow::Result<()> {
        let image = decode(path, &self.image_options)?;
        self.scene = self.segmenter.look(&image)?;
        self.path = path.to_owned();
        self.options.history.clear();
        Ok(())
    }

    fn ask(&mut self, question: &str, out: &mut impl Write) -> io::Result<()> {
        let stages = self.progress.stages();
        let answer = self.scene.ask_with(question, &self.options, &mut |event| {
            ui::show(&stages, event);
            ControlFlow::Continue(())
        });
        stages.finish_and_clear();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                writeln!(out, "error: {}", describe(&error.into()))?;
                if !self.options.history.is_empty() {
                    writeln!(out, "If the conversation has become too long, /forget makes room.")?;
                }
                return Ok(());
            }
        };
        self.asked += 1;
        writeln!(out, "{}", one_line(&answer.text))?;
        for reason in cut_off(answer.stop).into_iter().chain(without_mask(answer.outcome)) {
            writeln!(out, "  {reason}")?;
        }
        match self.write(&answer) {
            Ok(files) => files.iter().try_for_each(|file| writeln!(out, "  wrote {}", file.display()))?,
            Err(error) => writeln!(out, "error: {}", describe(&error))?,
        }
        self.options.history.push(Turn { question: question.to_owned(), answer: answer.text });
        Ok(())
    }

    fn write(&self, answer: &Answer) -> anyhow::Result<Vec<PathBuf>> {
        let image = self.scene.image();
        let name = format!("{}_{}", self.path.file_stem().unwrap_or_default().to_string_lossy(), self.asked);
        let mut record = Record::new(&self.path.display().to_string(), image.dimensions(), answer);
        self.output.write(&name, &self.path, image, answer, &mut record)
    }
}
