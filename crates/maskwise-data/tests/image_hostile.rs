//! Files that want to harm: every one is decoded or refused, quickly, without a panic.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use maskwise_data::image::{DecodeOptions, ImageError, RgbImage, decode_bytes, decode_path};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Decodes,
    Refused,
}
use Outcome::{Decodes, Refused};

/// Every file of the collection (image-rs `tests/bad` and `tests/regression`) and what becomes of it.
const TABLE: &[(&str, Outcome)] = &[
    ("tests_bad_README.md", Refused),
    ("tests_bad_bmp_Bad_badbitcount.bmp", Refused),
    ("tests_bad_bmp_Bad_clrsUsed.bmp", Refused),
    ("tests_bad_bmp_Bad_height.bmp", Refused),
    ("tests_bad_bmp_Bad_reallybig.bmp", Refused),
    ("tests_bad_bmp_Bad_shortfile.bmp", Refused),
    ("tests_bad_bmp_Bad_unusual_extend_buffer_usage.bmp", Refused),
    ("tests_bad_bmp_Bad_width.bmp", Refused),
    ("tests_bad_ico_Bad_smile-incorrect-image-length.ico", Refused),
    ("tests_bad_tiff_TODO", Refused),
    ("tests_regression_gif_zero-loop-count.gif", Refused),
    ("tests_regression_ico_crash-981fee302fe0fc543ee48292cc3d6ace7e97e633.ico", Refused),
    ("tests_regression_ico_oom-0d0085eb7f66ea55d9119206235cd29e089b9140.ico", Refused),
    ("tests_regression_ico_oom-ff076e7064c13ec1f8e2c5bbbfb7a77a08db2361.ico", Refused),
    ("tests_regression_image_resize-with-alpha-original-half-size.png", Decodes),
    ("tests_regression_image_resize-with-alpha-original.png", Decodes),
    ("tests_regression_jpg_oss-fuzz-36829.jpeg", Refused),
    ("tests_regression_tga_bad-color-map.tga", Refused),
    ("tests_regression_tga_flip-zero-height.tga", Refused),
    ("tests_regression_tga_flip-zero-height2.tga", Refused),
    ("tests_regression_tga_orientation-zero-width.tga", Refused),
    ("tests_regression_tga_overfull-image.tga", Refused),
    ("tests_regression_tga_sixteen-bit-gray-colormap.tga", Refused),
    ("tests_regression_tga_sixteen-bit-gray-colormap2.tga", Refused),
    ("tests_regression_tga_slice-copy-length.tga", Refused),
    ("tests_regression_tiff_clusterfuzz-testcase-minimized-fuzzer_script_tiff-5026894169374720.tif", Refused),
    ("tests_regression_webp_panic.webp", Decodes),
];

const TIME_LIMIT: Duration = Duration::from_secs(10);

fn photos() -> Option<PathBuf> {
    let folder = std::env::var_os("MASKWISE_PHOTOS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: MASKWISE_PHOTOS is not set");
    }
    folder
}

#[test]
fn every_hostile_file_has_its_outcome() {
    let Some(folder) = photos() else { return };
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder.join("hostile")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let start = Instant::now();
        let result = decode_path(&path, &DecodeOptions::default());
        assert!(start.elapsed() < TIME_LIMIT, "{name} took {:?}", start.elapsed());
        let outcome = if result.is_ok() { Decodes } else { Refused };
        match &result {
            Ok(image) => println!("{name}: {}x{}", image.width(), image.height()),
            Err(error) => {
                println!("{error}");
                assert!(error.to_string().contains(&name), "the message does not name the file: {error}");
            }
        }
        let expected = TABLE.iter().find(|(file, _)| *file == name).map(|(_, outcome)| *outcome);
        if expected != Some(outcome) {
            wrong.push(format!("{name}: {outcome:?}, expected {expected:?}"));
        }
        // The same bytes without a name must not panic either.
        let _ = decode_bytes(&std::fs::read(&path).unwrap(), &DecodeOptions::default());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    // The header is written; the data never is, and the decoder must not get that far.
    drop(encoder.write_header().unwrap());
    const SIGNATURE_AND_IHDR: usize = 8 + 25;
    bytes.truncate(SIGNATURE_AND_IHDR);
    bytes.extend_from_slice(b"\0\0\0\x04IDAT\0\0\0\0\0\0\0\0");
    bytes
}

fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for value in [70u32, 0, 54, 40] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24 + 16]);
    bytes
}

fn tga_header(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = vec![0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([24, 0]);
    bytes.extend([0; 8]);
    bytes.extend(b"TRUEVISION-XFILE.\0");
    bytes
}

fn gif_header(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([0, 0, 0]);
    // One frame of one pixel.
    bytes.extend([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, b';']);
    bytes
}

/// An uncompressed grey TIFF without its data.
fn tiff_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    let tags = [
        (256u16, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, 1),
    ];
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}

