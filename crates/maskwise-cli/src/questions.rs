//! Where the questions of `segment` come from: an image, a folder, or JSON lines.

use anyhow::{Context, bail};
use maskwise::QUESTIONS_TOGETHER;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// Extensions of the formats that can be read.
const IMAGE_EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "tga", "ico", "jfif"];

/// Longest line of JSON that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// One question about one image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// Where the image lies.
    pub(crate) path: PathBuf,
    /// The image as the input named it.
    pub(crate) image: String,
    pub(crate) question: String,
    /// An answer for the model to read instead of writing one.
    pub(crate) answer: Option<String>,
    /// What the input called this item.
    pub(crate) id: Option<serde_json::Value>,
    /// How its files are called, without an extension.
    pub(crate) name: String,
}

/// The items of an input, as they come; an unreadable line is an error in its place.
pub(crate) struct Items {
    items: Peekable<Box<dyn Iterator<Item = anyhow::Result<Item>>>>,
    /// Whether this is a batch, whose results are JSON lines.
    pub(crate) batch: bool,
    /// Whether whoever writes the input may wait for an answer before the next item.
    waits: bool,
}

impl Items {
    /// `output` is not searched for images where it lies inside of a folder: the results of an earlier run are there.
    pub(crate) fn open(input: &Path, questions: &[String], output: &Path) -> anyhow::Result<Self> {
        if is_json_lines(input) && !input.is_dir() {
            if !questions.is_empty() {
                bail!("the questions are in {}; leave them out of the command", input.display());
            }
            // A pipe under a name is like standard input.
            let waits = input == Path::new("-") || !input.is_file();
            return Ok(Self { items: json_lines(input)?.peekable(), batch: true, waits });
        }
        if questions.is_empty() {
            bail!("no question: give one after the image, for example \"What could be used to cut paper?\"");
        }
        if input.is_dir() {
            let images = images_below(input, output)?;
            if images.is_empty() {
                bail!("no image in {}; looked for {}", input.display(), IMAGE_EXTENSIONS.join(", "));
            }
            let questions = questions.to_vec();
            let items = with_names(images, input)
                .into_iter()
                .flat_map(move |(path, name)| of_image(&path, &name, &questions));
            return Ok(Self::of(items, true));
        }
        let name = input.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self::of(of_image(input, &name, questions).into_iter(), false))
    }

    fn of(items: impl Iterator<Item = Item> + 'static, batch: bool) -> Self {
        let items: Box<dyn Iterator<Item = anyhow::Result<Item>>> = Box::new(items.map(Ok));
        Self { items: items.peekable(), batch, waits: false }
    }

    /// The next items that can be answered together: of one image, without answers of their own.
    pub(crate) fn next_group(&mut self) -> Option<anyhow::Result<Vec<Item>>> {
        let mut group = match self.items.next()? {
            Ok(first) => vec![first],
            Err(error) => return Some(Err(error)),
        };
        while !self.waits && group.len() < QUESTIONS_TOGETHER {
            let fits = |next: &anyhow::Result<Item>| {
                let first = &group[0];
                let next = next.as_ref().ok();
                next.is_some_and(|next| next.path == first.path && next.answer.is_none())
                    && first.answer.is_none()
            };
            let Some(Ok(next)) = self.items.next_if(fits) else { break };
            group.push(next);
        }
        Some(Ok(group))
    }
}

fn is_json_lines(input: &Path) -> bool {
    input == Path::new("-")
        || input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"))
}

/// Each image with the name of its files: its path below `root` without the extension, which stays where `a.jpg` and `a.png`
/// would share a name.
fn with_names(images: Vec<PathBuf>, root: &Path) -> Vec<(PathBuf, String)> {
    let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let whole_names: BTreeSet<PathBuf> = images.iter().map(|path| below(path)).collect();
    let mut shared = BTreeMap::new();
    for path in &images {
        *shared.entry(below(path).with_extension("")).or_insert(0) += 1;
    }
    let named = |path: PathBuf| {
        let (whole, stem) = (below(&path), below(&path).with_extension(""));
        // The whole name where the stem is shared, or is itself the whole name of another image.
        let is_taken = shared[&stem] > 1 || whole_names.contains(&stem);
        let name = if is_taken { whole } else { stem };
        (path, name.to_string_lossy().into_owned())
    };
    images.into_iter().map(named).collect()
}

