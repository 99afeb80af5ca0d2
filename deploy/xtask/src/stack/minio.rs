//! MinIO on one folder; a folder inside it is a bucket, so the bucket needs no request.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::state::State;
use super::tools::Tools;

/// The bucket that tests share; each keeps to a prefix of its own.
pub const BUCKET: &str = "inzira";

pub fn prepare(home: &Path, state: &State, tools: &Tools) -> Result<Command> {
    let data = home.join("data");
    std::fs::create_dir_all(data.join(BUCKET)).context("making the bucket")?;
    let mut command = Command::new(tools.minio.as_deref().context("minio is missing")?);
    command
        .env("MINIO_ROOT_USER", &state.key_id)
        .env("MINIO_ROOT_PASSWORD", &state.key_secret)
        .env("MINIO_BROWSER", "off")
        .env("MINIO_UPDATE", "off")
        .arg("server")
        .arg(&data)
        .arg("--address")
        .arg(state.address("minio")?)
        .arg("--console-address")
        .arg(state.address("minio-console")?);
    Ok(command)
}
