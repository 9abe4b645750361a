//! Clothes.

use super::super::draw::{Dice, Ink, Sketch, blob, cos, oval, poly, rounded, sin, soft_poly, tube};
use super::wood;
use std::f32::consts::PI;

pub(super) fn shirt(dice: &mut Dice, s: &mut Sketch) {
    let (half, high) = (dice.between(25.0, 31.0), dice.between(62.0, 78.0));
    let long = dice.chance(0.4);
    s.part(0);
    for side in [-1.0, 1.0] {
        let arm = if long {
            // Out and down, clear of the body.
            vec![
                (half * 0.7, 0.0),
                (half + 9.0, 8.0),
                (half + 31.0, 58.0),
                (half + 17.0, 64.0),
                (half * 0.85, 24.0),
            ]
        } else {
            vec![(half * 0.7, 0.0), (half + 26.0, 18.0), (half + 15.0, 33.0), (half * 0.8, 25.0)]
        };
        let arm: Vec<(f32, f32)> = arm.iter().map(|&(x, y)| (side * x, y)).collect();
        s.fill(soft_poly(&arm, 3.0), Ink::Body);
    }
    let flare = half + dice.between(-3.0, 2.0);
    let neck = dice.between(9.0, 14.0);
    s.rest().fill(
        soft_poly(
            &[
                (-neck, -4.0),
                (neck, -4.0),
                (half * 0.85, 0.0),
                (half, 22.0),
                (flare, high),
                (-flare, high),
                (-half, 22.0),
                (-half * 0.85, 0.0),
            ],
            3.0,
        ),
        Ink::Body,
    );
    match dice.whole(0, 2) {
        0 => {
            s.mark(oval(0.0, -5.0, neck, dice.between(7.0, 12.0)), Ink::Tone(-0.45));
        }
        1 => {
            s.mark(poly(&[(-neck, -6.0), (neck, -6.0), (0.0, dice.between(12.0, 20.0))]), Ink::Tone(-0.45));
        }
        _ => {
            s.mark(oval(0.0, -5.0, neck, 7.0), Ink::Tone(-0.45));
            s.mark(tube(&[(0.0, 0.0, 2.0), (0.0, high, 2.0)]), Ink::Tone(-0.45));
            for button in 1..5 {
                s.mark(oval(3.5, high * button as f32 / 5.2, 2.2, 2.2), Ink::Tone(0.7));
            }
        }
    }
}

pub(super) fn trousers(dice: &mut Dice, s: &mut Sketch) {
    let (waist, hip) = (dice.between(18.0, 23.0), dice.between(24.0, 29.0));
    let long = if dice.chance(0.25) { dice.between(50.0, 60.0) } else { dice.between(80.0, 100.0) };
    let (hem, spread) = (dice.between(13.0, 21.0), dice.between(2.0, 11.0));
    s.part(0);
    for side in [-1.0, 1.0] {
        s.fill(
            soft_poly(
                &[
                    (side * 0.5, 22.0),
                    (side * hip, 22.0),
                    (side * (spread + hem + 2.0), long),
                    (side * (spread - 1.0), long),
                ],
                2.0,
            ),
            Ink::Body,
        );
    }
    s.rest().fill(
        soft_poly(&[(-waist, 0.0), (waist, 0.0), (hip, 25.0), (2.0, 33.0), (-2.0, 33.0), (-hip, 25.0)], 2.0),
        Ink::Body,
    );
    s.mark(poly(&[(-40.0, -4.0), (40.0, -4.0), (40.0, 6.0), (-40.0, 6.0)]), Ink::Tone(-0.35));
    s.mark(tube(&[(0.0, 6.0, 2.0), (0.0, 33.0, 2.0)]), Ink::Tone(-0.4));
    for side in [-1.0, 1.0] {
        s.mark(tube(&[(side * waist * 0.5, 8.0, 2.0), (side * hip * 0.9, 18.0, 2.0)]), Ink::Tone(-0.4));
    }
}

