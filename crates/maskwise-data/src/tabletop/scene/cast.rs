//! What stands in a scene, and who draws it.

use super::super::colour::{Rgb, distance, mix};
use super::super::draw::{Coat, Dice, Line, Pose, Stamp, Style};
use super::super::{Colour, Kind, Pattern, things};
use super::SceneConfig;
use std::f32::consts::PI;

/// A thing that is to be drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor {
    pub(super) kind: Kind,
    pub(super) colour: Colour,
    pub(super) pattern: Pattern,
    pub(super) body: Rgb,
    /// The longest side in pixels.
    longest: f32,
}

/// The things of a scene and those that it may still get.
pub(super) struct Cast {
    choices: Vec<(Kind, Vec<Colour>)>,
    pub(super) kept: Vec<Actor>,
}

impl Cast {
    /// `None` if nothing is allowed.
    pub(super) fn new(config: &SceneConfig) -> Option<Cast> {
        let colours =
            |kind: Kind| kind.colours().iter().copied().filter(move |&colour| (config.allowed)(kind, colour));
        let choices: Vec<(Kind, Vec<Colour>)> =
            Kind::ALL.iter().map(|&kind| (kind, colours(kind).collect())).collect();
        let choices: Vec<_> =
            choices.into_iter().filter(|(_, colours): &(_, Vec<_>)| !colours.is_empty()).collect();
        (!choices.is_empty()).then_some(Cast { choices, kept: Vec::new() })
    }

    /// A thing for a picture of `count`.
    pub(super) fn choose(&self, dice: &mut Dice, config: &SceneConfig, count: usize) -> Actor {
        let mut pair = self.pair(dice, config);
        for _ in 0..4 {
            if !self.kept.iter().any(|actor| (actor.kind, actor.colour, actor.pattern) == pair) {
                break;
            }
            pair = self.pair(dice, config);
        }
        let (kind, colour, mut pattern) = pair;
        let (least, most) = match count {
            0..=3 => (50.0, 150.0),
            4..=6 => (36.0, 125.0),
            _ => (26.0, 96.0),
        };
        let share = dice.between(0.0, 1.0);
        let longest = (least + (most - least) * share) * config.size as f32 / 256.0;
        if longest < 44.0 {
            // Too small to tell stripes from spots.
            pattern = Pattern::Plain;
        }
        Actor { kind, colour, pattern, body: colour.shade(dice), longest }
    }

    fn pair(&self, dice: &mut Dice, config: &SceneConfig) -> (Kind, Colour, Pattern) {
        let repeated = !self.kept.is_empty() && dice.chance(config.same_kind);
        let kind = if repeated { Some(self.kept[dice.whole(0, self.kept.len() - 1)].kind) } else { None };
        let drawn = dice.whole(0, self.choices.len() - 1);
        let (kind, colours) =
            self.choices.iter().find(|(choice, _)| Some(*choice) == kind).unwrap_or(&self.choices[drawn]);
        let mut colour = colours[dice.whole(0, colours.len() - 1)];
        if !self.kept.is_empty() && dice.chance(config.same_colour) {
            let other = self.kept[dice.whole(0, self.kept.len() - 1)].colour;
            colour = if colours.contains(&other) { other } else { colour };
        }
        (*kind, colour, pattern(dice, config, *kind))
    }

    pub(super) fn keep(&mut self, actor: Actor) {
        self.kept.push(actor);
    }
}

impl Actor {
    /// A thing of `kind`, `longest` pixels on its longest side.
    pub(super) fn new(dice: &mut Dice, config: &SceneConfig, kind: Kind, longest: f32) -> Actor {
        let colour = dice.pick(kind.colours());
        Actor { kind, colour, pattern: pattern(dice, config, kind), body: colour.shade(dice), longest }
    }

    /// Draws the thing; `flat` if it lies on what is seen from above.
    pub(super) fn draw(&self, dice: &mut Dice, hands: &Hands, flat: bool) -> Stamp {
        let sketch = things::sketch(self.kind, dice);
        let angle = match (things::lies(self.kind), flat) {
            (true, true) => dice.between(-PI, PI),
            (true, false) => dice.between(-0.5, 0.5) + dice.pick(&[0.0, PI / 2.0, -PI / 2.0]),
            (false, true) => dice.between(-0.3, 0.3),
            (false, false) => dice.between(-0.07, 0.07),
        };
        let coat =
            Coat { body: self.body, second: second(dice, self.colour, self.body), pattern: self.pattern };
        let pose = Pose {
            longest: self.longest,
            angle,
            mirrored: dice.chance(0.5),
            stretch: dice.between(0.88, 1.14),
        };
        let style = hands.style(dice, self.longest);
        Stamp::draw(dice, &sketch, coat, pose, &style)
    }
}

fn pattern(dice: &mut Dice, config: &SceneConfig, kind: Kind) -> Pattern {
    if kind.patterned() && dice.chance(config.patterned) {
        dice.pick(&[Pattern::Striped, Pattern::Spotted, Pattern::Checked])
    } else {
        Pattern::Plain
    }
}

/// The second colour of a pattern on a body.
fn second(dice: &mut Dice, colour: Colour, body: Rgb) -> Rgb {
    let dark = mix(body, [0; 3], 0.5);
    let light = mix(body, [255; 3], 0.85);
    match colour {
        Colour::White => dice.pick(&[[40, 40, 46], [60, 80, 150], [190, 40, 50], [120, 125, 130]]),
        Colour::Black => dice.pick(&[[240, 240, 238], [200, 200, 205], [235, 200, 80]]),
        Colour::Yellow | Colour::Pink | Colour::Orange => {
            if distance(light, body) > 70.0 && dice.chance(0.5) { light } else { dark }
        }
        _ => dice.pick(&[light, light, light, dark]),
    }
}

/// Who draws the things of a scene: mostly one hand, at times another for each thing.
pub(super) struct Hands {
    one: Option<Manner>,
}

/// What a hand does alike for every thing, whatever its size.
#[derive(Clone, Copy)]
struct Manner {
    lines: usize,
    width: f32,
    black_line: bool,
    wobble: f32,
    shading: f32,
    light: f32,
    grain: f32,
}

impl Manner {
    fn new(dice: &mut Dice) -> Manner {
        Manner {
            lines: dice.pick(&[0, 0, 1, 1, 1, 2]),
            width: dice.pick(&[0.006, 0.01, 0.022]),
            black_line: dice.chance(0.35),
            wobble: dice.between(0.2, 1.5),
            shading: if dice.chance(0.6) { dice.between(0.04, 0.16) } else { 0.0 },
            light: dice.between(-PI, PI),
            grain: if dice.chance(0.4) { dice.between(0.03, 0.12) } else { 0.0 },
        }
    }
}

impl Hands {
    pub(super) fn new(dice: &mut Dice) -> Hands {
        let manner = Manner::new(dice);
        Hands { one: dice.chance(0.7).then_some(manner) }
    }

    fn style(&self, dice: &mut Dice, longest: f32) -> Style {
        let manner = self.one.unwrap_or_else(|| Manner::new(dice));
        let width = (manner.width * longest).clamp(0.5, 3.0);
        Style {
            line: [Line::None, Line::Even(width), Line::Sketchy(width)][manner.lines],
            black_line: manner.black_line,
            wobble: manner.wobble,
            shading: manner.shading,
            light: manner.light,
            grain: manner.grain,
        }
    }
}
