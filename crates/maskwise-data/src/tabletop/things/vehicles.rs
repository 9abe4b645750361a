//! Vehicles.

use super::super::colour::Rgb;
use super::super::draw::{Dice, Ink, Sketch, at, blob, oval, poly, ring, rounded, soft_poly, tube};
use super::{METAL_DARK, metal};
use std::f32::consts::PI;

const TYRE: Rgb = [40, 40, 44];
const GLASS: Rgb = [176, 214, 236];

/// A wheel with its tyre; wheels are a part of their own.
fn wheel(s: &mut Sketch, x: f32, y: f32, r: f32, hub: Rgb) {
    s.fill(oval(x, y, r, r), Ink::Own(TYRE));
    s.mark(oval(x, y, r * 0.52, r * 0.52), Ink::Own(hub));
    s.mark(oval(x, y, r * 0.16, r * 0.16), Ink::Own(TYRE));
}

pub(super) fn car(dice: &mut Dice, s: &mut Sketch) {
    let long = dice.between(46.0, 54.0);
    let (roof, belt) = (-dice.between(32.0, 40.0), -dice.between(14.0, 18.0));
    let (bonnet, boot) = (dice.between(0.38, 0.55) * long, dice.between(0.5, 0.95) * long);
    let slant = dice.between(8.0, 15.0);
    let cabin = soft_poly(
        &[
            (-boot, belt + 4.0),
            (-boot + slant * 0.7, roof),
            (bonnet - slant, roof),
            (bonnet + 4.0, belt + 4.0),
        ],
        7.0,
    );
    let nose = dice.between(0.0, 5.0);
    let hull = soft_poly(
        &[(-long, belt), (bonnet, belt), (long - 3.0, belt + 2.0 + nose), (long, 12.0), (-long, 12.0)],
        7.0,
    );
    s.merge([cabin, hull], Ink::Body);
    let post = (bonnet - boot) / 2.0 - 1.0 + dice.between(-4.0, 4.0);
    let (upper, lower) = (roof + 5.0, belt);
    let glass = Ink::Own(GLASS);
    s.part(1);
    s.mark(
        soft_poly(
            &[
                (-boot + 6.0, lower),
                (-boot + slant * 0.7 + 4.0, upper),
                (post - 2.0, upper),
                (post - 2.0, lower),
            ],
            3.0,
        ),
        glass,
    );
    s.mark(
        soft_poly(
            &[(post + 2.0, lower), (post + 2.0, upper), (bonnet - slant - 2.0, upper), (bonnet - 1.0, lower)],
            3.0,
        ),
        glass,
    );
    s.rest();
    s.mark(tube(&[(post, belt, 1.8), (post, 9.0, 1.8)]), Ink::Tone(-0.4));
    s.mark(rounded(post + 5.0, belt + 5.0, post + 12.0, belt + 7.5, 1.0), Ink::Tone(-0.5));
    s.mark(oval(long - 3.0, belt + 10.0 + nose, 4.5, 4.0), Ink::Own([252, 236, 150]));
    s.mark(oval(-long + 2.0, belt + 8.0, 3.5, 4.0), Ink::Own([220, 50, 44]));
    let r = dice.between(11.0, 14.5);
    let hub = metal(dice);
    s.part(0);
    for x in [-long * 0.58, long * 0.6] {
        wheel(s, x, 12.0, r, hub);
    }
}