/// One item for each question about the image at `path`, whose files begin with `name`.
fn of_image(path: &Path, name: &str, questions: &[String]) -> Vec<Item> {
    let several = questions.len() > 1;
    let item = |(index, question): (usize, &String)| Item {
        path: path.to_owned(),
        image: path.display().to_string(),
        question: question.clone(),
        answer: None,
        id: None,
        name: if several { format!("{name}_q{}", index + 1) } else { name.to_owned() },
    };
    questions.iter().enumerate().map(item).collect()
}

/// Images below a folder and outside of `output`, in order of their paths.
fn images_below(folder: &Path, output: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = output.canonicalize().ok();
    if output.is_some() && folder.canonicalize().ok() == output {
        bail!(
            "the results would land among the images of {}; choose another folder with -o",
            folder.display()
        );
    }
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            // A link to a folder is not followed: it may lead back up.
            if kind.is_dir() {
                if output.is_none() || path.canonicalize().ok() != output {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|extension| is_image_extension(&extension.to_string_lossy()))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_image_extension(extension: &str) -> bool {
    IMAGE_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
}

/// A line of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: PathBuf,
    question: String,
    #[serde(default)]
    answer: Option<String>,
    #[serde(default)]
    id: Option<serde_json::Value>,
}

fn json_lines(input: &Path) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Item>>>> {
    let standard_input = input == Path::new("-");
    let reader: Box<dyn BufRead> = if standard_input {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(
            File::open(input).with_context(|| format!("cannot open {}", input.display()))?,
        ))
    };
    let root =
        if standard_input { PathBuf::new() } else { input.parent().unwrap_or(Path::new("")).to_owned() };
    let source = if standard_input { "standard input".to_owned() } else { input.display().to_string() };
    let mut broken = false;
    let items = bounded_lines(reader).enumerate().map_while(move |line| {
        (!broken).then(|| {
            // After bytes that are no UTF-8 the next line follows; after any other error the same one would, for ever.
            broken = line.1.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::InvalidData);
            line
        })
    });
    let items = items.filter_map(move |(index, line)| {
        let number = index + 1;
        let line = match line {
            Ok(line) if line.trim().is_empty() => return None,
            Ok(line) => line,
            Err(error) => return Some(Err(error).with_context(|| format!("{source}, line {number}"))),
        };
        let parsed = serde_json::from_str::<Line>(&line).with_context(|| format!("{source}, line {number}"));
        Some(parsed.map(|line| {
            let stem = line.image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Item {
                path: root.join(&line.image),
                image: line.image.display().to_string(),
                question: line.question,
                answer: line.answer,
                id: line.id,
                name: format!("{number:06}_{stem}"),
            }
        }))
    });
    Ok(Box::new(items))
}

