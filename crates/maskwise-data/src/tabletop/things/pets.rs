//! Animals with fur.

use super::super::draw::{Dice, Ink, Sketch, blob, oval, oval_turned, poly, tube};
use super::{eye, legs};

pub(super) fn cat(dice: &mut Dice, s: &mut Sketch) {
    if dice.chance(0.5) { sitting_cat(dice, s) } else { walking_cat(dice, s) }
}

fn sitting_cat(dice: &mut Dice, s: &mut Sketch) {
    let (half, high) = (dice.between(25.0, 32.0), dice.between(54.0, 66.0));
    let side = dice.between(10.0, 18.0);
    s.part(0).fill(
        tube(&[
            (half * 0.4, -8.0, 11.0),
            (half + 14.0, -6.0, 11.0),
            (half + 22.0, -24.0, 10.0),
            (half + side, -44.0, 8.0),
        ]),
        Ink::Body,
    );
    s.rest().fill(
        blob(&[
            (0.0, -high),
            (half * 0.55, -high * 0.85),
            (half * 0.85, -high * 0.45),
            (half, -10.0),
            (half * 0.7, 0.0),
            (-half * 0.7, 0.0),
            (-half, -10.0),
            (-half * 0.85, -high * 0.45),
            (-half * 0.55, -high * 0.85),
        ]),
        Ink::Body,
    );
    for paw in [-1.0, 1.0] {
        s.fill(tube(&[(paw * 7.0, -high * 0.42, 9.0), (paw * 8.0, -4.0, 10.0)]), Ink::Body);
        s.fill(oval(paw * 9.0, -3.0, 8.0, 5.0), Ink::Tone(0.25));
    }
    cat_head(dice, s, 0.0, -high - 10.0);
}

fn walking_cat(dice: &mut Dice, s: &mut Sketch) {
    let (long, thick) = (dice.between(30.0, 38.0), dice.between(15.0, 19.0));
    let lift = dice.between(28.0, 44.0);
    s.part(0).fill(
        tube(&[
            (-long + 4.0, -4.0, 9.0),
            (-long - 14.0, -12.0, 9.0),
            (-long - 17.0, -lift, 8.0),
            (-long - dice.between(2.0, 24.0), -lift - 12.0, 7.0),
        ]),
        Ink::Body,
    );
    s.rest();
    legs(dice, s, &[-long * 0.82, -long * 0.48, long * 0.5, long * 0.85], 4.0, 40.0, 10.0);
    s.fill(
        blob(&[
            (-long - 3.0, -2.0),
            (-long * 0.6, -thick * 0.95),
            (long * 0.4, -thick * 0.8),
            (long + 3.0, -thick * 0.7),
            (long + 5.0, 6.0),
            (long * 0.3, thick * 0.75),
            (-long * 0.6, thick * 0.85),
        ]),
        Ink::Body,
    );
    cat_head(dice, s, long + 8.0, -thick - 6.0);
}

/// A face of a cat with its middle at `(x, y)`.
fn cat_head(dice: &mut Dice, s: &mut Sketch, x: f32, y: f32) {
    let (rx, ry) = (dice.between(19.0, 23.0), dice.between(16.0, 19.0));
    let ear = dice.between(15.0, 21.0);
    for side in [-1.0, 1.0] {
        let tip = (x + side * rx * 0.85, y - ry - ear * 0.6);
        s.part(1).fill(
            poly(&[(x + side * rx * 0.15, y - ry * 0.75), tip, (x + side * rx * 0.98, y - ry * 0.1)]),
            Ink::Body,
        );
        s.mark(
            poly(&[
                (x + side * rx * 0.42, y - ry * 0.7),
                (tip.0 - side * 1.0, tip.1 + 6.0),
                (x + side * rx * 0.82, y - ry * 0.4),
            ]),
            Ink::Own([238, 160, 160]),
        );
    }
    s.rest().fill(oval(x, y, rx, ry), Ink::Body);
    let iris = dice.pick(&[[150, 200, 70], [240, 200, 60], [90, 170, 210]]);
    for side in [-1.0, 1.0] {
        s.mark(oval(x + side * rx * 0.45, y - 2.0, 4.4, 4.8), Ink::Own(iris));
        s.mark(oval(x + side * rx * 0.45, y - 2.0, 1.6, 4.2), Ink::Own([18, 18, 20]));
        for whisker in [0.0, 1.0] {
            let from = (x + side * 6.0, y + 6.0 + whisker * 3.0);
            s.bare(
                tube(&[(from.0, from.1, 1.1), (x + side * (rx + 11.0), y + 3.0 + whisker * 8.0, 0.9)]),
                Ink::Tone(-0.7),
            );
        }
    }
    s.mark(poly(&[(x - 3.0, y + 4.0), (x + 3.0, y + 4.0), (x, y + 7.5)]), Ink::Own([220, 110, 120]));
    s.mark(
        tube(&[
            (x - 5.0, y + 10.5, 1.4),
            (x - 2.0, y + 11.5, 1.4),
            (x, y + 7.5, 1.4),
            (x + 2.0, y + 11.5, 1.4),
            (x + 5.0, y + 10.5, 1.4),
        ]),
        Ink::Tone(-0.7),
    );
}

