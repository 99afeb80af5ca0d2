//! The files of the checkout.

use std::path::{Path, PathBuf};

/// Made or fetched, in no commit: as `.gitignore` has it.
const NOT_OURS: [&str; 7] =
    [".git", ".shots", ".venv", "dist", "inzira-data", "node_modules", "target"];

/// The root of the checkout.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ lies in the checkout").to_path_buf()
}

/// Names at the top, without dot-files and what is made there.
pub fn top_level() -> Vec<String> {
    let entries = std::fs::read_dir(root()).expect("reading the checkout");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("reading the checkout").file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !NOT_OURS.contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

/// Every file of ours, as a path from the root, with its text; files that are not text are left
/// out.
pub fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("reading a folder") {
        let entry = entry.expect("reading a folder");
        let path = entry.path();
        if NOT_OURS.contains(&entry.file_name().to_string_lossy().as_ref()) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            found.push((name, text));
        }
    }
}