pub(super) fn bus(dice: &mut Dice, s: &mut Sketch) {
    let (half, roof) = (dice.between(48.0, 56.0), -dice.between(38.0, 48.0));
    let double = dice.chance(0.3);
    let roof = if double { roof - 24.0 } else { roof };
    s.fill(
        soft_poly(&[(-half, roof), (half - 3.0, roof), (half, -8.0), (half, 14.0), (-half, 14.0)], 7.0),
        Ink::Body,
    );
    let rows: &[f32] = if double { &[0.0, 29.0] } else { &[0.0] };
    let panes = dice.whole(4, 5);
    let wide = (2.0 * half - 26.0) / panes as f32;
    s.part(1);
    for row in rows {
        for pane in 0..panes {
            let left = -half + 6.0 + wide * pane as f32;
            s.mark(
                rounded(left, roof + 8.0 + row, left + wide - 4.0, roof + 26.0 + row, 2.5),
                Ink::Own(GLASS),
            );
        }
        s.mark(rounded(half - 16.0, roof + 8.0 + row, half + 4.0, roof + 27.0 + row, 2.5), Ink::Own(GLASS));
    }
    s.rest();
    if !double {
        let band = dice.pick(&[-0.35, 0.6]);
        s.mark(
            poly(&[(-70.0, roof + 31.0), (70.0, roof + 31.0), (70.0, roof + 35.0), (-70.0, roof + 35.0)]),
            Ink::Tone(band),
        );
    }
    s.mark(oval(half - 2.0, 5.0, 4.0, 4.0), Ink::Own([252, 236, 150]));
    let (r, hub) = (dice.between(10.0, 12.5), metal(dice));
    s.part(0);
    for x in [-half * 0.6, half * 0.58] {
        wheel(s, x, 14.0, r, hub);
    }
}

pub(super) fn bicycle(dice: &mut Dice, s: &mut Sketch) {
    let (r, apart) = (dice.between(23.0, 27.0), dice.between(32.0, 37.0));
    let thick = dice.between(7.0, 9.0);
    s.part(0);
    for x in [-apart, apart] {
        // Spokes leave the wheel open.
        for spoke in 0..3 {
            let angle = PI / 3.0 * spoke as f32 + 0.3;
            let (from, to) = (at((x, 0.0), r * 0.9, angle), at((x, 0.0), -r * 0.9, angle));
            s.bare(tube(&[(from.0, from.1, 1.4), (to.0, to.1, 1.4)]), Ink::Own(METAL_DARK));
        }
        s.fill(ring(x, 0.0, r, r, 0.74), Ink::Own(TYRE));
        s.mark(ring(x, 0.0, r * 0.87, r * 0.87, 0.83), Ink::Body);
    }
    let crank = (-4.0, 3.0);
    let (seat, head) = ((-apart * 0.5, -dice.between(30.0, 38.0)), (apart * 0.62, -dice.between(34.0, 42.0)));
    let bar = |from: (f32, f32), to: (f32, f32)| tube(&[(from.0, from.1, thick), (to.0, to.1, thick)]);
    let top = if dice.chance(0.7) { seat } else { (seat.0 * 0.6 + crank.0 * 0.4, seat.1 * 0.5) };
    s.rest().merge(
        [
            bar((-apart, 0.0), crank),
            bar((-apart, 0.0), seat),
            bar(crank, seat),
            bar(crank, head),
            bar(top, head),
            bar(head, (apart, 0.0)),
        ],
        Ink::Body,
    );
    s.fill(oval(crank.0, crank.1, 6.5, 6.5), Ink::Own(METAL_DARK));
    s.fill(tube(&[(seat.0, seat.1, 4.0), (seat.0 - 2.0, seat.1 - 8.0, 4.0)]), Ink::Own(METAL_DARK));
    s.fill(
        blob(&[
            (seat.0 - 14.0, seat.1 - 12.0),
            (seat.0 - 2.0, seat.1 - 12.0),
            (seat.0 + 12.0, seat.1 - 10.0),
            (seat.0 - 2.0, seat.1 - 6.0),
            (seat.0 - 12.0, seat.1 - 5.0),
        ]),
        Ink::Own(TYRE),
    );
    let high = head.1 - dice.between(9.0, 14.0);
    let grip = if dice.chance(0.5) {
        tube(&[
            (head.0, head.1 + 2.0, 5.5),
            (head.0 - 2.0, high, 5.5),
            (head.0 + 11.0, high - 3.0, 6.0),
            (head.0 + 15.0, high + 7.0, 6.0),
            (head.0 + 7.0, high + 12.0, 6.0),
        ])
    } else {
        tube(&[(head.0, head.1 + 2.0, 5.5), (head.0 - 3.0, high, 5.5), (head.0 - 16.0, high - 2.0, 7.0)])
    };
    s.part(1).fill(grip, Ink::Own([70, 66, 70]));
}

