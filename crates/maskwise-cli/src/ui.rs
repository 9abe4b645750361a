//! Progress on standard error, and only for a person: nothing where it is not a terminal or `--quiet` is given.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use maskwise::{Event, Stage};
use std::io::IsTerminal;
use std::time::Duration;

/// The progress that a command shows.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    visible: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { visible: !quiet && std::io::stderr().is_terminal() }
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
