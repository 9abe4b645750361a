//! Bad images, questions, settings and places: one clear line, exit code 2, no panic, and nothing half-written.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use assert_cmd::Command;
use common::{
    files_below, maskwise, photos, picture, refused, run, segment, settings, text, tiny_read, wait,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const QUESTION: &str = "Segment the blue circle.";

/// Asserts that `image` is refused, and that nothing was written.
#[track_caller]
fn refused_image(image: &Path, options: &[&str], words: &[&str]) {
    let output = tempfile::tempdir().unwrap();
    refused(segment(image, &[QUESTION], output.path()).args(options), words);
    assert_eq!(files_below(output.path()), [""; 0]);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

/// A PNG of 8-bit grey whose header tells this size; its data are those of no image.
fn png_with_size(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    for (kind, data) in
        [(b"IHDR", header), (b"IDAT", vec![0x78, 0x9c, 3, 0, 0, 0, 0, 1]), (b"IEND", Vec::new())]
    {
        png.extend((data.len() as u32).to_be_bytes());
        let checked = [&kind[..], &data].concat();
        png.extend(&checked);
        png.extend(crc32(&checked).to_be_bytes());
    }
    png
}

#[test]
fn images_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let whole = fs::read(picture("shapes-b.png")).unwrap();
    fs::write(path("short.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path("noise.jpg"), b"this is text with the name of a photograph").unwrap();
    fs::write(path("empty.png"), b"").unwrap();
    fs::write(path("flat.png"), png_with_size(0, 0)).unwrap();
    fs::write(path("thin.png"), png_with_size(7, 0)).unwrap();
    refused_image(&path("none.png"), &[], &["no such image", "none.png"]);
    refused_image(&path("short.png"), &[], &["short.png"]);
    refused_image(&path("noise.jpg"), &[], &["noise.jpg", "not a JPEG, PNG"]);
    refused_image(&path("empty.png"), &[], &["empty.png", "is empty"]);
    refused_image(&path("flat.png"), &[], &["flat.png"]);
    refused_image(&path("thin.png"), &[], &["thin.png"]);
    #[cfg(unix)]
    refused_image(Path::new("/dev/null"), &[], &["/dev/null", "not a regular file"]);
    fs::create_dir(path("no-images")).unwrap();
    refused_image(&path("no-images"), &[], &["no image in", "no-images"]);
}

#[test]
fn a_huge_header_is_refused_and_the_option_named() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("huge.png");
    fs::write(&image, png_with_size(60_000, 60_000)).unwrap();
    refused_image(&image, &[], &["60000x60000", "100000000", "--max-pixels"]);
    // With the cap out of the way the memory limit stands.
    refused_image(&image, &["--max-pixels", "4000000000"], &["huge.png", "memory"]);
    refused_image(
        &picture("shapes-a.png"),
        &["--max-pixels", "76799"],
        &["320x240", "76799", "--max-pixels"],
    );
}

/// Every hostile file is answered or refused, all in one process, whose memory is looked at before it ends.
#[test]
fn hostile_files_are_answered_or_refused() {
    let Some(photos) = photos() else { return };
    let hostile = photos.join("hostile");
    let names = files_below(&hostile);
    assert!(!names.is_empty(), "no file in {}", hostile.display());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_maskwise"));
    command.args(["segment", "-", "--no-files", "-m"]).arg(tiny_read());
    for (name, value) in settings() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.lines().for_each(|line| sender.send(line.unwrap()).unwrap()));
    // What the documentation of the decoder promises: these hold an image, the others do not.
    let decodes = |name: &str| name.contains("resize-with-alpha") || name.ends_with("webp_panic.webp");
    for name in &names {
        writeln!(input, "{}", json!({"id": name, "image": hostile.join(name), "question": QUESTION}))
            .unwrap();
        let line = receiver
            .recv_timeout(std::time::Duration::from_secs(30))
            .unwrap_or_else(|_| panic!("{name} hangs"));
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["id"], name.as_str());
        match record.get("error") {
            Some(error) => {
                assert!(error.as_str().unwrap().contains(name.as_str()) && !decodes(name), "{record}")
            }
            None => assert!(record["outcome"].is_string() && decodes(name), "{record}"),
        }
    }
    if let Ok(status) = fs::read_to_string(format!("/proc/{}/status", child.id())) {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kibibytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert!(kibibytes < 1 << 20, "{kibibytes} KiB");
    }
    drop(input);
    assert_eq!(wait(&mut child).code(), Some(2));
    let stderr = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(stderr, "", "a decoder's panic must not be seen");
}