pub(super) fn dog(dice: &mut Dice, s: &mut Sketch) {
    let (long, thick) = (dice.between(28.0, 42.0), dice.between(15.0, 20.0));
    let (leg, wide) = (dice.between(26.0, 44.0), dice.between(9.0, 12.0));
    let tail = dice.between(16.0, 28.0);
    s.part(0).fill(
        tube(&[(-long + 4.0, -8.0, 8.0), (-long - 10.0, -14.0, 8.0), (-long - 18.0, -14.0 - tail, 5.0)]),
        Ink::Body,
    );
    s.rest();
    let stands = dice.chance(0.55);
    let lift = if stands { dice.between(12.0, 22.0) } else { dice.between(28.0, 38.0) };
    let (x, y) = (if stands { long + 12.0 } else { long * 0.75 + 2.0 }, -thick - lift);
    if stands {
        legs(dice, s, &[-long * 0.85, -long * 0.5, long * 0.5, long * 0.85], 4.0, leg, wide);
        s.merge(
            [
                blob(&[
                    (-long - 3.0, -4.0),
                    (-long * 0.6, -thick * 0.95),
                    (long * 0.5, -thick * 0.9),
                    (long + 4.0, -thick * 0.8),
                    (long + 6.0, 4.0),
                    (long * 0.2, thick * 0.7),
                    (-long * 0.6, thick * 0.8),
                ]),
                tube(&[(long * 0.7, -2.0, 24.0), (x - 3.0, y + 2.0, 22.0)]),
            ],
            Ink::Body,
        );
    } else {
        // Sitting: the back slopes from the neck down to the ground.
        let foot = leg * 0.8 + 6.0;
        s.merge(
            [
                blob(&[
                    (x - 14.0, y + 4.0),
                    (x + 4.0, y + 8.0),
                    (x + 2.0, -4.0),
                    (long * 0.8, foot),
                    (-long * 0.7, foot),
                    (-long - 2.0, foot - 14.0),
                    (-long * 0.75, -6.0),
                    (-long * 0.1, -thick - 4.0),
                ]),
                tube(&[(long * 0.8, -4.0, 15.0), (long * 0.85, foot - 5.0, wide)]),
            ],
            Ink::Body,
        );
        s.fill(
            blob(&[
                (-long * 0.9, foot),
                (-long * 0.9, foot - 18.0),
                (-long * 0.45, foot - 30.0),
                (0.0, foot - 18.0),
                (6.0, foot),
            ]),
            Ink::Body,
        );
        s.fill(oval(long * 0.95, foot - 3.0, 10.0, 5.0), Ink::Body);
        s.fill(oval(4.0, foot - 3.0, 12.0, 5.0), Ink::Body);
    }
    if dice.chance(0.6) {
        let band = dice.pick(&[[200, 40, 50], [50, 90, 190], [40, 40, 46]]);
        s.mark(
            tube(&[(x - 18.0, y + 10.0, 6.0), (x - 4.0, y + 19.0, 6.0), (x + 6.0, y + 18.0, 6.0)]),
            Ink::Own(band),
        );
    }
    let (r, snout) = (dice.between(16.0, 19.0), dice.between(15.0, 25.0));
    let muzzle = tube(&[(x, y + 5.0, 19.0), (x + snout, y + 7.0, 13.0)]);
    s.merge([oval(x, y, r, r * 0.95), muzzle], Ink::Body);
    s.mark(oval(x + snout + 5.0, y + 3.5, 4.6, 4.0), Ink::Own([30, 26, 28]));
    s.mark(tube(&[(x + snout + 3.0, y + 10.0, 1.6), (x + 9.0, y + 11.5, 1.6)]), Ink::Tone(-0.6));
    eye(s, x + 6.0, y - 4.0, 3.6);
    s.part(1);
    if dice.chance(0.7) {
        let hang = dice.between(22.0, 32.0);
        s.fill(
            blob(&[
                (x - 10.0, y - r * 0.85),
                (x - 2.0, y - r * 0.5),
                (x - 3.0, y + hang * 0.5),
                (x - 10.0, y + hang - 8.0),
                (x - 17.0, y + hang * 0.4),
                (x - 16.0, y - r * 0.4),
            ]),
            Ink::Tone(-0.35),
        );
    } else {
        for shift in [-7.0, 4.0] {
            s.fill(
                poly(&[
                    (x + shift - 7.0, y - r * 0.55),
                    (x + shift - 3.0, y - r - 15.0),
                    (x + shift + 6.0, y - r * 0.7),
                ]),
                Ink::Tone(-0.3),
            );
        }
    }
}

