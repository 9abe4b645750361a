use super::super::colour::{Rgb, luminance, mix};
use tiny_skia::Path;

/// What a shape is painted with.
#[derive(Clone, Copy, Debug)]
pub(in crate::tabletop) enum Ink {
    /// The body's colour with its pattern.
    Body,
    /// The body's colour, darker towards -1 or lighter towards 1, without the pattern.
    Tone(f32),
    /// A colour of its own.
    Own(Rgb),
}

impl Ink {
    /// The colour on a body of the colour `body`.
    pub(super) fn resolve(self, body: Rgb) -> Rgb {
        match self {
            Ink::Body => body,
            Ink::Own(colour) => colour,
            Ink::Tone(tone) => {
                // A tone must differ from the body: nothing is darker than black or lighter than white.
                let tone = match luminance(body) {
                    bright if tone > 0.0 && bright > 215.0 => -0.4 * tone,
                    bright if tone < 0.0 && bright < 50.0 => -0.6 * tone,
                    _ => tone,
                };
                mix(body, if tone < 0.0 { [0; 3] } else { [255; 3] }, tone.abs())
            }
        }
    }
}

/// How a shape is laid on what is already drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The line around a shape, if the style has lines.
    Outline,
    /// The shape itself.
    Fill,
    /// Paint that stays on what is drawn already and does not enlarge the thing.
    Mark,
}

/// A shape of a sketch.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) path: Path,
    pub(super) ink: Ink,
    pub(super) mode: Mode,
    /// Index into the kind's parts.
    pub(super) part: Option<usize>,
}

/// A thing as shapes, from back to front, in units of which it measures about 100.
#[derive(Clone, Debug, Default)]
pub(in crate::tabletop) struct Sketch {
    pub(super) layers: Vec<Layer>,
    part: Option<usize>,
}

impl Sketch {
    /// What follows belongs to part `index` of the kind.
    pub(in crate::tabletop) fn part(&mut self, index: usize) -> &mut Self {
        self.part = Some(index);
        self
    }

    /// What follows belongs to no part.
    pub(in crate::tabletop) fn rest(&mut self) -> &mut Self {
        self.part = None;
        self
    }

    /// A shape with a line around it.
    pub(in crate::tabletop) fn fill(&mut self, path: Path, ink: Ink) -> &mut Self {
        self.merge([path], ink)
    }

    /// Shapes with one line around them all.
    pub(in crate::tabletop) fn merge(
        &mut self,
        paths: impl IntoIterator<Item = Path>,
        ink: Ink,
    ) -> &mut Self {
        let paths: Vec<Path> = paths.into_iter().collect();
        for path in &paths {
            self.push(path.clone(), ink, Mode::Outline);
        }
        for path in paths {
            self.push(path, ink, Mode::Fill);
        }
        self
    }

    /// A shape without a line around it.
    pub(in crate::tabletop) fn bare(&mut self, path: Path, ink: Ink) -> &mut Self {
        self.push(path, ink, Mode::Fill)
    }

    /// Paint on what is drawn already. Outside of parts it leaves the parts below as they are.
    pub(in crate::tabletop) fn mark(&mut self, path: Path, ink: Ink) -> &mut Self {
        self.push(path, ink, Mode::Mark)
    }

    fn push(&mut self, path: Path, ink: Ink, mode: Mode) -> &mut Self {
        self.layers.push(Layer { path, ink, mode, part: self.part });
        self
    }
}