pub(super) fn dress(dice: &mut Dice, s: &mut Sketch) {
    let (chest, waist) = (dice.between(18.0, 23.0), dice.between(12.0, 16.0));
    let (flare, long) = (dice.between(32.0, 50.0), dice.between(72.0, 92.0));
    let middle = dice.between(30.0, 36.0);
    let sleeves = dice.whole(0, 2);
    for side in [-1.0, 1.0] {
        match sleeves {
            0 => {
                s.fill(tube(&[(side * chest * 0.6, 6.0, 5.0), (side * chest * 0.55, -10.0, 5.0)]), Ink::Body)
            }
            1 => s.fill(oval(side * chest * 0.95, 4.0, 11.0, 9.0), Ink::Body),
            _ => s.fill(
                tube(&[
                    (side * chest * 0.7, 5.0, 13.0),
                    (side * (chest + 14.0), 20.0, 11.0),
                    (side * (chest + 17.0), 36.0, 10.0),
                ]),
                Ink::Body,
            ),
        };
    }
    s.fill(
        soft_poly(
            &[
                (-chest, 0.0),
                (-chest * 0.5, -4.0),
                (0.0, 7.0),
                (chest * 0.5, -4.0),
                (chest, 0.0),
                (waist, middle),
                (-waist, middle),
            ],
            3.0,
        ),
        Ink::Body,
    );
    let wave = dice.between(2.0, 7.0);
    s.part(0).fill(
        blob(&[
            (-waist, middle - 2.0),
            (0.0, middle - 3.0),
            (waist, middle - 2.0),
            (flare * 0.7, middle + (long - middle) * 0.5),
            (flare, long),
            (flare * 0.5, long + wave),
            (0.0, long - 1.0),
            (-flare * 0.5, long + wave),
            (-flare, long),
            (-flare * 0.7, middle + (long - middle) * 0.5),
        ]),
        Ink::Body,
    );
    s.rest().mark(
        tube(&[(-waist - 3.0, middle, 6.0), (0.0, middle + 1.0, 6.0), (waist + 3.0, middle, 6.0)]),
        Ink::Tone(-0.45),
    );
}

pub(super) fn hat(dice: &mut Dice, s: &mut Sketch) {
    let (wide, thin) = (dice.between(44.0, 52.0), dice.between(7.0, 12.0));
    let tall = dice.chance(0.35);
    let (half, high) = if tall {
        (dice.between(25.0, 29.0), dice.between(50.0, 62.0))
    } else {
        (dice.between(25.0, 31.0), dice.between(28.0, 38.0))
    };
    let crown = if tall {
        soft_poly(
            &[(-half * 1.05, -high), (half * 1.05, -high), (half * 0.92, 3.0), (-half * 0.92, 3.0)],
            3.0,
        )
    } else {
        blob(&[
            (-half, 3.0),
            (-half * 0.92, -high * 0.6),
            (-half * 0.5, -high),
            (0.0, -high * 0.9),
            (half * 0.5, -high),
            (half * 0.92, -high * 0.6),
            (half, 3.0),
            (0.0, 8.0),
        ])
    };
    s.part(0).fill(oval(0.0, 4.0, wide, thin), Ink::Body);
    s.rest().fill(crown, Ink::Body);
    let band = if dice.chance(0.5) { Ink::Tone(-0.5) } else { Ink::Tone(0.65) };
    s.mark(tube(&[(-half * 1.2, -6.0, 10.0), (0.0, -1.0, 10.0), (half * 1.2, -6.0, 10.0)]), band);
    if dice.chance(0.3) {
        let x = half * 0.6;
        s.fill(
            blob(&[(x, -4.0), (x + 5.0, -24.0), (x + 16.0, -36.0), (x + 14.0, -16.0)]),
            Ink::Own([238, 232, 222]),
        );
    }
}

pub(super) fn sock(dice: &mut Dice, s: &mut Sketch) {
    let (half, high) = (dice.between(13.0, 17.0), dice.between(48.0, 70.0));
    let (toe, thick) = (dice.between(38.0, 50.0), dice.between(12.0, 15.0));
    let slope = dice.between(0.0, 8.0);
    s.fill(
        blob(&[
            (-half, -high),
            (half, -high),
            (half, -high * 0.5),
            (half + 1.0, -12.0),
            (half + toe * 0.5, -2.0 + slope * 0.4),
            (half + toe, 6.0 + slope),
            (half + toe + 3.0, 16.0 + slope),
            (half + toe * 0.8, 13.0 + thick + slope * 0.5),
            (half, 13.0 + thick),
            (-half * 0.6, 12.0 + thick),
            (-half * 1.15, thick * 0.6),
            (-half, -14.0),
            (-half, -high * 0.5),
        ]),
        Ink::Body,
    );
    let tone = dice.pick(&[-0.35, 0.55]);
    s.fill(rounded(-half - 3.0, -high - 5.0, half + 3.0, -high + 10.0, 4.0), Ink::Tone(tone));
    s.mark(oval(half + toe + 4.0, 16.0 + slope, 19.0, 24.0), Ink::Tone(tone));
    s.mark(oval(-half, 16.0, 14.0, 15.0), Ink::Tone(tone));
}

