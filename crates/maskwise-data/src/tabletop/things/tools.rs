//! Tools.

use super::super::draw::{Dice, Ink, Sketch, at, blob, oval, poly, ring, rounded, soft_poly, tube};
use super::{METAL_DARK, metal};
use std::f32::consts::PI;

pub(super) fn hammer(dice: &mut Dice, s: &mut Sketch) {
    let thick = dice.between(19.0, 25.0);
    let bulge = dice.between(0.0, 6.0);
    let length = dice.between(78.0, 105.0);
    s.part(0).fill(
        tube(&[(0.0, 8.0, thick), (0.0, length * 0.5, thick), (0.0, length, thick + bulge)]),
        Ink::Body,
    );
    if dice.chance(0.5) {
        let grip = length * dice.between(0.55, 0.7);
        s.mark(rounded(-20.0, grip, 20.0, length + 20.0, 1.0), Ink::Tone(-0.25));
    }
    let half = dice.between(21.0, 27.0);
    let high = dice.between(15.0, 20.0);
    let head = if dice.chance(0.35) { Ink::Own(metal(dice)) } else { Ink::Tone(-0.3) };
    s.part(1);
    match dice.whole(0, 2) {
        // A claw hammer.
        0 | 1 => {
            let claw =
                tube(&[(-4.0, 9.0, high * 0.75), (-half * 0.8, 7.0, high * 0.6), (-half * 1.35, 18.0, 4.0)]);
            let face = rounded(half * 0.6, 0.0, half * 1.1, high, 3.0);
            s.merge([claw, rounded(-thick * 0.7, 2.0, half * 0.8, high - 2.0, 4.0), face], head);
        }
        // A mallet.
        _ => {
            s.fill(rounded(-half * 1.1, -6.0, half * 1.1, high + 4.0, dice.between(2.0, 8.0)), head);
        }
    }
}

pub(super) fn scissors(dice: &mut Dice, s: &mut Sketch) {
    let open = dice.between(0.12, 0.42);
    let (long, wide) = (dice.between(48.0, 66.0), dice.between(10.0, 14.0));
    let (rx, ry) = (dice.between(14.0, 19.0), dice.between(17.0, 24.0));
    let steel = metal(dice);
    for side in [-1.0, 1.0] {
        let along = |distance: f32| at((0.0, 0.0), distance, -PI / 2.0 + side * open);
        let (back, middle, tip) = (along(-8.0), along(long * 0.45), along(long));
        let blade = tube(&[(back.0, back.1, wide), (middle.0, middle.1, wide * 0.9), (tip.0, tip.1, 2.0)]);
        s.part(0).fill(blade, Ink::Own(steel));
        // Each handle continues the blade beyond the pivot.
        let (from, to) = (along(-5.0), along(-26.0));
        let loops = ring(to.0 - side * (rx * 0.45), to.1 + ry * 0.65, rx, ry, 0.5);
        s.part(1).merge([tube(&[(from.0, from.1, wide * 0.8), (to.0, to.1, wide * 0.9)]), loops], Ink::Body);
    }
    s.rest().mark(oval(0.0, 0.0, 3.2, 3.2), Ink::Own(METAL_DARK));
}

pub(super) fn saw(dice: &mut Dice, s: &mut Sketch) {
    let length = dice.between(62.0, 80.0);
    let (tip, root) = (dice.between(7.0, 14.0), dice.between(22.0, 30.0));
    let teeth = dice.whole(8, 13);
    // The back runs level, the teeth slant up towards the tip.
    let mut outline = vec![(0.0, 0.0), (-length, 0.0), (-length, tip)];
    for tooth in 0..teeth {
        let share = |step: f32| (tooth as f32 + step) / teeth as f32;
        let below = |share: f32| tip + (root - tip) * share;
        outline.push((-length * (1.0 - share(0.5)), below(share(0.5)) + 5.0));
        outline.push((-length * (1.0 - share(1.0)), below(share(1.0))));
    }
    s.part(0).fill(poly(&outline), Ink::Own(metal(dice)));
    let (wide, high) = (dice.between(34.0, 42.0), dice.between(40.0, 50.0));
    let lean = dice.between(0.0, 8.0);
    let handle =
        soft_poly(&[(-8.0, -5.0), (wide - 6.0, -5.0), (wide + lean, high), (0.0, high), (-4.0, 18.0)], 9.0);
    s.part(1).fill(handle, Ink::Body);
    // The grip is darker inside: a hand's hole seen against the shade.
    s.mark(
        soft_poly(
            &[(12.0, 6.0), (wide - 12.0, 6.0), (wide - 10.0 + lean, high - 11.0), (14.0, high - 11.0)],
            6.0,
        ),
        Ink::Tone(-0.6),
    );
}

pub(super) fn screwdriver(dice: &mut Dice, s: &mut Sketch) {
    let (thick, long) = (dice.between(22.0, 30.0), dice.between(44.0, 58.0));
    let (rod, reach) = (dice.between(6.5, 9.0), dice.between(42.0, 62.0));
    let steel = Ink::Own(metal(dice));
    s.part(1).fill(rounded(-rod / 2.0, long - 6.0, rod / 2.0, long + reach, 1.0), steel);
    let tip = long + reach;
    if dice.chance(0.6) {
        s.fill(
            poly(&[(-rod / 2.0, tip - 9.0), (rod / 2.0, tip - 9.0), (rod * 0.9, tip), (-rod * 0.9, tip)]),
            steel,
        );
    } else {
        s.fill(poly(&[(-rod / 2.0, tip - 4.0), (rod / 2.0, tip - 4.0), (0.0, tip + 6.0)]), steel);
    }
    let (half, neck) = (thick / 2.0, thick * dice.between(0.26, 0.38));
    s.part(0).fill(
        blob(&[
            (0.0, -2.0),
            (half, 6.0),
            (half, long * 0.55),
            (neck, long * 0.85),
            (neck + 2.0, long),
            (0.0, long + 2.0),
            (-neck - 2.0, long),
            (-neck, long * 0.85),
            (-half, long * 0.55),
            (-half, 6.0),
        ]),
        Ink::Body,
    );
    for groove in [-0.5, 0.0, 0.5] {
        s.mark(tube(&[(groove * half, 8.0, 2.2), (groove * half, long * 0.58, 2.2)]), Ink::Tone(-0.35));
    }
}

