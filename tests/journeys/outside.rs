//! Other programs that look at what ours left behind.
//!
//! In:    a command, or the wish for DuckDB.
//! Out:   what it printed; a Python that has DuckDB with its extensions.
//! Keeps: a virtual environment in the target folder, made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// A Python that can `import duckdb`.
#[derive(Debug, Clone)]
pub struct DuckDb {
    /// The interpreter.
    pub python: PathBuf,
    /// Extension files to `INSTALL` and `LOAD`, in this order.
    pub extensions: Vec<String>,
}

/// DuckDB with its extensions, from `INZIRA_TEST_DUCKDB_PYTHON` or installed once from PyPI.
pub fn duckdb() -> anyhow::Result<DuckDb> {
    let given = std::env::var("INZIRA_TEST_DUCKDB_PYTHON").ok().map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/duckdb-venv");
    let venv = given
        .as_ref()
        .and_then(|python| python.ancestors().nth(2))
        .map_or_else(|| own.clone(), Path::to_path_buf);
    let python = venv.join("bin/python");
    if given.is_none() && !venv.join("ready").is_file() {
        eprintln!("making {} (once)", venv.display());
        said(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        said(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "duckdb==1.5.5",
            "duckdb-extension-delta==1.5.5",
            "duckdb-extension-httpfs==1.5.5",
        ]))?;
        std::fs::write(venv.join("ready"), "")?;
    }
    let found = said(Command::new("find").arg(&venv).args(["-name", "*.duckdb_extension"]))?;
    let mut extensions: Vec<String> = found.lines().map(str::to_owned).collect();
    extensions.sort_by_key(|path| path.contains("delta"));
    if extensions.is_empty() {
        bail!("no DuckDB extension below {}", venv.display());
    }
    Ok(DuckDb { python, extensions })
}

/// What a command prints; an error when it fails.
pub fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