#[test]
fn questions_that_cannot_be_asked() {
    let output = tempfile::tempdir().unwrap();
    let image = picture("shapes-a.png");
    let refuse = |question: &str, words: &[&str]| {
        refused(&mut segment(&image, &[question], output.path()), words);
        assert_eq!(files_below(output.path()), [""; 0]);
    };
    refuse("", &["question is empty"]);
    refuse(" \t\u{200b}", &["question is empty"]);
    refuse("Where is [SEG]?", &["[SEG]", "control token"]);
    refuse("<image> What is it?", &["<image>", "control token"]);
    refuse("<im_start>", &["<im_start>"]);
    refuse("the end</s>", &["</s>"]);
    refuse(&"blue ".repeat(3000), &["question", "2048", "shorten"]);
    refused(&mut segment(&image, &[], output.path()), &["no question"]);
    let mut several = segment(&image, &["", QUESTION], output.path());
    let ran = run(several.arg("--quiet"));
    assert_eq!((ran.code, ran.stdout.as_str()), (2, "It is [SEG] .\n"), "the other question is answered");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

#[test]
fn a_hundred_thousand_words() {
    let question = "blue circle ".repeat(50_000);
    let line = json!({"image": picture("shapes-a.png"), "question": question}).to_string();
    let ran = run(maskwise().args(["segment", "-", "--no-files", "-m"]).arg(tiny_read()).write_stdin(line));
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""));
    let error = ran.records()[0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("question") && error.contains("2048") && error.len() < 300, "{error}");
}

#[test]
fn input_that_is_no_list_of_questions() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let lines = folder.path().join("lines.jsonl");
    refused(&mut segment(&lines, &[], &output), &["cannot open", "lines.jsonl"]);
    fs::write(&lines, "").unwrap();
    refused(&mut segment(&lines, &[QUESTION], &output), &["lines.jsonl", "leave them out"]);
    fs::write(&lines, b"\xff\xfe\n{}\n").unwrap();
    let ran = run(&mut segment(&lines, &[], &output));
    assert_eq!((ran.code, ran.records().len()), (2, 2), "{ran:?}");
    // A folder with such a name is a folder.
    let folder = folder.path().join("folder.jsonl");
    fs::create_dir(&folder).unwrap();
    refused(&mut segment(&folder, &[QUESTION], &output), &["no image in"]);
    #[cfg(unix)]
    refused(&mut segment(&folder, &[], &output), &["no question"]);
}

