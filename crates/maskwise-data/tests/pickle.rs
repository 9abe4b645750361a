//! Pickles of plain data: those that CPython writes, our own, and hostile ones.

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use std::collections::BTreeMap;

use maskwise_data::pickle::{self, PickleError};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `pickle.dumps(data, protocol)` of CPython 3.11.7; the data is that of [`data`], with a tuple for `tokens` and for `self`, and
/// `again` the same object as the second sentence.
const BY_CPYTHON: [(&str, u8); 6] = [
    (
        "286c70300a286470310a567265665f69640a70320a49370a735673656e74656e6365730a70330a286c70340a286470350a5673656e740a70360a56636166e9205c55303030316636303020697427730a70370a735669735f66616c73655f7072656d6973650a70380a4930310a735673636f72650a70390a462d312e350a7356746f6b656e730a7031300a2856610a7031310a56620a7031320a747031330a736128647031340a67360a56780a7031350a73567261770a7031360a4e735665786973740a7031370a4930300a73617356616e6e5f69640a7031380a286c7031390a492d310a614c313039393531313632373737364c0a614c2d313039393531313632373737364c0a61493330300a614937303030300a61735673656c660a7032300a28747356616761696e0a7032310a6731340a73612e",
        0,
    ),
    (
        "5d71007d71012858060000007265665f696471024b07580900000073656e74656e63657371035d7104287d710528580400000073656e747106580f000000636166c3a920f09f988020697427737107581000000069735f66616c73655f7072656d69736571084930310a580500000073636f7265710947bff80000000000005806000000746f6b656e73710a28580100000061710b580100000062710c74710d757d710e286806580100000078710f580300000072617771104e5805000000657869737471114930300a75655806000000616e6e5f696471125d7113284affffffff4c313039393531313632373737364c0a4c2d313039393531313632373737364c0a4d2c014a7011010065580400000073656c667114295805000000616761696e7115680e75612e",
        1,
    ),
    (
        "80025d71007d71012858060000007265665f696471024b07580900000073656e74656e63657371035d7104287d710528580400000073656e747106580f000000636166c3a920f09f988020697427737107581000000069735f66616c73655f7072656d697365710888580500000073636f7265710947bff80000000000005806000000746f6b656e73710a580100000061710b580100000062710c86710d757d710e286806580100000078710f580300000072617771104e5805000000657869737471118975655806000000616e6e5f696471125d7113284affffffff8a060000000000018a060000000000ff4d2c014a7011010065580400000073656c667114295805000000616761696e7115680e75612e",
        2,
    ),
    (
        "80035d71007d71012858060000007265665f696471024b07580900000073656e74656e63657371035d7104287d710528580400000073656e747106580f000000636166c3a920f09f988020697427737107581000000069735f66616c73655f7072656d697365710888580500000073636f7265710947bff80000000000005806000000746f6b656e73710a580100000061710b580100000062710c86710d757d710e286806580100000078710f580300000072617771104e5805000000657869737471118975655806000000616e6e5f696471125d7113284affffffff8a060000000000018a060000000000ff4d2c014a7011010065580400000073656c667114295805000000616761696e7115680e75612e",
        3,
    ),
    (
        "800495ce000000000000005d947d94288c067265665f6964944b078c0973656e74656e636573945d94287d94288c0473656e74948c0f636166c3a920f09f98802069742773948c1069735f66616c73655f7072656d69736594888c0573636f72659447bff80000000000008c06746f6b656e73948c0161948c0162948694757d942868068c0178948c03726177944e8c056578697374948975658c06616e6e5f6964945d94284affffffff8a060000000000018a060000000000ff4d2c014a70110100658c0473656c6694298c05616761696e94680e75612e",
        4,
    ),
    (
        "800595ce000000000000005d947d94288c067265665f6964944b078c0973656e74656e636573945d94287d94288c0473656e74948c0f636166c3a920f09f98802069742773948c1069735f66616c73655f7072656d69736594888c0573636f72659447bff80000000000008c06746f6b656e73948c0161948c0162948694757d942868068c0178948c03726177944e8c056578697374948975658c06616e6e5f6964945d94284affffffff8a060000000000018a060000000000ff4d2c014a70110100658c0473656c6694298c05616761696e94680e75612e",
        5,
    ),
];

