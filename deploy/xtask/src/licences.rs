//! What we may depend on: licences, sources, one version of each heavy crate, one room for it.
//!
//! In:    `cargo metadata` and `.cargo/deny.toml`, in cargo-deny's own format.
//! Out:   silence, or every breach with its crate.
//! Never: needs the network, or a tool that takes longer to build than to use.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::shell::{cargo, output, root};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for our own crates.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    deny_multiple_versions: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: BTreeSet<String>,
}

/// Checks the whole dependency graph; an error lists every breach.
pub fn check() -> Result<()> {
    let file = root().join(".cargo/deny.toml");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let rules: Rules = toml::from_str(&text).context("reading .cargo/deny.toml")?;
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host()?]);
    let json = output(&mut command)?;
    let metadata: Metadata = serde_json::from_str(&json).context("reading cargo's metadata")?;
    let breaches = breaches(&metadata, &rules);
    if !breaches.is_empty() {
        bail!("{} breaches of .cargo/deny.toml:\n  {}", breaches.len(), breaches.join("\n  "));
    }
    println!("   {} packages, all within .cargo/deny.toml", metadata.packages.len());
    Ok(())
}

fn breaches(metadata: &Metadata, rules: &Rules) -> Vec<String> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        let Some(source) = &package.source else { continue };
        let (name, version) = (&package.name, &package.version);
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        if !rules.sources.allow_registry.contains(registry) {
            found.push(format!("{name} {version} comes from {source}"));
        }
        let exception = rules.licenses.exceptions.iter().find(|entry| entry.name == *name);
        let allowed = |licence: &str| {
            rules.licenses.allow.contains(licence)
                || exception.is_some_and(|entry| entry.allow.contains(licence))
        };
        match &package.license {
            Some(licence) if satisfied(licence, &allowed) => {}
            Some(licence) => found.push(format!("{name} {version} is licensed {licence}")),
            None => found.push(format!("{name} {version} names no licence")),
        }
    }
    let versions = versions(metadata);
    for ban in rules.bans.deny.iter().filter(|ban| ban.deny_multiple_versions) {
        if let Some(versions) = versions.get(ban.name.as_str()).filter(|found| found.len() > 1) {
            let versions: Vec<&str> = versions.iter().copied().collect();
            found.push(format!(
                "{} is there {} times: {}",
                ban.name,
                versions.len(),
                versions.join(", ")
            ));
        }
    }
    found
}

/// Versions by crate.
fn versions(metadata: &Metadata) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions
}

/// The platform we run on: what only others need is neither fetched nor judged.
fn host() -> Result<String> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc names no host")
}

/// Whether an SPDX expression can be met by what is allowed: one side of each OR, all of each AND.
fn satisfied(expression: &str, allowed: &impl Fn(&str) -> bool) -> bool {
    // An old spelling: a slash for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at, allowed);
        *at += 1;
        return met;
    }
    if words.get(*at) == Some(&"WITH") {
        let with = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed(&format!("{word} WITH {with}")) || allowed(word);
    }
    allowed(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_met_by_one_side_of_or_and_all_of_and() {
        let allowed = |licence: &str| ["MIT", "Apache-2.0", "Unicode-3.0"].contains(&licence);
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-2.0/MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "", "MIT MIT"]
        {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn a_foreign_source_a_bad_licence_and_a_doubled_crate_are_each_named() {
        let rules: Rules = toml::from_str(
            r#"
            [licenses]
            allow = ["MIT"]
            exceptions = [{ crate = "odd", allow = ["Odd-1.0"] }]
            [bans]
            deny = [{ crate = "arrow", deny-multiple-versions = true }]
            [sources]
            allow-registry = ["https://crates.io"]
            "#,
        )
        .unwrap();
        let package = |name: &str, version: &str, licence: &str, source: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(licence.to_owned()),
            source: Some(source.to_owned()),
        };
        let crates_io = "registry+https://crates.io";
        let good = vec![
            package("arrow", "59.0.0", "MIT", crates_io),
            package("odd", "1.0.0", "Odd-1.0", crates_io),
        ];
        assert!(breaches(&Metadata { packages: good }, &rules).is_empty());
        let bad = vec![
            package("arrow", "59.0.0", "MIT", crates_io),
            package("arrow", "58.0.0", "GPL-3.0", crates_io),
            package("fork", "1.0.0", "MIT", "git+https://example.org/fork"),
        ];
        assert_eq!(breaches(&Metadata { packages: bad }, &rules).len(), 3);
    }
}
