//! The colours that things are called by.

use super::draw::Dice;

/// A red, green and blue value, 0..255 each.
pub(super) type Rgb = [u8; 3];

/// The colour of a thing's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    White,
    Grey,
}

/// Ranges of hue in degrees, of saturation and of value (0..1) that a person would call by one name.
struct Shades {
    hue: (f32, f32),
    saturation: (f32, f32),
    value: (f32, f32),
}

const fn shades(hue: (f32, f32), saturation: (f32, f32), value: (f32, f32)) -> Shades {
    Shades { hue, saturation, value }
}

impl Colour {
    /// Every colour.
    pub const ALL: [Colour; 11] = [
        Colour::Red,
        Colour::Orange,
        Colour::Yellow,
        Colour::Green,
        Colour::Blue,
        Colour::Purple,
        Colour::Pink,
        Colour::Brown,
        Colour::Black,
        Colour::White,
        Colour::Grey,
    ];

    /// The colour's name in lower case, "red".
    pub fn name(self) -> &'static str {
        match self {
            Colour::Red => "red",
            Colour::Orange => "orange",
            Colour::Yellow => "yellow",
            Colour::Green => "green",
            Colour::Blue => "blue",
            Colour::Purple => "purple",
            Colour::Pink => "pink",
            Colour::Brown => "brown",
            Colour::Black => "black",
            Colour::White => "white",
            Colour::Grey => "grey",
        }
    }

    fn shades(self) -> Shades {
        match self {
            Colour::Red => shades((-6.0, 6.0), (0.80, 0.95), (0.72, 0.92)),
            Colour::Orange => shades((24.0, 33.0), (0.82, 0.98), (0.92, 1.0)),
            Colour::Yellow => shades((48.0, 56.0), (0.68, 0.95), (0.92, 1.0)),
            Colour::Green => shades((95.0, 145.0), (0.55, 0.85), (0.48, 0.75)),
            Colour::Blue => shades((205.0, 228.0), (0.65, 0.9), (0.65, 0.92)),
            Colour::Purple => shades((268.0, 284.0), (0.5, 0.75), (0.5, 0.72)),
            Colour::Pink => shades((328.0, 346.0), (0.32, 0.5), (0.94, 1.0)),
            Colour::Brown => shades((18.0, 30.0), (0.58, 0.75), (0.38, 0.55)),
            Colour::Black => shades((200.0, 260.0), (0.0, 0.15), (0.1, 0.18)),
            Colour::White => shades((30.0, 60.0), (0.0, 0.04), (0.94, 1.0)),
            Colour::Grey => shades((200.0, 240.0), (0.0, 0.06), (0.5, 0.64)),
        }
    }

    /// A shade that a person would call by this name.
    pub(super) fn shade(self, dice: &mut Dice) -> Rgb {
        let range = self.shades();
        from_hsv(
            dice.between(range.hue.0, range.hue.1),
            dice.between(range.saturation.0, range.saturation.1),
            dice.between(range.value.0, range.value.1),
        )
    }

    /// The shade in the middle of the range, red, green, blue.
    pub fn reference(self) -> [u8; 3] {
        let range = self.shades();
        let middle = |(low, high): (f32, f32)| (low + high) / 2.0;
        from_hsv(middle(range.hue), middle(range.saturation), middle(range.value))
    }
}

/// Hue in degrees, saturation and value 0..1.
pub(super) fn from_hsv(hue: f32, saturation: f32, value: f32) -> Rgb {
    [5.0, 3.0, 1.0].map(|offset: f32| {
        let k = offset + hue / 60.0;
        let k = k - 6.0 * (k / 6.0).floor();
        (255.0 * value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0)) + 0.5) as u8
    })
}

/// `share` of the way from `from` to `to`.
#[inline(always)]
pub(super) fn mix(from: Rgb, to: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|i| {
        (f32::from(from[i]) + (f32::from(to[i]) - f32::from(from[i])) * share + 0.5) as u8
    })
}

/// How bright a person sees it, 0..255.
pub(super) fn luminance([red, green, blue]: Rgb) -> f32 {
    0.3 * f32::from(red) + 0.59 * f32::from(green) + 0.11 * f32::from(blue)
}

/// How far apart two colours look; black and white are 255 apart.
pub(super) fn distance(a: Rgb, b: Rgb) -> f32 {
    let [red, green, blue] = std::array::from_fn(|i| f32::from(a[i]) - f32::from(b[i]));
    (0.3 * red * red + 0.5 * green * green + 0.2 * blue * blue).sqrt()
}
