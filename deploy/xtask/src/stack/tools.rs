//! What this machine has, what we can install on it, and what has to be skipped.
//!
//! In:    the path, the cache folder, root or not.
//! Out:   the programs to start; for each that is missing the one command that installs it.
//! Keeps: Kafka's jars, MinIO and the DuckDB reader in `~/.cache/inzira`, by version.
//! Never: installs outside the cache unless it is root, and then only Debian's packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell::{cache, find_tool, in_ci, is_root, run_logged, spell_time};

const KAFKA: &str = "4.1.0";
/// Release tags do not resolve by name; this pseudo-version is the newest commit.
const MINIO: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";
const DUCKDB: &str = "1.5.5";
const FETCH_LIMIT: Duration = Duration::from_secs(900);

/// The programs of the stack, as found.
#[derive(Default)]
pub struct Tools {
    pub java: Option<PathBuf>,
    pub kafka_libs: Option<PathBuf>,
    pub minio: Option<PathBuf>,
    /// The folder of `initdb` and `postgres`.
    pub postgres: Option<PathBuf>,
    pub redis: Option<PathBuf>,
    chromium: Option<PathBuf>,
    psql: Option<PathBuf>,
    strace: Option<PathBuf>,
    duckdb_python: Option<PathBuf>,
    /// (what, why and how to get it)
    skipped: Vec<(&'static str, String)>,
}

/// (our name, the program that shows it is there, Debian's package)
const PACKAGES: [(&str, &str, &str); 7] = [
    ("redis", "redis-server", "redis-server"),
    ("postgres", "initdb", "postgresql"),
    ("psql", "psql", "postgresql-client"),
    ("chromium", "chromium", "chromium"),
    ("strace", "strace", "strace"),
    ("java", "java", "default-jre-headless"),
    ("maven", "mvn", "maven"),
];

impl Tools {
    /// Finds everything, installs what it can, and says at the top what is to be skipped.
    pub fn prepare(stack: &Path) -> Result<Self> {
        let cache = cache()?;
        let mut tools = Self::default();
        let kafka_libs = cache.join(format!("kafka-{KAFKA}"));
        let minio = cache.join(format!("minio-{MINIO}"));
        let missing: Vec<_> = PACKAGES
            .into_iter()
            .filter(|(name, program, _)| {
                find_program(program).is_none() && !(*name == "maven" && kafka_libs.exists())
            })
            .collect();
        tools.install_packages(&missing, stack);
        tools.find();
        tools.kafka_libs = tools.fetch_kafka(&kafka_libs, stack);
        tools.minio = tools.build_minio(&minio, stack);
        tools.duckdb_python = tools.fetch_duckdb(&cache.join(format!("duckdb-{DUCKDB}")), stack);
        tools.say();
        Ok(tools)
    }

    /// Why a service cannot run here; `None` when it can.
    pub fn missing_for(&self, service: &str) -> Option<String> {
        let needs: &[&str] = match service {
            "kafka" => &["java", "kafka"],
            other => &[other],
        };
        let skip = self.skipped.iter().find(|(what, _)| needs.contains(what));
        skip.map(|(_, reason)| reason.clone())
    }

    pub fn skips_anything(&self) -> bool {
        !self.skipped.is_empty()
    }