/// Lines of at most [`LONGEST_LINE`] bytes; a longer one is an error in its place, and its rest is passed over.
fn bounded_lines(mut reader: Box<dyn BufRead>) -> impl Iterator<Item = io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let invalid = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        match reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.len() as u64 > LONGEST_LINE && line.last() != Some(&b'\n') => {
                let passed = reader.skip_until(b'\n');
                Some(passed.and(invalid(format!("the line is longer than {LONGEST_LINE} bytes"))))
            }
            Ok(_) => Some(String::from_utf8(line).or_else(|error| invalid(error.to_string()))),
            Err(error) => Some(Err(error)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_walked_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["sub", "out"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["b.PNG", "a.jpg", "notes.txt", "sub/c.webp", "out/a_mask.png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let questions = ["x".into(), "y".into()];
        let items = Items::open(folder.path(), &questions, &folder.path().join("out")).unwrap();
        assert!(items.batch);
        assert_eq!(groups(items), [["a_q1", "a_q2"], ["b_q1", "b_q2"], ["sub/c_q1", "sub/c_q2"]]);
    }

    /// The names of the items that are answered together; of a defect what is said about it.
    fn groups(mut items: Items) -> Vec<Vec<String>> {
        let names = |group: anyhow::Result<Vec<Item>>| match group {
            Ok(items) => items.into_iter().map(|item| item.name).collect(),
            Err(error) => vec![format!("{error:#}")],
        };
        std::iter::from_fn(|| items.next_group()).map(names).collect()
    }

    #[test]
    fn not_too_many_questions_are_answered_together() {
        let questions: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let groups = groups(Items::open(Path::new("a.png"), &questions, Path::new("out")).unwrap());
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4]);
        let names: Vec<String> = (1..=20).map(|number| format!("a_q{number}")).collect();
        assert_eq!(groups.concat(), names);
    }

    #[test]
    fn lines_about_one_image_are_answered_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.jsonl");
        let line =
            |image: &str, more: &str| format!("{{\"image\": \"{image}\", \"question\": \"q\"{more}}}\n");
        let (plain, given) = (line("a.png", ""), line("a.png", ", \"answer\": \"x\""));
        let lines = [&plain, &plain, &given, &plain, &line("b.png", ""), "defect\n", &plain, &plain];
        std::fs::write(&path, lines.concat()).unwrap();
        let mut found = groups(Items::open(&path, &[], Path::new("out")).unwrap());
        assert!(found.remove(4)[0].contains("line 6"));
        let expected: [&[&str]; 5] = [
            &["000001_a", "000002_a"],
            &["000003_a"],
            &["000004_a"],
            &["000005_b"],
            &["000007_a", "000008_a"],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn images_that_differ_in_the_extension_alone_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jpg", "a.png", "a.jpg.png", "b.png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let items = Items::open(folder.path(), &["x".into()], Path::new("out")).unwrap();
        assert_eq!(groups(items), [["a.jpg"], ["a.jpg.png"], ["a.png"], ["b"]]);
    }

    #[test]
    fn json_lines_keep_their_numbers_and_report_defects_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.jsonl");
        std::fs::write(&path, "{\"image\": \"a.png\", \"question\": \"q\", \"id\": 7}\n\n{\"image\": 3}\n")
            .unwrap();
        let items: Vec<_> = Items::open(&path, &[], Path::new("out")).unwrap().items.collect();
        let first = items[0].as_ref().unwrap();
        assert_eq!(
            (first.name.as_str(), first.path.as_path()),
            ("000001_a", folder.path().join("a.png").as_path())
        );
        assert!(format!("{:#}", items[1].as_ref().unwrap_err()).contains("line 3"));
    }

    #[test]
    fn a_missing_question_is_named() {
        let open =
            |input: &str, questions: &[String]| Items::open(Path::new(input), questions, Path::new("out"));
        assert!(open("a.png", &[]).err().unwrap().to_string().contains("no question"));
        assert!(open("a.jsonl", &["q".into()]).err().unwrap().to_string().contains("leave them out"));
    }

    #[test]
    fn an_endless_line_is_an_error_in_its_place() {
        let text = format!("first\n{}\nlast", "x".repeat(LONGEST_LINE as usize + 5));
        let lines: Vec<_> = bounded_lines(Box::new(io::Cursor::new(text))).collect();
        assert_eq!(lines[0].as_ref().unwrap(), "first\n");
        assert!(lines[1].as_ref().unwrap_err().to_string().contains("longer"));
        assert_eq!(lines[2].as_ref().unwrap(), "last");
    }

    #[test]
    fn results_among_the_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "").unwrap();
        let error = Items::open(folder.path(), &["x".into()], folder.path()).err().unwrap();
        assert!(error.to_string().contains("choose another folder"));
    }
}