pub(super) fn rabbit(dice: &mut Dice, s: &mut Sketch) {
    if dice.chance(0.5) { crouching_rabbit(dice, s) } else { upright_rabbit(dice, s) }
}

fn crouching_rabbit(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(30.0, 38.0), dice.between(23.0, 28.0));
    let (x, y) = (rx * 0.92, -ry * 0.9);
    s.fill(oval(-rx - 1.0, 0.0, 9.0, 9.0), Ink::Tone(0.6));
    let ear = dice.between(36.0, 50.0);
    s.part(0);
    for (shift, lean) in [(-8.0, -0.55), (1.0, -0.2)] {
        let (tip_x, tip_y) = (x + shift + lean * ear, y - 10.0 - ear);
        s.fill(
            tube(&[
                (x + shift, y - 8.0, 9.0),
                ((x + shift + tip_x) / 2.0, (y - 8.0 + tip_y) / 2.0, 14.0),
                (tip_x, tip_y, 7.0),
            ]),
            Ink::Body,
        );
        s.mark(
            tube(&[
                (x + shift + lean * 6.0, y - 16.0, 4.0),
                ((x + shift + tip_x) / 2.0, (y - 8.0 + tip_y) / 2.0, 7.0),
                (tip_x, tip_y + 4.0, 3.0),
            ]),
            Ink::Own([240, 172, 176]),
        );
    }
    s.rest().fill(oval(0.0, 0.0, rx, ry), Ink::Body);
    s.fill(oval(rx * 0.72, ry * 0.95, 11.0, 6.0), Ink::Body);
    s.fill(oval_turned(-rx * 0.42, ry * 0.4, 18.0, 14.0, 0.2), Ink::Body);
    s.fill(oval(-rx * 0.25, ry, 18.0, 6.0), Ink::Body);
    s.fill(
        blob(&[
            (x - 15.0, y + 4.0),
            (x - 8.0, y - 12.0),
            (x + 6.0, y - 12.0),
            (x + 19.0, y + 2.0),
            (x + 14.0, y + 10.0),
            (x - 4.0, y + 13.0),
        ]),
        Ink::Body,
    );
    eye(s, x + 5.0, y - 3.0, 3.6);
    s.mark(oval(x + 18.0, y + 2.0, 3.4, 2.8), Ink::Own([226, 112, 128]));
}

fn upright_rabbit(dice: &mut Dice, s: &mut Sketch) {
    let half = dice.between(23.0, 28.0);
    let ear = dice.between(38.0, 52.0);
    let spread = dice.between(1.0, 14.0);
    s.part(0);
    for side in [-1.0, 1.0] {
        let folded = side > 0.0 && dice.chance(0.25);
        let tip = if folded {
            (side * (spread + 24.0), -66.0 - ear * 0.45)
        } else {
            (side * (9.0 + spread), -62.0 - ear)
        };
        let bend = (side * (9.0 + spread * 0.6), -62.0 - ear * 0.55);
        s.fill(tube(&[(side * 8.0, -58.0, 11.0), (bend.0, bend.1, 16.0), (tip.0, tip.1, 8.0)]), Ink::Body);
        s.mark(
            tube(&[(side * 8.0, -66.0, 5.0), (bend.0, bend.1, 8.0), (tip.0, tip.1 + 3.0, 3.0)]),
            Ink::Own([240, 172, 176]),
        );
    }
    s.rest().fill(oval(0.0, -14.0, half, 28.0), Ink::Body);
    s.mark(oval(0.0, -8.0, half * 0.55, 18.0), Ink::Tone(0.55));
    for side in [-1.0, 1.0] {
        s.fill(oval(side * half * 0.65, 12.0, 13.0, 7.0), Ink::Body);
        s.fill(oval_turned(side * half * 0.5, -22.0, 5.5, 11.0, side * 0.4), Ink::Body);
    }
    s.fill(oval(0.0, -50.0, dice.between(19.0, 23.0), 18.0), Ink::Body);
    for side in [-1.0, 1.0] {
        eye(s, side * 8.5, -53.0, 3.6);
    }
    s.mark(oval(0.0, -46.0, 3.4, 2.6), Ink::Own([226, 112, 128]));
    s.mark(poly(&[(-3.5, -41.0), (3.5, -41.0), (3.0, -35.0), (-3.0, -35.0)]), Ink::Own([250, 250, 246]));
}
