use proptest::prelude::*;

use super::*;

/// The same bytes as `noise` of `tests/golden/images/make_goldens.py`.
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

// Values made with Pillow 10.4.0, see tests/golden/images/make_goldens.py.
#[test]
fn equals_pillow_bit_for_bit() {
    let golden = include_str!("../../../tests/golden/images/resize.txt");
    let mut cases = 0;
    for line in golden.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let filter = if fields[0] == "bilinear" { Filter::Bilinear } else { Filter::Bicubic };
        let number: Vec<usize> = fields[1..7].iter().map(|field| field.parse().unwrap()).collect();
        let [channels, width, height, new_width, new_height, seed] = number[..] else { panic!("{line}") };
        let expected: Vec<u8> = (0..fields[7].len() / 2)
            .map(|byte| u8::from_str_radix(&fields[7][2 * byte..2 * byte + 2], 16).unwrap())
            .collect();
        let data = noise(seed as u32, width * height * channels);
        let source = ImageView { data: &data, width, height, channels };
        assert_eq!(resize(source, new_width, new_height, filter).unwrap(), expected, "{line}");
        cases += 1;
    }
    assert!(cases >= 50, "only {cases} cases were read");
}

#[test]
fn bad_input_is_an_error() {
    let data = [0u8; 12];
    let source = ImageView { data: &data, width: 2, height: 2, channels: 3 };
    assert!(matches!(resize(source, 0, 3, Filter::Bicubic), Err(ResizeError::Empty { .. })));
    assert!(matches!(
        resize(ImageView { width: 0, ..source }, 1, 1, Filter::Bicubic),
        Err(ResizeError::Empty { .. })
    ));
    assert_eq!(
        resize(ImageView { channels: 4, ..source }, 1, 1, Filter::Bicubic),
        Err(ResizeError::Channels(4))
    );
    assert_eq!(
        resize(ImageView { height: 3, ..source }, 1, 1, Filter::Bicubic),
        Err(ResizeError::Length { expected: 18, found: 12 })
    );
    let window = Window { left: 1, top: 0, width: 3, height: 1 };
    assert!(matches!(resize_window(source, 3, 3, window, Filter::Bicubic), Err(ResizeError::Window { .. })));
}

fn filters() -> impl Strategy<Value = Filter> {
    prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)]
}

proptest! {
    #[test]
    fn constant_stays_constant(
        value: u8, width in 1usize..40, height in 1usize..40,
        new_width in 1usize..60, new_height in 1usize..60, filter in filters(),
    ) {
        let data = vec![value; width * height * 3];
        let source = ImageView { data: &data, width, height, channels: 3 };
        let resized = resize(source, new_width, new_height, filter).unwrap();
        prop_assert_eq!(resized, vec![value; new_width * new_height * 3]);
    }

    #[test]
    fn window_is_the_crop_of_the_whole(
        seed: u32, width in 1usize..30, height in 1usize..30, new_width in 1usize..40, new_height in 1usize..40,
        corner in (0.0f64..1.0, 0.0f64..1.0), extent in (0.0f64..1.0, 0.0f64..1.0), filter in filters(),
    ) {
        let data = noise(seed, width * height * 3);
        let source = ImageView { data: &data, width, height, channels: 3 };
        let left = (corner.0 * new_width as f64) as usize;
        let top = (corner.1 * new_height as f64) as usize;
        let window = Window {
            left, top,
            width: 1 + (extent.0 * (new_width - left) as f64) as usize,
            height: 1 + (extent.1 * (new_height - top) as f64) as usize,
        };
        let window = Window {
            width: window.width.min(new_width - left), height: window.height.min(new_height - top), ..window
        };
        let whole = resize(source, new_width, new_height, filter).unwrap();
        let part = resize_window(source, new_width, new_height, window, filter).unwrap();
        for y in 0..window.height {
            let begin = ((top + y) * new_width + left) * 3;
            let row = &part[y * window.width * 3..(y + 1) * window.width * 3];
            prop_assert_eq!(row, &whole[begin..begin + window.width * 3]);
        }
    }

    #[test]
    fn channels_do_not_mix(
        seed: u32, width in 1usize..20, height in 1usize..20, new_width in 1usize..30, new_height in 1usize..30,
        filter in filters(),
    ) {
        let data = noise(seed, width * height * 3);
        let rgb = resize(ImageView { data: &data, width, height, channels: 3 }, new_width, new_height, filter).unwrap();
        for channel in 0..3 {
            let plane: Vec<u8> = data.iter().skip(channel).step_by(3).copied().collect();
            let grey = ImageView { data: &plane, width, height, channels: 1 };
            let grey = resize(grey, new_width, new_height, filter).unwrap();
            prop_assert!(rgb.iter().skip(channel).step_by(3).eq(grey.iter()));
        }
    }

    #[test]
    fn bilinear_stays_within_the_range_of_the_image(
        seed: u32, width in 1usize..20, height in 1usize..20, new_width in 1usize..30, new_height in 1usize..30,
    ) {
        let data = noise(seed, width * height);
        let source = ImageView { data: &data, width, height, channels: 1 };
        let resized = resize(source, new_width, new_height, Filter::Bilinear).unwrap();
        let (low, high) = (*data.iter().min().unwrap(), *data.iter().max().unwrap());
        prop_assert!(resized.iter().all(|value| (low..=high).contains(value)));
    }
}