pub(super) fn shoe(dice: &mut Dice, s: &mut Sketch) {
    let boot = dice.chance(0.35);
    let top = if boot { dice.between(46.0, 62.0) } else { dice.between(26.0, 33.0) };
    let long = dice.between(58.0, 70.0);
    let thick = dice.between(9.0, 14.0);
    s.fill(
        blob(&[
            (-24.0, -top),
            (-2.0, -top - 1.0),
            (4.0, -top * 0.6),
            (20.0, -20.0),
            (long * 0.72, -16.0),
            (long, -6.0),
            (long, 6.0),
            (0.0, 8.0),
            (-26.0, 6.0),
            (-27.0, -top * 0.5),
        ]),
        Ink::Body,
    );
    let sole = dice.pick(&[[244, 240, 230], [60, 54, 52], [178, 132, 84]]);
    let heel = if dice.chance(0.35) { 10.0 } else { 0.0 };
    s.part(0).merge(
        [
            rounded(-29.0, 2.0, long + 4.0, 2.0 + thick, 5.0),
            rounded(-29.0, 4.0, -4.0, 2.0 + thick + heel, 3.0),
        ],
        Ink::Own(sole),
    );
    s.rest().mark(oval(-13.0, -top - 1.0, 13.0, 5.0), Ink::Tone(-0.55));
    let lace = if boot { 5 } else { 3 };
    for i in 0..lace {
        let (x, y) = if boot {
            (2.0 + 3.5 * i as f32, -top * 0.75 + top * 0.13 * i as f32)
        } else {
            (6.0 + 9.0 * i as f32, -25.0 + 3.5 * i as f32)
        };
        s.mark(tube(&[(x - 9.0, y + 1.0, 3.2), (x + 4.0, y + 5.0, 3.2)]), Ink::Tone(0.8));
    }
    if !boot && dice.chance(0.5) {
        s.mark(oval(long - 2.0, 2.0, 17.0, 14.0), Ink::Tone(0.3));
    }
}

pub(super) fn umbrella(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(46.0, 52.0), dice.between(32.0, 46.0));
    let long = dice.between(44.0, 58.0);
    let hook = dice.between(8.0, 12.0) * dice.pick(&[-1.0, 1.0]);
    let stick = if dice.chance(0.5) { Ink::Own(wood(dice)) } else { Ink::Own([52, 48, 52]) };
    s.part(0).fill(
        tube(&[
            (0.0, -ry * 0.7, 5.5),
            (0.0, long * 0.5, 5.5),
            (0.0, long, 6.5),
            (hook * 0.4, long + 8.0, 7.0),
            (hook * 1.3, long + 7.0, 7.0),
            (hook * 1.7, long - 2.0, 7.0),
        ]),
        stick,
    );
    s.rest().fill(tube(&[(0.0, -ry + 3.0, 5.0), (0.0, -ry - 9.0, 3.0)]), stick);
    // The lower edge hangs in scallops.
    let panels = dice.whole(4, 6);
    let mut edge: Vec<(f32, f32)> =
        (0..=24).map(|i| PI + PI * i as f32 / 24.0).map(|angle| (rx * cos(angle), ry * sin(angle))).collect();
    let sag = dice.between(4.0, 8.0);
    for panel in (0..panels).rev() {
        let x = |share: f32| -rx + 2.0 * rx * (panel as f32 + share) / panels as f32;
        edge.extend([(x(0.75), -sag * 0.7), (x(0.5), -sag), (x(0.25), -sag * 0.7), (x(0.0), 0.0)]);
    }
    s.fill(poly(&edge), Ink::Body);
    for panel in 1..panels {
        let x = -rx + 2.0 * rx * panel as f32 / panels as f32;
        s.mark(tube(&[(x, 0.0, 1.6), (x * 0.75, -ry * 0.55, 1.6), (0.0, -ry, 1.6)]), Ink::Tone(-0.4));
    }
}