fn data() -> Value {
    json!([{
        "ref_id": 7,
        "sentences": [
            {"sent": "caf\u{e9} \u{1F600} it's", "is_false_premise": true, "score": -1.5, "tokens": ["a", "b"]},
            {"sent": "x", "raw": null, "exist": false}
        ],
        "ann_id": [-1, 1_099_511_627_776_i64, -1_099_511_627_776_i64, 300, 70000],
        "self": [],
        "again": {"sent": "x", "raw": null, "exist": false}
    }])
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len())
        .step_by(2)
        .map(|index| u8::from_str_radix(&hexadecimal[index..index + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_protocol_reads_the_same() {
    for (hexadecimal, protocol) in BY_CPYTHON {
        let read: Value = pickle::from_bytes(&bytes(hexadecimal)).unwrap();
        assert_eq!(read, data(), "protocol {protocol}");
    }
}

#[test]
fn every_cut_is_an_error_and_no_byte_panics() {
    for (hexadecimal, protocol) in BY_CPYTHON {
        let whole = bytes(hexadecimal);
        for length in 0..whole.len() {
            assert!(
                pickle::from_bytes::<Value>(&whole[..length]).is_err(),
                "{length} of protocol {protocol}"
            );
        }
        for index in 0..whole.len() {
            for byte in [0, 0x28, 0x30, 0x80, 0x85, 0xff] {
                let mut damaged = whole.clone();
                damaged[index] = byte;
                let _whatever = pickle::from_bytes::<Value>(&damaged);
            }
        }
    }
}

#[test]
fn types_are_filled_and_what_is_missing_is_named() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Reference {
        ref_id: u64,
        sentences: Vec<Sentence>,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Sentence {
        sent: String,
        exist: Option<bool>,
    }
    let read: Vec<Reference> = pickle::from_bytes(&bytes(BY_CPYTHON[2].0)).unwrap();
    assert_eq!(read[0].ref_id, 7);
    assert_eq!(read[0].sentences[1], Sentence { sent: "x".to_owned(), exist: Some(false) });
    let error = pickle::from_bytes::<Vec<BTreeMap<String, u8>>>(&bytes(BY_CPYTHON[2].0)).unwrap_err();
    assert!(matches!(error, PickleError::Form(_)), "{error}");
    let error = pickle::from_bytes::<Vec<Sentence>>(&bytes(BY_CPYTHON[2].0)).unwrap_err();
    assert!(error.to_string().contains("sent"), "{error}");
}

#[test]
fn python_2_texts_and_numbers_are_read() {
    // pickle.dumps({'a': ['it\'s', u'\xe9', 1L, True, 2.5]}) of CPython 2.7, protocol 0.
    let old = b"(dp0\nS'a'\np1\n(lp2\nS\"it's\"\np3\naV\xe9\np4\naL1L\naI01\naF2.5\nas.";
    let read: Value = pickle::from_bytes(old).unwrap();
    assert_eq!(read, json!({"a": ["it's", "\u{e9}", 1, true, 2.5]}));
    let read: Value = pickle::from_bytes(b"S'a\\x41\\n\\'\\\\'\n.").unwrap();
    assert_eq!(read, json!("aA\n'\\"));
}

/// Programs that would run a command in CPython. The folder must stay empty, and the name must be in the message.
#[test]
fn hostile_pickles_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!("touch {}", folder.path().join("ran").display());
    let text = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let cases: [(Vec<u8>, &str); 6] = [
        (format!("cos\nsystem\n(S'{command}'\ntR.").into_bytes(), "os.system"),
        (format!("(S'{command}'\nios\nsystem\n.").into_bytes(), "os.system"),
        (format!("(cos\nsystem\nS'{command}'\no.").into_bytes(), "os.system"),
        (
            [
                vec![0x80, 4],
                text("posix"),
                text("system"),
                vec![0x93],
                text(&command),
                vec![0x85, b'R', b'.'],
            ]
            .concat(),
            "posix.system",
        ),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\n.".to_vec(), "numpy.core.multiarray.scalar"),
        (b"c\x1b[2J\nx\n.".to_vec(), "\\u{1b}[2J.x"),
    ];
    for (program, name) in cases {
        let error = pickle::from_bytes::<Value>(&program).unwrap_err();
        assert!(matches!(error, PickleError::Refused(_)) && error.to_string().contains(name), "{error}");
    }
    for opcode in [b'R', b'b', b'o', 0x81, 0x92, 0x82, b'P', b'Q', b'C', 0x8f, 0x97] {
        let error = pickle::from_bytes::<Value>(&[0x80, 4, b'N', b'N', opcode, b'.']).unwrap_err();
        assert!(matches!(error, PickleError::Refused(_)), "{opcode:#x}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn loops_and_explosions_end() {
    // A list that holds itself, and 64 lists of which each holds the one before it twice.
    let looped = b"\x80\x02]q\x00h\x00a.";
    assert!(pickle::from_bytes::<Value>(looped).unwrap_err().to_string().contains("nested"));
    let mut doubling = b"\x80\x02]".to_vec();
    for _ in 0..64 {
        doubling.extend(b"2\x86");
    }
    doubling.push(b'.');
    assert!(pickle::from_bytes::<Value>(&doubling).unwrap_err().to_string().contains("hold each other"));
    let deep: Vec<u8> = [vec![b']'; 100_000], vec![b'a'; 99_999], vec![b'.']].concat();
    assert!(pickle::from_bytes::<Value>(&deep).is_err());
    // Lengths that the file does not hold.
    for claim in
        [&b"X\xff\xff\xff\x7fab."[..], b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", b"\x8b\xff\xff\xff\xff1."]
    {
        assert!(matches!(pickle::from_bytes::<Value>(claim), Err(PickleError::Invalid { .. })));
    }
}

#[test]
fn written_pickles_are_those_of_the_format() {
    // Read back with `pickle.loads` of CPython 3.11.7: {'a': [1, -2.5, None, True, 'é', 1099511627776], 'b': {}}
    let value = json!({"a": [1, -2.5, null, true, "\u{e9}", 1_099_511_627_776_i64], "b": {}});
    let expected = b"\x80\x02}(X\x01\0\0\0a](J\x01\0\0\0G\xc0\x04\0\0\0\0\0\0N\x88X\x02\0\0\0\xc3\xa9\x8a\x08\0\0\0\0\0\x01\0\0eX\x01\0\0\0b}(uu.";
    assert_eq!(pickle::to_bytes(&value).unwrap(), expected);
    assert!(pickle::to_bytes(&json!(u64::MAX)).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refs(unc).p");
    pickle::write(&path, &value).unwrap();
    assert_eq!(pickle::read::<Value>(&path).unwrap(), value);
    let error = pickle::read::<Value>(&folder.path().join("none.p")).unwrap_err();
    assert!(error.to_string().contains("none.p"), "{error}");
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Reference {
    ref_id: i64,
    weight: f64,
    texts: Vec<String>,
    flag: Option<bool>,
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        references in prop::collection::vec(
            (any::<i64>(), -1e9..1e9, prop::collection::vec(".{0,12}", 0..4), any::<Option<bool>>()).prop_map(
                |(ref_id, weight, texts, flag)| Reference { ref_id, weight, texts, flag },
            ),
            0..6,
        )
    ) {
        let bytes = pickle::to_bytes(&references).unwrap();
        prop_assert_eq!(pickle::from_bytes::<Vec<Reference>>(&bytes).unwrap(), references);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _whatever = pickle::from_bytes::<Value>(&bytes);
    }
}
