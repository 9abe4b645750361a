use super::*;
use std::process::Command;

/// A field of a message: its number and what the wire holds.
#[derive(Debug, PartialEq)]
enum Field {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(count);
    *bytes = tail;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Fixed64(take(&mut bytes, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length).to_vec())
            }
            5 => Field::Fixed32(take(&mut bytes, 4).try_into().unwrap()),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The checksum bit by bit, from its polynomial.
fn slow_masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = take(&mut rest, 8);
        assert_eq!(take(&mut rest, 4), slow_masked_crc(length).to_le_bytes());
        let data = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(&mut rest, 4), slow_masked_crc(data).to_le_bytes());
        records.push(data.to_vec());
    }
    records
}

fn find(fields: &[(u64, Field)], number: u64) -> &Field {
    &fields.iter().find(|(field, _)| *field == number).unwrap().1
}

fn inner(fields: &[(u64, Field)], number: u64) -> Vec<(u64, Field)> {
    let Field::Bytes(bytes) = find(fields, number) else { panic!("not a message") };
    self::fields(bytes)
}

/// A PNG of 2×1 pixels, red and green; written by Pillow 13.0.0.
const PNG: [u8; 72] = [
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 8, 2, 0, 0, 0, 123,
    64, 232, 221, 0, 0, 0, 15, 73, 68, 65, 84, 120, 156, 99, 248, 207, 192, 192, 240, 159, 1, 0, 7, 255, 1,
    255, 1, 127, 137, 167, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

fn write_example(folder: &Path) -> PathBuf {
    let mut writer = EventWriter::create(folder, 0).unwrap();
    writer.scalar("ce_loss", 0.25, 1).unwrap();
    writer.scalar("ce_loss", 0.5, 300).unwrap();
    writer.image("validation/mug", &PNG, (2, 1), 300).unwrap();
    writer.flush().unwrap();
    writer.path
}

#[test]
fn the_file_parses_back_field_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let events: Vec<_> = records(&write_example(folder.path())).iter().map(|record| fields(record)).collect();
    assert_eq!(events.len(), 4);
    assert_eq!(find(&events[0], 3), &Field::Bytes(b"brain.Event:2".to_vec()));
    let Field::Fixed64(wall_time) = find(&events[1], 1) else { panic!("no time") };
    assert!((f64::from_le_bytes(*wall_time) - now()).abs() < 60.0);

    assert_eq!(find(&events[2], 2), &Field::Varint(300));
    let value = inner(&inner(&events[2], 5), 1);
    assert_eq!(value, [(1, Field::Bytes(b"ce_loss".to_vec())), (2, Field::Fixed32(0.5_f32.to_le_bytes()))]);

    let value = inner(&inner(&events[3], 5), 1);
    assert_eq!(find(&value, 1), &Field::Bytes(b"validation/mug".to_vec()));
    let image = inner(&value, 4);
    let expected = [Field::Varint(1), Field::Varint(2), Field::Varint(3), Field::Bytes(PNG.to_vec())];
    assert_eq!(image.into_iter().map(|(_, field)| field).collect::<Vec<_>>(), expected);
}

#[test]
fn a_continued_run_says_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_example(folder.path());
    let second = EventWriter::create(folder.path(), 299).unwrap().path;
    assert!(second > first, "TensorBoard reads files in the order of their names");
    let events = records(&second);
    let start = fields(&events[1]);
    assert_eq!(find(&start, 2), &Field::Varint(300));
    assert_eq!(inner(&start, 7), [(1, Field::Varint(1))]);
}

const READ_BACK: &str = "
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print([(e.step, e.value) for e in events.Scalars('ce_loss')])
pictures = events.Images('validation/mug')
print([(p.step, p.width, p.height, len(p.encoded_image_string)) for p in pictures])
";

/// Runs where `python3`, or the interpreter that `MASKWISE_PYTHON` names, can import tensorboard. It did with 2.21.0.
#[test]
fn tensorboard_itself_reads_the_files() {
    let python = std::env::var("MASKWISE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |arguments: &[&str]| Command::new(&python).arg("-c").args(arguments).output();
    if !run(&["import tensorboard"]).is_ok_and(|output| output.status.success()) {
        eprintln!("not run: {python} has no tensorboard");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_example(folder.path());
    let read = || {
        let output = run(&[READ_BACK, folder.path().to_str().unwrap()]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read(), "[(1, 0.25), (300, 0.5)]\n[(300, 2, 1, 72)]\n");
    let mut writer = EventWriter::create(folder.path(), 299).unwrap();
    writer.scalar("ce_loss", 0.125, 300).unwrap();
    drop(writer);
    assert_eq!(read(), "[(1, 0.25), (300, 0.125)]\n[]\n");
}
