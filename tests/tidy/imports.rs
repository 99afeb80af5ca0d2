//! Who may import whom, and one heavy dependency to one room, read from each `Cargo.toml`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::none;
use crate::tree::{root, texts};

/// The seams: what they carry is known to everybody, how they do it to nobody.
const SEAMS: [&str; 3] = ["inzira-event-log", "inzira-live-bus", "inzira-store"];
const ROOMS: [&str; 6] = [
    "inzira-ingest",
    "inzira-flow",
    "inzira-fan-out",
    "inzira-archive",
    "inzira-query",
    "inzira-api",
];

/// Heavy dependencies, and the rooms that have them. Everyone else goes through the room.
const ONE_ROOM: [(&str, &[&str]); 10] = [
    ("rdkafka", &["inzira-event-log"]),
    ("timely", &["inzira-flow"]),
    ("redis", &["inzira-live-bus"]),
    ("object_store", &["inzira-store"]),
    ("deltalake-core", &["inzira-archive"]),
    ("datafusion", &["inzira-query"]),
    // The database of the service, and the embedded log, which is a database file.
    ("sqlx", &["inzira-api", "inzira-event-log"]),
    // Cells as values, cells of fixes, and cells in SQL.
    ("h3o", &["inzira-schemas", "inzira-flow", "inzira-query"]),
    // Those who write columns and those who read them.
    ("arrow", &["inzira-archive", "inzira-query"]),
    ("parquet", &["inzira-archive", "inzira-query"]),
];

/// Our own packages that a package may import; `None`: all of them.
fn allowed(package: &str) -> Option<Vec<&'static str>> {
    let mut may = Vec::new();
    match package {
        // The words import nobody; xtask must build in seconds.
        "inzira-schemas" | "xtask" => {}
        // The binary wires the rooms; tests look at all of them.
        "inzira" | "inzira-tests" => return None,
        // What stands outside speaks to us over the wire alone.
        "inzira-simulators" => may.push("inzira-schemas"),
        seam if SEAMS.contains(&seam) => may.push("inzira-schemas"),
        room if ROOMS.contains(&room) => {
            may.push("inzira-schemas");
            may.extend(SEAMS);
            if room == "inzira-query" {
                // The one exception: who reads the tables must know how they are laid out.
                may.push("inzira-archive");
            }
        }
        _ => {}
    }
    Some(may)
}

struct Manifest {
    file: String,
    package: String,
    content: Table,
}

fn manifests() -> Vec<Manifest> {
    texts()
        .into_iter()
        .filter(|(file, _)| file.ends_with("/Cargo.toml"))
        .map(|(file, text)| {
            let content: Table = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
            let package = content["package"]["name"].as_str().expect("a name").to_owned();
            Manifest { file, package, content }
        })
        .collect()
}

impl Manifest {
    /// Dependencies of one kind, by the name of their package.
    fn dependencies(&self, kind: &str) -> Vec<String> {
        let Some(table) = self.content.get(kind).and_then(Value::as_table) else {
            return Vec::new();
        };
        let renamed = |entry: &Value| Some(entry.get("package")?.as_str()?.to_owned());
        table.iter().map(|(name, entry)| renamed(entry).unwrap_or_else(|| name.clone())).collect()
    }
}

#[test]
fn rooms_do_not_import_each_other() {
    let mut breaches = Vec::new();
    for manifest in manifests() {
        let Some(may) = allowed(&manifest.package) else { continue };
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            // Tests of a room may stand before the simulated outside.
            let outside = kind == "dev-dependencies";
            for dependency in manifest.dependencies(kind) {
                let ours = dependency.starts_with("inzira-") || dependency == "inzira";
                let fine = may.contains(&dependency.as_str())
                    || (outside && dependency == "inzira-simulators");
                if ours && !fine {
                    breaches.push(format!("{}: {kind} has {dependency}", manifest.file));
                }
            }
        }
    }
    none(breaches, "rooms meet in schemas and at the seams, and deploy/inzira wires them");
}

#[test]
fn a_heavy_dependency_has_one_room() {
    let mut breaches = Vec::new();
    let rooms: BTreeMap<&str, &[&str]> = ONE_ROOM.into_iter().collect();
    for manifest in manifests() {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for dependency in manifest.dependencies(kind) {
                let Some(may) = rooms.get(dependency.as_str()) else { continue };
                if !may.contains(&manifest.package.as_str()) {
                    breaches.push(format!(
                        "{}: {dependency} belongs to {}",
                        manifest.file,
                        may.join(" and ")
                    ));
                }
            }
        }
    }
    none(breaches, "one heavy dependency, one room");
}

#[test]
fn every_package_is_a_member_and_takes_the_lints_of_the_house() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let workspace: Table = text.parse().unwrap();
    let members: Vec<&str> = workspace["workspace"]["members"]
        .as_array()
        .expect("a list of members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut breaches = Vec::new();
    for manifest in manifests() {
        let folder = manifest.file.trim_end_matches("/Cargo.toml");
        if !members.contains(&folder) {
            breaches.push(format!("{folder} is no member of the workspace"));
        }
        let lints = manifest.content.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(Value::as_bool) != Some(true) {
            breaches.push(format!("{}: no `[lints] workspace = true`", manifest.file));
        }
    }
    none(breaches, "one workspace, one set of lints");
}