pub(super) fn boat(dice: &mut Dice, s: &mut Sketch) {
    let (half, deep) = (dice.between(42.0, 50.0), dice.between(28.0, 35.0));
    let mast = dice.between(50.0, 64.0);
    let x = dice.between(-6.0, 4.0);
    s.fill(tube(&[(x, 4.0, 4.5), (x, -mast - 6.0, 3.5)]), Ink::Own([112, 78, 50]));
    let cloth = Ink::Own(dice.pick(&[[246, 242, 230], [232, 226, 206], [250, 250, 250]]));
    let (back, low) = (dice.between(22.0, 30.0), -dice.between(7.0, 11.0));
    s.part(0);
    s.fill(blob_sail((x + 3.0, -mast), (x + 3.0, low), (x + 3.0 + back, low), 5.0), cloth);
    if dice.chance(0.6) {
        s.fill(blob_sail((x - 3.0, -mast * 0.86), (x - 3.0, low), (x - 3.0 - back * 0.75, low), -4.0), cloth);
    }
    if dice.chance(0.4) {
        s.rest().fill(
            poly(&[(x, -mast - 6.0), (x - 15.0, -mast - 1.0), (x, -mast + 3.0)]),
            Ink::Own([214, 52, 50]),
        );
    }
    let rake = dice.between(10.0, 20.0);
    s.rest().fill(
        soft_poly(&[(-half, 0.0), (half + 3.0, -3.0), (half - rake, deep), (-half + rake, deep)], 6.0),
        Ink::Body,
    );
    s.mark(poly(&[(-70.0, -8.0), (70.0, -8.0), (70.0, 5.0), (-70.0, 5.0)]), Ink::Tone(-0.3));
    if dice.chance(0.5) {
        for port in [-0.45, 0.0, 0.45] {
            s.mark(oval(half * port, deep * 0.48, 3.5, 3.5), Ink::Tone(0.7));
        }
    }
}

/// A sail between the top of the mast and two corners, swollen outwards.
fn blob_sail(top: (f32, f32), tack: (f32, f32), clew: (f32, f32), swell: f32) -> tiny_skia::Path {
    let edge = |share: f32| {
        let bulge = swell * 4.0 * share * (1.0 - share);
        (top.0 + (clew.0 - top.0) * share + bulge, top.1 + (clew.1 - top.1) * share - bulge.abs() * 0.3)
    };
    poly(&[top, edge(0.25), edge(0.5), edge(0.75), clew, tack])
}

pub(super) fn plane(dice: &mut Dice, s: &mut Sketch) {
    if dice.chance(0.5) { plane_from_side(dice, s) } else { plane_from_above(dice, s) }
}

fn plane_from_side(dice: &mut Dice, s: &mut Sketch) {
    let (half, thick) = (dice.between(46.0, 54.0), dice.between(11.0, 15.0));
    let fin = dice.between(22.0, 30.0);
    s.part(0)
        .fill(soft_poly(&[(-8.0, -4.0), (14.0, -4.0), (-8.0, -30.0), (-20.0, -30.0)], 3.0), Ink::Tone(-0.35));
    s.part(1);
    s.fill(
        soft_poly(
            &[
                (-half + 2.0, -4.0),
                (-half - 8.0, -fin - 6.0),
                (-half + 5.0, -fin - 6.0),
                (-half + 24.0, -thick * 0.6),
            ],
            3.0,
        ),
        Ink::Tone(-0.2),
    );
    s.rest().fill(
        blob(&[
            (-half - 4.0, -thick * 0.45),
            (-half * 0.4, -thick * 0.9),
            (half * 0.5, -thick),
            (half * 0.9, -thick * 0.5),
            (half + 4.0, 2.0),
            (half * 0.7, thick * 0.75),
            (0.0, thick),
            (-half * 0.6, thick * 0.5),
        ]),
        Ink::Body,
    );
    s.part(1).fill(
        soft_poly(&[(-half + 4.0, -2.0), (-half + 18.0, -2.0), (-half + 2.0, 9.0), (-half - 9.0, 9.0)], 2.0),
        Ink::Tone(-0.3),
    );
    s.rest();
    for pane in 0..dice.whole(4, 6) {
        s.mark(oval(half * 0.45 - 11.0 * pane as f32, -3.0, 3.0, 3.4), Ink::Own(GLASS));
    }
    s.mark(blob(&[(half * 0.66, -thick * 0.8), (half * 0.92, -3.5), (half * 0.68, -2.5)]), Ink::Own(GLASS));
    let sweep = dice.between(12.0, 24.0);
    s.part(0).fill(
        soft_poly(&[(-10.0, 2.0), (16.0, 2.0), (-4.0 - sweep * 0.4, 36.0), (-20.0 - sweep * 0.6, 36.0)], 4.0),
        Ink::Tone(-0.25),
    );
}

