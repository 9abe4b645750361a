//! `chat` with a scripted person at its standard input.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Ran, files_below, maskwise, picture, run, text, tiny_read};
use std::path::Path;

fn chat(script: &str, output: &Path) -> Ran {
    let mut command = maskwise();
    command.arg("chat").arg(picture("shapes-a.png")).arg("-m").arg(tiny_read()).arg("-o").arg(output);
    run(command.write_stdin(script))
}

#[test]
fn a_conversation_about_two_images() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "Segment the blue circle.\n\nSegment the red triangle.\n/forget\nWhere is the red circle?\n/image {}\nSegment the yellow triangle.\n/quit\n\
         This is not asked.\n",
        text(&picture("shapes-b.png"))
    );
    let ran = chat(&script, folder.path());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let file = |name: &str| format!("  wrote {}", folder.path().join(name).display());
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[..3], ["It is [SEG] .", &file("shapes-a_1_mask.png"), &file("shapes-a_1_overlay.png")]);
    assert_eq!(lines[4..6], [file("shapes-a_2_mask.png"), file("shapes-a_2_overlay.png")], "with history");
    let refusal = ["There is no red circle in this image.", "  no mask: there is no [SEG] in the answer"];
    assert_eq!(lines[6..8], refusal, "after /forget as if asked first");
    assert_eq!(lines[8..], ["It is [SEG] .", &file("shapes-b_4_mask.png"), &file("shapes-b_4_overlay.png")]);
    assert_eq!(
        files_below(folder.path()),
        [
            "shapes-a_1_mask.png",
            "shapes-a_1_overlay.png",
            "shapes-a_2_mask.png",
            "shapes-a_2_overlay.png",
            "shapes-b_4_mask.png",
            "shapes-b_4_overlay.png"
        ]
    );
}

#[test]
fn nothing_that_is_typed_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let thin = folder.path().join("thin.png");
    image::RgbImage::new(1, 3000).save(&thin).unwrap();
    let long = "blue ".repeat(10_000);
    let script = format!(
        "Where is [SEG]?\n/image\n/image /nonexistent.png\n/image {}\n/image {}\n/colour blue\n{long}\nSegment the blue circle.\n",
        text(folder.path()),
        text(&thin)
    );
    let ran = chat(&script, &folder.path().join("out"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    for (line, word) in lines.iter().zip([
        "[SEG]",
        "/image",
        "/nonexistent.png",
        "not a regular file",
        "thin",
        "/colour",
        "2048",
    ]) {
        assert!(line.starts_with("error: ") && line.contains(word), "`{word}` is not in: {line}");
    }
    assert_eq!(lines[7], "It is [SEG] .", "the first image is still there");
}
