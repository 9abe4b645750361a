//! Whether a JPEG file is all there: the decoder paints what is missing grey and says nothing.

use std::io::{self, BufRead, Seek, SeekFrom};

const START_OF_SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// Whether `reader` holds anything but a JPEG, or a JPEG with an end behind its first scan. It stands at its start again afterwards.
pub(super) fn is_whole<R: BufRead + Seek>(reader: &mut R) -> io::Result<bool> {
    let whole = match skip_to_scan(reader) {
        Ok(true) => holds_end(reader),
        Ok(false) => Ok(true),
        Err(error) => Err(error),
    };
    reader.rewind()?;
    match whole {
        // No room for a scan.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other,
    }
}

/// Goes over the segments before the first scan, a thumbnail among them; false if this is no JPEG.
fn skip_to_scan<R: BufRead + Seek>(reader: &mut R) -> io::Result<bool> {
    let mut marker = [0; 2];
    if reader.read_exact(&mut marker).is_err() || marker != [0xff, 0xd8] {
        return Ok(false);
    }
    loop {
        reader.read_exact(&mut marker)?;
        // Markers may be padded.
        while marker == [0xff, 0xff] {
            reader.read_exact(&mut marker[1..])?;
        }
        match marker {
            [0xff, START_OF_SCAN] => return Ok(true),
            [0xff, _] => {
                let mut length = [0; 2];
                reader.read_exact(&mut length)?;
                reader.seek(SeekFrom::Current(i64::from(u16::from_be_bytes(length)) - 2))?;
            }
            // The decoder knows better what to say of that.
            _ => return Ok(false),
        }
    }
}

/// Whether the marker of the end follows; in the data of a scan its bytes never stand together.
fn holds_end<R: BufRead>(reader: &mut R) -> io::Result<bool> {
    let mut last = 0;
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(false);
        }
        let is_end = |pair: &[u8]| pair == [0xff, END];
        if is_end(&[last, block[0]]) || block.windows(2).any(is_end) {
            return Ok(true);
        }
        last = block[block.len() - 1];
        let read = block.len();
        reader.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::codecs::jpeg::JpegEncoder;
    use ::image::{Rgb, RgbImage};
    use std::io::{BufReader, Cursor};

    fn whole(bytes: &[u8]) -> bool {
        // Blocks of three bytes, so that markers fall between them.
        is_whole(&mut BufReader::with_capacity(3, Cursor::new(bytes))).unwrap()
    }

    #[test]
    fn a_picture_that_is_cut_off_is_not_whole() {
        let image = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8 * 6, y as u8 * 8, (x * y) as u8]));
        let mut bytes = Vec::new();
        image.write_with_encoder(JpegEncoder::new(&mut bytes)).unwrap();
        assert!(whole(&bytes));
        for cut in 2..bytes.len() {
            assert!(!whole(&bytes[..cut]), "{cut} of {} bytes", bytes.len());
        }
        // A thumbnail has an end of its own, which is not the picture's.
        let mut nested = vec![0xff, 0xd8, 0xff, 0xe1];
        nested.extend((bytes.len() as u16 + 2).to_be_bytes());
        nested.extend(&bytes);
        nested.extend(&bytes[2..]);
        assert!(whole(&nested));
        assert!(!whole(&nested[..nested.len() - 9]));
        // What follows the end does not matter.
        bytes.extend([0; 9]);
        assert!(whole(&bytes));
    }

    #[test]
    fn other_files_are_left_to_their_decoders() {
        for bytes in [&b""[..], b"\xff", b"\x89PNG\r\n", b"\xff\xd8no markers"] {
            assert!(whole(bytes));
        }
    }
}