#[test]
fn settings_that_do_not_exist() {
    let output = tempfile::tempdir().unwrap();
    let refuse = |options: &[&str], words: &[&str]| {
        refused(segment(&picture("shapes-a.png"), &[QUESTION], output.path()).args(options), words);
        assert_eq!(files_below(output.path()), [""; 0]);
    };
    refuse(&["--device", "gpu"], &["`gpu`", "cpu", "cuda:N", "metal"]);
    refuse(&["--device", "cuda:x"], &["`cuda:x`"]);
    refuse(&["--dtype", "f64"], &["`f64`", "f32", "bf16"]);
    refuse(&["--mode", "quick"], &["`quick`", "exact", "fast"]);
    refuse(&["--max-new-tokens", "0"], &["--max-new-tokens", "at least 1"]);
    refuse(&["--max-pixels", "many"], &["--max-pixels", "many"]);
    refuse(&["--points", "0"], &["num_points is 0"]);
    refuse(&["--t-pos", "1.5"], &["t_pos 1.5"]);
    refuse(&["--t-neg", "NaN"], &["t_neg NaN"]);
    refuse(&["--down-sample", "9"], &["down_sample 9"]);
    #[cfg(not(feature = "cuda"))]
    refuse(&["--device", "cuda:0"], &["cuda:0", "--features cuda"]);
    #[cfg(not(feature = "metal"))]
    refuse(&["--device", "metal"], &["metal", "--features metal"]);
    let ran = run(maskwise().args(["segment", "--no-such-option"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("--no-such-option"), "{ran:?}");
}

#[test]
fn an_output_folder_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    for output in [file.clone(), file.join("below")] {
        refused(
            &mut segment(&picture("shapes-a.png"), &[QUESTION], &output),
            &["cannot create the output folder", text(&output)],
        );
    }
    refused(maskwise().arg("convert").arg(tiny_read()).arg("-o").arg(file.join("below")), &[text(&file)]);
    refused(maskwise().arg("man").arg(file.join("below")), &[text(&file)]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A shell that does `first` and then becomes the program.
#[cfg(target_os = "linux")]
fn after(first: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{first} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_maskwise")])
        .args(arguments);
    for (name, value) in settings() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.timeout(std::time::Duration::from_secs(60));
    command
}

/// No name of a temporary file, and every picture whole.
#[cfg(target_os = "linux")]
fn assert_whole(folder: &Path) -> Vec<String> {
    let files = files_below(folder);
    for name in &files {
        assert!(name.ends_with(".png") && !name.starts_with('.'), "{files:?}");
        image::open(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    files
}

/// Files may not grow above a few kilobytes, and writing on is an error rather than a signal: the same place in the program as a
/// full disk, without the right to mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_grow() {
    let output = tempfile::tempdir().unwrap();
    let (image, model) = (picture("shapes-b.png"), tiny_read());
    let arguments = [
        "segment",
        text(&image),
        "Segment the yellow triangle.",
        "-m",
        text(&model),
        "-q",
        "-o",
        text(output.path()),
    ];
    // Blocks of 512 bytes (or 1024): enough for the mask, not for the overlay.
    let ran = refused(
        &mut after("trap '' XFSZ && ulimit -f 4", &arguments),
        &["cannot write", "shapes-b_overlay.png"],
    );
    assert!(!ran.stderr.contains("(os error 27): "), "told twice: {ran:?}");
    assert_eq!(assert_whole(output.path()), ["shapes-b_mask.png"]);
    let target = output.path().join("converted");
    let arguments = ["convert", text(&model), "-o", text(&target)];
    refused(&mut after("trap '' XFSZ && ulimit -f 4", &arguments), &["converted"]);
    assert_eq!(files_below(output.path()), ["shapes-b_mask.png"]);
}

/// A disk of 64 KiB that is nearly full, where this user may mount one in a namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=64k none '{0}' && head -c 61440 /dev/zero > '{0}/filler'",
        disk.display()
    );
    let unshare = |script: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("{mount} && {script}")]);
        command.arg(env!("CARGO_BIN_EXE_maskwise")).args(arguments);
        command.output()
    };
    if !unshare("true", &[]).is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount a file system");
        return;
    }
    let (image, model) = (picture("shapes-b.png"), tiny_read());
    let question = "Segment the yellow triangle.";
    let arguments =
        ["segment", text(&image), question, "-m", text(&model), "-q", "-o", text(&disk), "--save-all"];
    let script = format!("\"$0\" \"$@\"; code=$?; ls -A '{}'; exit $code", disk.display());
    let output = unshare(&script, &arguments).unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(2), "{stdout}{stderr}");
    assert!(stderr.starts_with("error: cannot write") && stderr.contains("no space left"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(!stdout.contains(".part") && !stdout.contains(".maskwise"), "{stdout}");
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_is_full_or_gone() {
    let (image, model) = (picture("shapes-a.png"), tiny_read());
    let arguments = ["segment", text(&image), QUESTION, "-m", text(&model), "--no-files", "--json"];
    refused(&mut after("exec > /dev/full", &arguments), &["No space left"]);
    // Whoever reads the output has read enough: no complaint.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "\"$0\" \"$@\" | true", env!("CARGO_BIN_EXE_maskwise")]).args(arguments);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn repositories_that_have_no_such_name() {
    for name in ["x", "a/b/c", "a/", "/b", "../b"] {
        refused(maskwise().args(["pull", name]), &[name, "ORG/NAME"]);
    }
    refused(maskwise().args(["pull", "a/b@"]), &["not a branch, tag or commit"]);
}

/// `chat` refuses before it asks anything.
#[test]
fn chat_needs_an_image_and_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let chat = |image: PathBuf, model: PathBuf| {
        let mut command = maskwise();
        command.arg("chat").arg(image).arg("-m").arg(model).arg("-o").arg(folder.path());
        command.write_stdin("Segment the blue circle.\n");
        command
    };
    refused(&mut chat("/nonexistent.png".into(), tiny_read()), &["cannot read image /nonexistent.png"]);
    refused(&mut chat(picture("shapes-a.png"), "/nonexistent".into()), &["not a model folder"]);
    assert_eq!(files_below(folder.path()), [""; 0]);
}