fn plane_from_above(dice: &mut Dice, s: &mut Sketch) {
    let (half, thick) = (dice.between(46.0, 54.0), dice.between(8.0, 11.0));
    let (span, sweep) = (dice.between(46.0, 56.0), dice.between(4.0, 30.0));
    let chord = dice.between(17.0, 23.0);
    for side in [-1.0, 1.0] {
        s.part(0).fill(
            soft_poly(
                &[
                    (12.0, side * 3.0),
                    (12.0 - sweep, side * span),
                    (12.0 - sweep - chord * 0.55, side * span),
                    (12.0 - chord * 1.3, side * 3.0),
                ],
                4.0,
            ),
            Ink::Tone(-0.22),
        );
        s.rest().fill(
            rounded(
                8.0 - sweep * 0.45,
                side * span * 0.45 - 4.0,
                22.0 - sweep * 0.45,
                side * span * 0.45 + 4.0,
                3.0,
            ),
            Ink::Own(METAL_DARK),
        );
        s.part(1).fill(
            soft_poly(
                &[
                    (-half + 12.0, side * 2.0),
                    (-half + 1.0, side * 21.0),
                    (-half - 7.0, side * 21.0),
                    (-half - 2.0, side * 2.0),
                ],
                3.0,
            ),
            Ink::Tone(-0.22),
        );
    }
    s.rest().fill(
        blob(&[
            (half + 6.0, 0.0),
            (half * 0.8, -thick * 0.85),
            (0.0, -thick),
            (-half * 0.7, -thick * 0.6),
            (-half - 5.0, 0.0),
            (-half * 0.7, thick * 0.6),
            (0.0, thick),
            (half * 0.8, thick * 0.85),
        ]),
        Ink::Body,
    );
    s.mark(
        blob(&[
            (half * 0.72, -thick * 0.6),
            (half * 0.92, 0.0),
            (half * 0.72, thick * 0.6),
            (half * 0.66, 0.0),
        ]),
        Ink::Own(GLASS),
    );
    s.part(1).fill(tube(&[(-half + 8.0, 0.0, 3.5), (-half - 8.0, 0.0, 5.0)]), Ink::Tone(-0.4));
}