/// A lossless WebP of 16,383 x 16,383, the largest that the format knows, without its data.
fn webp_header() -> Vec<u8> {
    let mut bytes = b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f\xfe\xbf\xff\x0f".to_vec();
    bytes.extend([0; 15]);
    bytes
}

/// A grey baseline JPEG up to the start of its scan.
fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    bytes.extend([1; 64]);
    bytes.extend([0xff, 0xc0, 0, 11, 8]);
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes.extend([1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0, 0]);
    bytes
}

#[test]
fn a_huge_header_is_refused_from_the_header() {
    for (format, bytes) in [
        ("png", png_header(60_000, 60_000)),
        ("bmp", bmp_header(60_000, 60_000)),
        ("tga", tga_header(60_000, 60_000)),
        ("gif", gif_header(60_000, 60_000)),
        ("jpeg", jpeg_header(60_000, 60_000)),
        ("tiff", tiff_header(60_000, 60_000)),
        ("webp", webp_header()),
    ] {
        let start = Instant::now();
        let error = decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::TooManyPixels { width: 60_000 | 16_383, height: 60_000 | 16_383, .. }
            ),
            "{format}: {error}"
        );
        assert!(start.elapsed() < Duration::from_secs(1), "{format} took {:?}", start.elapsed());
    }
}

#[test]
fn the_limit_can_be_moved() {
    let mut bytes = Vec::new();
    let image = RgbImage::from_pixel(20, 10, ::image::Rgb([1, 2, 3]));
    image.write_to(&mut std::io::Cursor::new(&mut bytes), ::image::ImageFormat::Png).unwrap();
    let options = |max_pixels| DecodeOptions { max_pixels, ..Default::default() };
    assert!(matches!(decode_bytes(&bytes, &options(199)), Err(ImageError::TooManyPixels { .. })));
    assert_eq!(decode_bytes(&bytes, &options(200)).unwrap(), image);
}

#[test]
fn memory_is_limited_whatever_the_pixel_limit() {
    let options = DecodeOptions { max_pixels: u64::MAX, ..Default::default() };
    for bytes in [png_header(60_000, 60_000), bmp_header(60_000, 60_000), tga_header(60_000, 60_000)] {
        let error = decode_bytes(&bytes, &options).unwrap_err();
        assert!(matches!(error, ImageError::TooMuchMemory { .. } | ImageError::Malformed { .. }), "{error}");
    }
}

#[test]
fn sizes_of_zero_are_refused() {
    for bytes in [tga_header(0, 5), gif_header(5, 0), bmp_header(0, 5)] {
        let error = decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, ImageError::ZeroSize { .. } | ImageError::Malformed { .. }), "{error}");
    }
}

#[test]
fn what_is_no_image_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.jpg");
    std::fs::write(&text, "not an image").unwrap();
    let empty = folder.path().join("empty.png");
    std::fs::write(&empty, "").unwrap();
    let options = DecodeOptions::default();
    let decode = |path: &Path| decode_path(path, &options).unwrap_err();
    assert!(matches!(decode(&text), ImageError::UnknownFormat { .. }));
    assert!(matches!(decode(&empty), ImageError::EmptyFile { .. }));
    assert!(matches!(decode(folder.path()), ImageError::NotAFile { .. }));
    assert!(matches!(decode(&folder.path().join("none.png")), ImageError::Read { .. }));
    assert!(matches!(decode_bytes(&[], &options), Err(ImageError::EmptyFile { .. })));
}

#[test]
fn truncated_and_damaged_files_never_panic() {
    let image = RgbImage::from_fn(40, 30, |x, y| ::image::Rgb([x as u8 * 6, y as u8 * 8, (x * y) as u8]));
    for format in ["png", "jpg", "bmp", "gif", "tiff", "tga", "ico", "webp"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("a.{format}"));
        let picture = ::image::DynamicImage::ImageRgb8(image.clone());
        // Icons hold alpha.
        let picture = if format == "ico" { picture.into_rgba8().into() } else { picture };
        picture.save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(decode_path(&path, &DecodeOptions::default()).is_ok(), "{format}");
        let mut state = 1u32;
        for round in 0..60 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % bytes.len();
            let mut damaged = bytes.clone();
            if round % 2 == 0 {
                damaged.truncate(at);
            } else {
                damaged[at] ^= (state >> 20) as u8 | 1;
            }
            std::fs::write(&path, &damaged).unwrap();
            let start = Instant::now();
            let _ = decode_path(&path, &DecodeOptions::default());
            assert!(start.elapsed() < TIME_LIMIT, "{format} round {round}");
        }
    }
}
