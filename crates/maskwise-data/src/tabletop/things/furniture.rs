//! Furniture.

use super::super::draw::{Dice, Ink, Sketch, at, oval, poly, rounded, soft_poly, tube};
use super::{metal, wood};
use std::f32::consts::{PI, TAU};

pub(super) fn chair(dice: &mut Dice, s: &mut Sketch) {
    let (half, leg) = (dice.between(21.0, 26.0), dice.between(34.0, 44.0));
    let (back, thick) = (dice.between(42.0, 60.0), dice.between(6.5, 9.0));
    let skew = dice.between(9.0, 16.0);
    // Seen a little from above and from the side: the far edge of the seat is shifted by `skew`.
    let legs = |s: &mut Sketch, y: f32, shift: f32, ink: Ink| {
        for x in [-half + 3.0, half - 3.0] {
            s.fill(tube(&[(x + shift, y, thick), (x + shift, y + leg, thick * 0.85)]), ink);
        }
    };
    s.part(0);
    legs(s, -10.0, skew, Ink::Tone(-0.4));
    s.part(1);
    if dice.chance(0.5) {
        for x in [-half + 3.0, half - 3.0] {
            s.fill(tube(&[(x + skew, -12.0, thick), (x + skew + 2.0, -back - 8.0, thick)]), Ink::Body);
        }
        for rung in 1..=dice.whole(2, 3) {
            let y = -12.0 - (back - 2.0) * rung as f32 / 3.2;
            s.fill(rounded(-half + skew, y - 5.0, half + skew + 2.0, y + 5.0, 3.0), Ink::Body);
        }
    } else {
        s.fill(rounded(-half + skew, -back - 10.0, half + skew, -8.0, dice.between(3.0, 16.0)), Ink::Body);
        s.mark(rounded(-half + skew + 6.0, -back - 4.0, half + skew - 6.0, -20.0, 6.0), Ink::Tone(0.2));
    }
    s.rest().fill(
        soft_poly(
            &[(-half - 1.0, 3.0), (-half + skew - 1.0, -14.0), (half + skew + 1.0, -14.0), (half + 1.0, 3.0)],
            3.0,
        ),
        Ink::Tone(0.15),
    );
    s.part(0);
    legs(s, 5.0, 0.0, Ink::Body);
    s.rest().fill(rounded(-half - 2.0, 1.0, half + 2.0, 8.0, 2.0), Ink::Body);
}

pub(super) fn table(dice: &mut Dice, s: &mut Sketch) {
    let (half, leg) = (dice.between(42.0, 52.0), dice.between(40.0, 54.0));
    let thick = dice.between(7.0, 11.0);
    if dice.chance(0.35) {
        // A round top on one foot.
        s.part(0);
        s.fill(tube(&[(0.0, 4.0, 11.0), (0.0, leg - 4.0, 10.0)]), Ink::Body);
        for x in [-20.0, 20.0] {
            s.fill(
                tube(&[(0.0, leg - 10.0, 8.0), (x * 0.6, leg - 4.0, 7.0), (x, leg + 2.0, 7.0)]),
                Ink::Body,
            );
        }
        s.part(1).merge([oval(0.0, 4.0, half, 15.0), oval(0.0, 0.0, half, 15.0)], Ink::Tone(-0.2));
        s.bare(oval(0.0, -1.0, half, 14.0), Ink::Body);
        return;
    }
    let depth = dice.between(12.0, 20.0);
    let inset = dice.between(5.0, 12.0);
    let slim = thick * dice.between(0.75, 1.0);
    s.part(0);
    for x in [-half + inset + 7.0, half - inset - 7.0] {
        s.fill(tube(&[(x, -2.0, slim), (x, leg - 9.0, slim * 0.85)]), Ink::Tone(-0.4));
    }
    for side in [-1.0, 1.0] {
        let x = side * (half - 5.0);
        s.fill(tube(&[(x, 6.0, slim * 1.15), (x + side * dice.between(0.0, 3.0), leg, slim)]), Ink::Body);
    }
    s.part(1);
    s.fill(
        soft_poly(
            &[(-half - 2.0, 2.0), (-half + inset, -depth), (half - inset, -depth), (half + 2.0, 2.0)],
            2.0,
        ),
        Ink::Body,
    );
    s.fill(rounded(-half - 2.0, 1.0, half + 2.0, 1.0 + thick, 2.0), Ink::Tone(-0.25));
}

pub(super) fn lamp(dice: &mut Dice, s: &mut Sketch) {
    let floor = dice.chance(0.35);
    let pole = if floor { dice.between(64.0, 84.0) } else { dice.between(26.0, 40.0) };
    let foot = dice.between(15.0, 21.0);
    let stand = if dice.chance(0.5) { Ink::Own(metal(dice)) } else { Ink::Own(wood(dice)) };
    if floor || dice.chance(0.5) {
        s.fill(tube(&[(0.0, -4.0, 5.5), (0.0, pole, 5.5)]), stand);
    } else {
        // A round vase for a stand.
        s.fill(tube(&[(0.0, -4.0, 5.5), (0.0, pole, 5.5)]), stand);
        s.fill(oval(0.0, pole * 0.55, 14.0, pole * 0.42), Ink::Tone(-0.3));
    }
    s.fill(
        soft_poly(
            &[(-foot * 0.5, pole - 4.0), (foot * 0.5, pole - 4.0), (foot, pole + 4.0), (-foot, pole + 4.0)],
            2.0,
        ),
        stand,
    );
    s.fill(oval(0.0, -1.0, 6.0, 8.0), Ink::Own([254, 240, 170]));
    let (top, low, high) = (dice.between(12.0, 24.0), dice.between(30.0, 38.0), dice.between(34.0, 46.0));
    s.part(0).fill(soft_poly(&[(-top, -high), (top, -high), (low, 0.0), (-low, 0.0)], 2.0), Ink::Body);
    s.mark(poly(&[(-60.0, -5.0), (60.0, -5.0), (60.0, 2.0), (-60.0, 2.0)]), Ink::Tone(-0.3));
}

