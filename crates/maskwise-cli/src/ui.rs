//! What standard error tells a person. Progress is shown on a terminal only, and nothing with `--quiet`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use maskwise::{EmbeddedModel, Event, ModelSource, Stage};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The progress that a command shows.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    visible: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { visible: !quiet && io::stderr().is_terminal() }
    }

    /// A bar over bytes.
    pub(crate) fn bytes(&self, message: &str) -> ProgressBar {
        self.bar(message, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
    }

    /// A bar over things.
    pub(crate) fn count(&self, message: &str) -> ProgressBar {
        self.bar(message, "{msg} {wide_bar} {pos}/{len} {eta}")
    }

    /// A bar over training steps whose message says the rest.
    pub(crate) fn steps(&self) -> ProgressBar {
        self.bar("", "{pos}/{len} {bar:24} {msg}")
    }

    /// A line that shows the stage of an answer.
    pub(crate) fn stages(&self) -> ProgressBar {
        let bar = self.bar("", "{spinner} {msg} {elapsed}");
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn bar(&self, message: &str, template: &str) -> ProgressBar {
        let target = if self.visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(1), target).with_style(style).with_message(message.to_owned())
    }
}

/// Says which model answers where none was named: nobody should take a small one for a large one.
pub(crate) fn name_embedded_model(source: &ModelSource, quiet: bool) -> io::Result<()> {
    match EmbeddedModel::get().filter(|_| !quiet && *source == ModelSource::Embedded) {
        Some(EmbeddedModel { name, version, .. }) => {
            writeln!(
                io::stderr(),
                "the embedded model {name}, version {version}, answers; --model takes another"
            )
        }
        None => Ok(()),
    }
}

/// Shows an event of an answer on a bar made by [`Progress::stages`].
pub(crate) fn show(bar: &ProgressBar, event: Event) {
    let message = match event {
        Event::Stage(Stage::EncodeForLanguage) => "looking".to_owned(),
        Event::Stage(Stage::Answer) => "reading".to_owned(),
        Event::Token(count) => format!("answering, {count} tokens"),
        Event::Stage(Stage::EncodeForMasks) => "encoding for masks".to_owned(),
        Event::Stage(Stage::Masks) => "drawing masks".to_owned(),
    };
    bar.set_message(message);
}
