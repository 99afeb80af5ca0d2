//! What a file looks like: a contract at its top, a size one can read, words of its own world.

use crate::none;
use crate::tree::texts;

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, each with its reason. Files of tests alone may be.
const LONG_FILES: [(&str, &str); 0] = [];

/// Functions that may be longer, by file and name, each with its reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 1] = [(
    "stream/flow/src/engine/start.rs",
    "start",
    "wires every thread and task of the flow: the order in which they begin is its meaning",
)];

/// Rust sources of ours with their text.
fn rust() -> Vec<(String, String)> {
    texts().into_iter().filter(|(file, _)| file.ends_with(".rs")).collect()
}

/// Whether a file holds nothing but tests, by its name or folder.
fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/") || file.contains(".test.")
}

#[test]
fn every_rust_file_opens_with_its_contract() {
    let breaches = rust()
        .into_iter()
        .filter(|(_, text)| {
            let first = text.lines().next().unwrap_or_default();
            !first.starts_with("//! ") || first.len() < "//! A word.".len()
        })
        .map(|(file, _)| file)
        .collect();
    none(breaches, "the first line says what the file is for: `//! …`");
}

#[test]
fn no_rust_file_is_longer_than_one_can_read() {
    let breaches = rust()
        .into_iter()
        .filter(|(file, _)| !is_tests(file))
        .filter(|(file, _)| !LONG_FILES.iter().any(|(exception, _)| exception == file))
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    none(breaches, "at most 500 lines a file, tests apart in x/tests.rs");
}

#[test]
fn no_source_of_the_pages_is_longer_than_one_can_read() {
    let kinds = [".ts", ".tsx", ".css", ".html", ".js", ".mjs"];
    let breaches = texts()
        .into_iter()
        .filter(|(file, _)| file.starts_with("api/web/") && !is_tests(file))
        .filter(|(file, _)| kinds.iter().any(|kind| file.ends_with(kind)))
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    none(breaches, "at most 500 lines a file");
}

#[test]
fn no_exception_outlives_its_reason() {
    let files = rust();
    let breaches = LONG_FILES
        .iter()
        .filter(|(exception, _)| {
            let lines = files.iter().find(|(file, _)| file == exception);
            lines.is_none_or(|(_, text)| text.lines().count() <= LINES_MAX)
        })
        .map(|(exception, reason)| format!("{exception} ({reason})"))
        .collect();
    none(breaches, "an exception that is not needed any more goes");
}

#[test]
fn no_function_is_longer_than_one_can_hold() {
    let mut breaches = Vec::new();
    for (file, text) in rust().iter().filter(|(file, _)| !is_tests(file)) {
        for (name, lines) in functions(text) {
            let excused = LONG_FUNCTIONS
                .iter()
                .any(|(in_file, of_name, _)| in_file == file && *of_name == name);
            if lines > FUNCTION_LINES_MAX && !excused {
                breaches.push(format!("{file}: {name} has {lines} lines"));
            }
        }
    }
    none(breaches, "at most 70 lines a function");
}

/// Functions and their lines. Formatted code closes a function at the indentation it began at.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(name) = function_name(code) else { continue };
        if code.ends_with('}') {
            found.push((name.to_owned(), 1));
            continue;
        }
        let same_indent = &line[..line.len() - code.len()];
        let mut below = lines[number..].iter().filter_map(|later| {
            later.strip_prefix(same_indent).filter(|rest| !rest.starts_with(' '))
        });
        // A signature in a trait ends with a semicolon and has no body.
        let closing = below.find(|rest| rest.starts_with('}') || rest.ends_with(';'));
        if closing.is_some_and(|rest| rest.starts_with('}')) {
            let close = format!("{same_indent}}}");
            let end = lines[number..].iter().position(|later| later.starts_with(&close));
            found.push((name.to_owned(), end.unwrap_or_default() + 1));
        }
    }
    found
}

fn function_name(code: &str) -> Option<&str> {
    let words = ["pub ", "pub(crate) ", "pub(super) ", "async ", "const ", "unsafe "];
    let mut rest = code;
    while let Some(shorter) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

#[test]
fn the_project_speaks_of_itself_alone() {
    // Built from halves, so that this file does not name them itself.
    let phrases = [concat!("/wo", "rk/"), concat!("the br", "ief says"), concat!("brief", ".md")];
    let mut breaches = Vec::new();
    for (file, text) in texts() {
        if file.ends_with(".lock") || file.ends_with("package-lock.json") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let low = line.to_lowercase();
            if phrases.iter().any(|phrase| low.contains(phrase)) || names_a_ticket(&low) {
                breaches.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(breaches, "no words of the workshop in the tree");
}

/// The word and a number: where a thing was asked for means nothing to who reads it later.
fn names_a_ticket(line: &str) -> bool {
    line.match_indices(concat!("iss", "ue ")).any(|(at, word)| {
        let rest = line[at + word.len()..].trim_start_matches('#');
        let starts_a_word = !line[..at].ends_with(|before: char| before.is_alphanumeric());
        starts_a_word && rest.starts_with(|first: char| first.is_ascii_digit())
    })
}

#[test]
fn functions_are_measured_and_tickets_recognised() {
    let text = "impl X {
    pub(crate) async fn a<T>(
        b: T,
    ) -> C {
        d();
    }

    fn e(self) {}
    fn of_a_trait(&self);
    fn of_a_trait_too(
        &self,
    ) -> u8;

    fn f<T>()
    where
        T: C,
    {
    }
}
";
    let expected = [("a", 5), ("e", 1), ("f", 5)];
    assert_eq!(functions(text), expected.map(|(name, lines)| (name.to_owned(), lines)));
    assert!(names_a_ticket(concat!("see iss", "ue 3 for more")));
    assert!(!names_a_ticket(concat!("the iss", "ue of 3 receipts")));
    assert!(!names_a_ticket(concat!("a tiss", "ue 3 mm thick")));
}