pub(super) fn axe(dice: &mut Dice, s: &mut Sketch) {
    let thick = dice.between(13.0, 17.0);
    let bend = dice.between(-7.0, 7.0);
    s.part(1).fill(
        tube(&[
            (0.0, -4.0, thick),
            (bend, 40.0, thick * 0.9),
            (bend * 0.5, 75.0, thick),
            (-bend, 100.0, thick * 1.2),
        ]),
        Ink::Body,
    );
    let (reach, flare) = (dice.between(26.0, 36.0), dice.between(8.0, 16.0));
    let blade = if dice.chance(0.6) { Ink::Own(metal(dice)) } else { Ink::Tone(-0.4) };
    let edge = [
        (-9.0, 2.0),
        (9.0, 2.0),
        (reach * 0.6, -1.0),
        (reach, -flare),
        (reach + 5.0, 12.0),
        (reach, 24.0 + flare),
        (reach * 0.6, 23.0),
        (9.0, 21.0),
        (-9.0, 21.0),
    ];
    s.part(0).fill(soft_poly(&edge, 3.0), blade);
    s.mark(
        tube(&[(reach, -flare + 1.0, 4.0), (reach + 3.0, 12.0, 5.0), (reach, 23.0 + flare, 4.0)]),
        Ink::Own([226, 230, 234]),
    );
    if dice.chance(0.35) {
        // The second edge of a double axe.
        let mirrored: Vec<(f32, f32)> = edge.iter().map(|&(x, y)| (-x, y)).collect();
        s.fill(soft_poly(&mirrored, 3.0), blade);
    }
}

pub(super) fn paintbrush(dice: &mut Dice, s: &mut Sketch) {
    let wide = dice.between(20.0, 40.0);
    let half = wide / 2.0;
    let bristles = dice.pick(&[[70, 48, 34], [226, 205, 160], [48, 44, 46], [120, 84, 52]]);
    let hair = dice.between(20.0, 28.0);
    let pointed = dice.chance(0.4);
    let ragged = if pointed {
        blob(&[
            (-half, 0.0),
            (-half * 1.05, -hair * 0.5),
            (0.0, -hair * 1.3),
            (half * 1.05, -hair * 0.5),
            (half, 0.0),
        ])
    } else {
        let top = |share: f32, dice: &mut Dice| (half * share, -hair - dice.between(0.0, 5.0));
        let tips: Vec<(f32, f32)> = [-1.0, -0.6, -0.2, 0.2, 0.6, 1.0].map(|share| top(share, dice)).into();
        let mut outline = vec![(half, 2.0), (-half, 2.0)];
        outline.extend(tips);
        poly(&outline)
    };
    s.part(0).fill(ragged, Ink::Own(bristles));
    for hair_line in [-0.5, 0.0, 0.5] {
        s.mark(
            tube(&[(half * hair_line, 0.0, 1.2), (half * hair_line, -hair * 0.8, 1.2)]),
            Ink::Own([30, 22, 18]),
        );
    }
    s.rest().fill(rounded(-half - 1.0, -2.0, half + 1.0, 14.0, 2.0), Ink::Own(metal(dice)));
    let (waist, end) = (dice.between(8.5, 11.0), dice.between(7.5, 11.0));
    let long = dice.between(74.0, 94.0);
    s.part(1).fill(
        blob(&[
            (-half, 13.0),
            (half, 13.0),
            (half * 0.8, 24.0),
            (waist, 40.0),
            (end, long),
            (0.0, long + 7.0),
            (-end, long),
            (-waist, 40.0),
            (-half * 0.8, 24.0),
        ]),
        Ink::Body,
    );
    s.mark(oval(0.0, long - 3.0, 2.2, 3.0), Ink::Tone(-0.6));
}

pub(super) fn key(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(18.0, 25.0), dice.between(17.0, 25.0));
    let thick = dice.between(9.0, 13.0);
    let long = dice.between(58.0, 76.0);
    let head = if dice.chance(0.65) {
        vec![ring(0.0, 0.0, rx, ry, dice.between(0.42, 0.6))]
    } else {
        // Three small rings like a clover.
        let share = dice.between(0.35, 0.5);
        [-PI, -PI / 2.0, 0.0]
            .map(|angle| at((0.0, 0.0), 11.0, angle))
            .map(|(x, y)| ring(x, y, 12.0, 12.0, share))
            .into()
    };
    let mut shapes = head;
    shapes.push(rounded(-thick / 2.0, ry * 0.8, thick / 2.0, ry * 0.8 + long, 3.0));
    let end = ry * 0.8 + long;
    for tooth in 0..dice.whole(2, 3) {
        let y = end - 9.0 - 13.0 * tooth as f32;
        shapes.push(rounded(0.0, y - 4.5, thick / 2.0 + dice.between(9.0, 18.0), y + 4.5, 1.0));
    }
    s.merge(shapes, Ink::Body);
}