pub(super) fn clock(dice: &mut Dice, s: &mut Sketch) {
    let r = dice.between(38.0, 42.0);
    let square = dice.chance(0.25);
    if dice.chance(0.4) {
        // An alarm clock: bells and feet.
        for side in [-1.0, 1.0] {
            let (x, y) = at((0.0, 0.0), r + 7.0, -PI / 2.0 + side * 0.62);
            s.fill(oval(x, y, 13.0, 11.0), Ink::Tone(-0.25));
            let (x, y) = at((0.0, 0.0), r + 8.0, PI / 2.0 + side * 0.6);
            s.fill(tube(&[(x * 0.8, y * 0.8, 8.0), (x, y, 7.0)]), Ink::Tone(-0.35));
        }
    }
    if square {
        s.fill(rounded(-r, -r, r, r, 9.0), Ink::Body);
    } else {
        s.fill(oval(0.0, 0.0, r, r), Ink::Body);
    }
    // A broad rim in the body's colour around a tinted face.
    let face = r * dice.between(0.68, 0.74);
    s.mark(oval(0.0, 0.0, face, face), Ink::Tone(0.86));
    for hour in 0..12 {
        let angle = TAU * hour as f32 / 12.0;
        let (from, to) = (
            at((0.0, 0.0), face * 0.93, angle),
            at((0.0, 0.0), face * if hour % 3 == 0 { 0.74 } else { 0.84 }, angle),
        );
        s.mark(tube(&[(from.0, from.1, 2.4), (to.0, to.1, 2.4)]), Ink::Own([66, 62, 66]));
    }
    let hour = dice.between(0.0, TAU);
    let minute = hour + dice.between(0.7, TAU - 0.7);
    let ink = Ink::Own(dice.pick(&[[30, 28, 32], [140, 28, 36], [30, 44, 92]]));
    s.part(0);
    for (angle, reach, width) in [(hour, 0.52, 7.0), (minute, 0.8, 5.5)] {
        let tip = at((0.0, 0.0), face * reach, angle);
        s.mark(tube(&[(0.0, 0.0, width), (tip.0, tip.1, width * 0.7)]), ink);
    }
    s.mark(oval(0.0, 0.0, 4.5, 4.5), ink);
}

pub(super) fn sofa(dice: &mut Dice, s: &mut Sketch) {
    let (half, back) = (dice.between(46.0, 56.0), dice.between(34.0, 46.0));
    let arm = dice.between(11.0, 15.0);
    let feet = Ink::Own([86, 60, 40]);
    for x in [-half + 6.0, half - 6.0] {
        s.fill(tube(&[(x, 16.0, 7.0), (x, 27.0, 5.5)]), feet);
    }
    let round = dice.between(4.0, 16.0);
    s.fill(rounded(-half + 4.0, -back, half - 4.0, 12.0, round), Ink::Body);
    let seats = dice.whole(2, 3);
    let wide = (2.0 * half - 2.0 * arm) / seats as f32;
    s.fill(rounded(-half + 2.0, 6.0, half - 2.0, 20.0, 3.0), Ink::Tone(-0.25));
    s.part(0);
    for seat in 0..seats {
        let left = -half + arm + wide * seat as f32;
        s.fill(rounded(left + 1.0, -back + 7.0, left + wide - 1.0, -6.0, 6.0), Ink::Tone(0.12));
        s.fill(rounded(left, -8.0, left + wide, 8.0, 5.0), Ink::Tone(0.22));
    }
    let rest = dice.between(14.0, 20.0);
    s.rest();
    for side in [-1.0, 1.0] {
        let (inner, outer) = (side * (half - arm), side * (half + 2.0));
        s.fill(rounded(inner.min(outer), -rest, inner.max(outer), 20.0, 6.0), Ink::Body);
    }
}

pub(super) fn bed(dice: &mut Dice, s: &mut Sketch) {
    let (half, head) = (dice.between(48.0, 56.0), dice.between(28.0, 42.0));
    let frame = Ink::Own(wood(dice));
    let foot = dice.between(8.0, 18.0);
    for x in [-half + 4.0, half - 4.0] {
        s.fill(tube(&[(x, 12.0, 7.0), (x, 28.0, 6.0)]), frame);
    }
    s.fill(rounded(-half - 5.0, -head, -half + 4.0, 22.0, dice.between(2.0, 5.0)), frame);
    s.fill(rounded(half - 4.0, -foot, half + 4.0, 22.0, 3.0), frame);
    s.fill(rounded(-half, 10.0, half, 19.0, 2.0), frame);
    s.fill(rounded(-half + 2.0, -6.0, half - 2.0, 13.0, 4.0), Ink::Own([238, 234, 226]));
    let plump = dice.between(12.0, 16.0);
    s.part(0).fill(rounded(-half + 5.0, -6.0 - plump, -half + 29.0, -3.0, 6.5), Ink::Own([248, 246, 240]));
    let turn = -half + dice.between(21.0, 27.0);
    s.rest().fill(
        soft_poly(&[(turn, -15.0), (half - 5.0, -12.0), (half - 4.0, 18.0), (turn + 3.0, 22.0)], 4.0),
        Ink::Body,
    );
    s.mark(tube(&[(turn + 2.0, -16.0, 5.0), (turn + 4.0, 22.0, 5.0)]), Ink::Tone(0.5));
}
