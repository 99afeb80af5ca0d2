//! `inzira archive|audit|ledger verify`: checks what is kept, names the first bad thing, exit 1.

use anyhow::bail;
use clap::Subcommand;
use serde_json::json;

use crate::config::Config;
use crate::serve::{api_config, open_store};

/// What can be done with the archive.
#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// Reads every file of every table and compares its checksum, rows and sizes
    #[command(after_help = "Example:\n  inzira archive verify")]
    Verify,
}

/// What can be done with the audit chain.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Walks the hash chain and names the first entry that does not fit
    #[command(after_help = "Example:\n  inzira audit verify")]
    Verify,
}

/// What can be done with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Sums every posting: zero in each currency
    #[command(after_help = "Example:\n  inzira ledger verify")]
    Verify,
}

/// `inzira archive verify`.
pub async fn archive(config: &Config) -> anyhow::Result<()> {
    let report = inzira_archive::verify(&open_store(config).await?).await?;
    println!("{report}");
    if !report.is_whole() {
        bail!("the archive is damaged");
    }
    Ok(())
}

/// `inzira audit verify`.
pub async fn audit(config: &Config) -> anyhow::Result<()> {
    let report = inzira_api::verify_audit(&api_config(config)).await?;
    println!("audit entries={}", report.entries);
    match report.first_bad {
        Some((index, why)) => bail!("entry {index}: {why}"),
        None => Ok(()),
    }
}

/// `inzira ledger verify`.
pub async fn ledger(config: &Config) -> anyhow::Result<()> {
    let report = inzira_api::verify_ledger(&api_config(config)).await?;
    println!("ledger entries={} imbalance={}", report.entries, json!(report.imbalance_minor));
    match report.first_bad {
        Some(what) => bail!("{what}"),
        None => Ok(()),
    }
}
