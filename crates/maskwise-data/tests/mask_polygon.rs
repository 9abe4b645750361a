//! Outlines of masks and mask files.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use maskwise_data::image::{DecodeOptions, RgbImage, decode_path};
use maskwise_data::mask::polygon::{rasterize, trace};
use maskwise_data::mask::{Connectivity, Mask, Polygon, Rle, png};
use proptest::prelude::*;

fn mask(rows: &[&str]) -> Mask {
    let values: Vec<u8> =
        rows.iter().flat_map(|row| row.bytes().map(|byte| u8::from(byte == b'#'))).collect();
    Mask::from_values(&values, rows.len(), rows[0].len()).unwrap()
}

#[test]
fn a_ring_has_an_outline_and_a_hole() {
    let polygons = trace(&mask(&[".....", ".###.", ".#.#.", ".###."]));
    let expected = Polygon {
        outer: vec![[1.0, 1.0], [4.0, 1.0], [4.0, 4.0], [1.0, 4.0]],
        holes: vec![vec![[2.0, 2.0], [2.0, 3.0], [3.0, 3.0], [3.0, 2.0]]],
    };
    assert_eq!(polygons, [expected]);
}

#[test]
fn pixels_that_touch_at_a_corner_are_two_polygons() {
    let polygons = trace(&mask(&["#.", ".#"]));
    assert_eq!(polygons.len(), 2);
    assert_eq!(polygons[1].outer, [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]);
    assert!(trace(&Mask::empty(3, 3)).is_empty() && trace(&Mask::empty(0, 0)).is_empty());
}

#[test]
fn simplifying_keeps_rectangles_and_tames_stairs() {
    let square = &trace(&mask(&["....", ".##.", ".##.", "...."]))[0];
    assert_eq!(square.simplified(1.0), *square);
    let size = 60;
    let values: Vec<u8> = (0..size * size).map(|i| u8::from(i % size <= i / size)).collect();
    let triangle = Mask::from_values(&values, size, size).unwrap();
    let outline = &trace(&triangle)[0];
    let simple = outline.simplified(1.0);
    assert!(outline.outer.len() > 100 && simple.outer.len() < 10, "{simple:?}");
    assert!(rasterize(&[simple], size, size).unwrap().iou(&triangle).unwrap() > 0.95);
}

#[test]
fn coordinates_that_are_no_numbers_are_refused() {
    let polygon = Polygon { outer: vec![[0.0, 0.0], [f64::NAN, 1.0], [1.0, 1.0]], holes: vec![] };
    assert!(rasterize(&[polygon], 4, 4).is_err());
}

#[test]
fn mask_files_hold_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    let written = mask(&["#..", ".##"]);
    png::write_mask(&path, &written).unwrap();
    let file = ::image::open(&path).unwrap();
    assert_eq!(file.color(), ::image::ColorType::L8);
    assert_eq!(file.into_luma8().into_raw(), [255, 0, 0, 0, 255, 255]);

    let other = mask(&["##.", "..."]);
    let indices = png::index_map(&[written, other]).unwrap();
    assert_eq!(indices, [2, 2, 0, 0, 1, 1]);
    png::write_index(&path, &indices, 2, 3).unwrap();
    let mut reader = ::png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
    reader.set_transformations(::png::Transformations::IDENTITY);
    let mut reader = reader.read_info().unwrap();
    let mut samples = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut samples).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (::png::ColorType::Indexed, ::png::BitDepth::Eight));
    assert_eq!(samples, indices);
    assert!(png::index_map(&[mask(&["#"]), mask(&["##"])]).is_err());
    assert!(png::index_map(&vec![mask(&["#"]); 256]).is_err());

    let picture = RgbImage::from_fn(5, 3, |x, y| ::image::Rgb([x as u8, y as u8, 7]));
    png::write_rgb(&path, &picture).unwrap();
    assert_eq!(decode_path(&path, &DecodeOptions::default()).unwrap(), picture);
    assert!(png::write_mask(&folder.path().join("zero.png"), &Mask::empty(0, 0)).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "half-written files remain");
}

fn masks() -> impl Strategy<Value = Mask> {
    (1usize..20, 1usize..20, 0.1f64..0.95).prop_flat_map(|(width, height, share)| {
        prop::collection::vec(prop::bool::weighted(share), width * height).prop_map(move |values| {
            let values: Vec<u8> = values.into_iter().map(u8::from).collect();
            Mask::from_values(&values, height, width).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn outlines_give_the_mask_back(mask in masks()) {
        let polygons = trace(&mask);
        prop_assert_eq!(&rasterize(&polygons, mask.height, mask.width).unwrap(), &mask);
        prop_assert_eq!(polygons.len(), mask.components(Connectivity::Four).parts.len());
        let joined: Vec<Polygon> = polygons
            .iter()
            .map(|polygon| Polygon { outer: polygon.to_single_ring(), holes: vec![] })
            .collect();
        prop_assert_eq!(&rasterize(&joined, mask.height, mask.width).unwrap(), &mask);
        for ring in polygons.iter().flat_map(|polygon| std::iter::once(&polygon.outer).chain(&polygon.holes)) {
            prop_assert!(ring.len() >= 4);
        }
    }

    #[test]
    fn coco_fills_hole_free_outlines_alike(mask in masks()) {
        let polygons = trace(&mask);
        prop_assume!(polygons.iter().all(|polygon| polygon.holes.is_empty()));
        let rles: Vec<Rle> = polygons
            .iter()
            .map(|polygon| Rle::from_polygon(&polygon.outer.concat(), mask.height, mask.width).unwrap())
            .collect();
        prop_assume!(!rles.is_empty());
        prop_assert_eq!(&Rle::merge(&rles, false).unwrap().decode(), &mask);
    }

    #[test]
    fn simplified_outlines_stay_near(mask in masks(), tolerance in 0.0f64..3.0) {
        for polygon in trace(&mask) {
            let simple = polygon.simplified(tolerance);
            prop_assert!(simple.outer.len() >= 3 && simple.outer.len() <= polygon.outer.len());
            prop_assert!(simple.outer.iter().all(|point| polygon.outer.contains(point)));
        }
    }
}