pub(super) fn train(dice: &mut Dice, s: &mut Sketch) {
    let (long, thick) = (dice.between(34.0, 44.0), dice.between(26.0, 32.0));
    let (cab, roof) = (dice.between(26.0, 32.0), dice.between(48.0, 58.0));
    let flue = dice.between(18.0, 25.0);
    let x = long - 12.0;
    s.part(1).fill(
        soft_poly(
            &[
                (x - 5.0, -thick + 3.0),
                (x - 9.0, -thick - flue),
                (x + 9.0, -thick - flue),
                (x + 5.0, -thick + 3.0),
            ],
            2.0,
        ),
        Ink::Own(TYRE),
    );
    s.fill(rounded(x - 11.0, -thick - flue - 5.0, x + 11.0, -thick - flue + 2.0, 2.0), Ink::Own(METAL_DARK));
    s.rest().fill(oval(2.0, -thick, 9.0, 8.0), Ink::Tone(-0.3));
    s.merge(
        [
            rounded(-8.0, -thick, long, 2.0, 8.0),
            rounded(-8.0 - cab, -roof, -4.0, 4.0, 2.0),
            rounded(-12.0 - cab, -4.0, long + 4.0, 8.0, 2.0),
        ],
        Ink::Body,
    );
    s.fill(rounded(-13.0 - cab, -roof - 4.0, 1.0, -roof + 4.0, 3.0), Ink::Tone(-0.45));
    s.mark(rounded(-2.0 - cab, -roof + 11.0, -10.0, -roof + 28.0, 2.0), Ink::Own(GLASS));
    for band in [0.3, 0.65] {
        s.mark(tube(&[(long * band, -40.0, 3.0), (long * band, 2.0, 3.0)]), Ink::Tone(-0.4));
    }
    s.fill(oval(long + 2.0, -thick * 0.5, 4.5, 5.5), Ink::Own([252, 232, 140]));
    s.fill(poly(&[(long + 2.0, 4.0), (long + 17.0, 19.0), (long - 4.0, 19.0)]), Ink::Own(METAL_DARK));
    let (hub, big) = (metal(dice), dice.between(12.0, 15.0));
    s.part(0);
    wheel(s, -cab * 0.62 - 6.0, 19.0 - big + 3.0, big, hub);
    let small = dice.between(8.5, 10.5);
    for x in [long * 0.2, long * 0.2 + small * 2.3] {
        wheel(s, x, 22.0 - small, small, hub);
    }
}

pub(super) fn rocket(dice: &mut Dice, s: &mut Sketch) {
    let (half, high) = (dice.between(16.0, 22.0), dice.between(72.0, 92.0));
    if dice.chance(0.6) {
        let flame = dice.between(16.0, 30.0);
        s.fill(
            blob(&[(-9.0, 2.0), (-11.0, 10.0), (0.0, 6.0 + flame), (11.0, 10.0), (9.0, 2.0)]),
            Ink::Own([246, 140, 40]),
        );
        s.mark(
            blob(&[(-5.0, 2.0), (-5.0, 9.0), (0.0, 2.0 + flame * 0.6), (5.0, 9.0), (5.0, 2.0)]),
            Ink::Own([254, 226, 110]),
        );
    }
    let (reach, drop) = (dice.between(11.0, 17.0), dice.between(4.0, 12.0));
    s.part(0);
    for side in [-1.0, 1.0] {
        s.fill(
            soft_poly(
                &[
                    (side * half * 0.8, -36.0),
                    (side * (half + reach), -10.0),
                    (side * (half + reach), drop),
                    (side * half * 0.6, -4.0),
                ],
                4.0,
            ),
            Ink::Tone(-0.14),
        );
    }
    s.rest().fill(rounded(-half * 0.6, -8.0, half * 0.6, 5.0, 2.0), Ink::Own(METAL_DARK));
    s.fill(
        blob(&[
            (0.0, -high),
            (half * 0.75, -high * 0.72),
            (half, -high * 0.4),
            (half * 0.72, -2.0),
            (-half * 0.72, -2.0),
            (-half, -high * 0.4),
            (-half * 0.75, -high * 0.72),
        ]),
        Ink::Body,
    );
    s.mark(
        blob(&[
            (0.0, -high - 2.0),
            (half * 0.9, -high * 0.74),
            (0.0, -high * 0.7),
            (-half * 0.9, -high * 0.74),
        ]),
        Ink::Tone(-0.14),
    );
    let port = half * dice.between(0.32, 0.42);
    s.fill(oval(0.0, -high * 0.5, port + 2.5, port + 2.5), Ink::Own(metal(dice)));
    s.mark(oval(0.0, -high * 0.5, port, port), Ink::Own(GLASS));
    s.part(0).fill(tube(&[(0.0, -26.0, 5.0), (0.0, 4.0, 6.0)]), Ink::Tone(-0.14));
}