    /// Programs that tests use besides the services.
    pub fn for_tests(&self) -> Vec<(&'static str, &Path)> {
        let all = [
            ("INZIRA_TEST_CHROMIUM", &self.chromium),
            ("INZIRA_TEST_PSQL", &self.psql),
            ("INZIRA_TEST_STRACE", &self.strace),
            ("INZIRA_TEST_DUCKDB_PYTHON", &self.duckdb_python),
        ];
        all.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?))).collect()
    }

    fn install_packages(&mut self, missing: &[(&'static str, &str, &str)], stack: &Path) {
        if missing.is_empty() {
            return;
        }
        let packages: Vec<&str> = missing.iter().map(|(_, _, package)| *package).collect();
        let by_hand = format!("apt-get update && apt-get install {}", packages.join(" "));
        let why_not = if !is_root() {
            Some("needs root".to_owned())
        } else if find_tool("apt-get").is_none() {
            Some("no apt-get here".to_owned())
        } else {
            let work = || apt_install(&packages, &stack.join("apt.log"));
            with_word(&format!("installing {}", packages.join(", ")), work).err()
        };
        for (name, program, _) in missing {
            if let (Some(why), None) = (&why_not, find_program(program)) {
                self.skipped.push((name, format!("no {program} ({why}): `{by_hand}`")));
            }
        }
    }

    fn find(&mut self) {
        self.java = find_tool("java");
        self.redis = find_tool("redis-server");
        self.postgres = find_program("initdb").and_then(|file| Some(file.parent()?.to_path_buf()));
        self.chromium = find_tool("chromium");
        self.psql = find_tool("psql");
        self.strace = find_tool("strace");
    }

    fn fetch_kafka(&mut self, libs: &Path, stack: &Path) -> Option<PathBuf> {
        if libs.exists() {
            return Some(libs.to_path_buf());
        }
        let Some(maven) = find_tool("mvn") else {
            let reason = "no mvn to fetch its jars: `apt-get install maven`".to_owned();
            self.skipped.push(("kafka", reason));
            return None;
        };
        let work = || maven_fetch(&maven, libs, &stack.join("maven.log"));
        self.keep("kafka", with_word(&format!("fetching Kafka {KAFKA} with Maven"), work), libs)
    }

    fn build_minio(&mut self, binary: &Path, stack: &Path) -> Option<PathBuf> {
        if binary.exists() {
            return Some(binary.to_path_buf());
        }
        let Some(go) = find_tool("go") else {
            let reason = "no Go to build it: install Go 1.24 or newer from go.dev/dl".to_owned();
            self.skipped.push(("minio", reason));
            return None;
        };
        let work = || go_install(&go, binary, &stack.join("minio-build.log"));
        self.keep(
            "minio",
            with_word("building MinIO with Go (once, about 3 minutes)", work),
            binary,
        )
    }

    /// DuckDB with its Delta and S3 extensions: the independent reader of our tables.
    fn fetch_duckdb(&mut self, folder: &Path, stack: &Path) -> Option<PathBuf> {
        let python = folder.join("bin/python");
        if python.exists() {
            return Some(python);
        }
        let Some(system) = find_tool("python3") else {
            let reason = "no python3 for it: `apt-get install python3-venv`".to_owned();
            self.skipped.push(("duckdb", reason));
            return None;
        };
        let work = || pip_install(&system, folder, &stack.join("duckdb.log"));
        let done = with_word(&format!("fetching DuckDB {DUCKDB}"), work);
        self.keep("duckdb", done, &python)
    }

    fn keep(
        &mut self,
        what: &'static str,
        done: Result<(), String>,
        path: &Path,
    ) -> Option<PathBuf> {
        match done {
            Ok(()) => Some(path.to_path_buf()),
            Err(why) => {
                self.skipped.push((what, why));
                None
            }
        }
    }

    fn say(&self) {
        let skipped = |name: &str| self.skipped.iter().any(|(what, _)| *what == name);
        let names =
            ["java", "kafka", "minio", "postgres", "redis", "psql", "chromium", "strace", "duckdb"];
        let found: Vec<&str> = names.into_iter().filter(|name| !skipped(name)).collect();
        println!("  found     {}", found.join(", "));
        let word = if in_ci() { "MISSING" } else { "skipping" };
        for (what, reason) in &self.skipped {
            println!("  {word:<9} {what}: {reason}");
        }
    }
}

/// A program on the path or, for Postgres, in the newest of Debian's folders.
fn find_program(name: &str) -> Option<PathBuf> {
    if let Some(found) = find_tool(name) {
        // Postgres finds its other parts beside itself: follow links.
        return found.canonicalize().ok().filter(|_| name == "initdb").or(Some(found));
    }
    if name != "initdb" {
        return None;
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()?;
    let file = PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin/initdb"));
    file.exists().then_some(file)
}

/// Says what is being done, then how long it took.
fn with_word(what: &str, work: impl FnOnce() -> Result<()>) -> Result<(), String> {
    println!("  setup     {what} …");
    let begun = Instant::now();
    let outcome = work().map_err(|error| format!("{error:#}"));
    let word = if outcome.is_ok() { "done" } else { "FAILED" };
    println!("  setup     {word} after {}", spell_time(begun.elapsed()));
    outcome
}

fn apt_install(packages: &[&str], log: &Path) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        // Debian starts a service on installing it; at run level 1 it does not.
        command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        command
    };
    run_logged(apt().arg("update"), log, FETCH_LIMIT)?;
    let mut install = apt();
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run_logged(&mut install, log, FETCH_LIMIT)
}

fn maven_fetch(maven: &Path, libs: &Path, log: &Path) -> Result<()> {
    let work = libs.with_extension("new");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work)?;
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>"
        )
    };
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>inzira</groupId>\
         <artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{}{}</dependencies></project>\n",
        dependency("org.apache.kafka", "kafka_2.13", KAFKA),
        dependency("org.slf4j", "slf4j-simple", "1.7.36"),
    );
    std::fs::write(work.join("pom.xml"), pom)?;
    let mut command = Command::new(maven);
    command
        .current_dir(&work)
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg("-DoutputDirectory=libs");
    run_logged(&mut command, log, FETCH_LIMIT)?;
    std::fs::rename(work.join("libs"), libs).context("keeping the jars")?;
    std::fs::remove_dir_all(&work).context("tidying up")
}

fn go_install(go: &Path, binary: &Path, log: &Path) -> Result<()> {
    let work = binary.with_extension("new");
    std::fs::create_dir_all(&work)?;
    let mut command = Command::new(go);
    command
        .env("GOBIN", &work)
        .args(["install", "-ldflags", "-s -w"])
        .arg(format!("github.com/minio/minio@{MINIO}"));
    run_logged(&mut command, log, FETCH_LIMIT)?;
    std::fs::rename(work.join("minio"), binary).context("keeping the binary")?;
    std::fs::remove_dir(&work).context("tidying up")
}

fn pip_install(python: &Path, folder: &Path, log: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    let outcome = (|| {
        run_logged(Command::new(python).args(["-m", "venv"]).arg(folder), log, FETCH_LIMIT)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("duckdb=={DUCKDB}"))
            .arg(format!("duckdb-extension-delta=={DUCKDB}"))
            .arg(format!("duckdb-extension-httpfs=={DUCKDB}"));
        run_logged(&mut pip, log, FETCH_LIMIT)
    })();
    if outcome.is_err() {
        // A folder that is half full must not pass for a whole one next time.
        let _ = std::fs::remove_dir_all(folder);
    }
    outcome
}
