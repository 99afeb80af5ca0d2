//! Chooses the store by its URL.
//!
//! In:    `INZIRA_STORE` and the folder of everything embedded.
//! Out:   an open store that has shown that it keeps its word, or why not.
//! Never: asks the cloud for keys: they come from the usual AWS variables or not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::disk::Disk;
use crate::probe;

/// The longest that one request may take, its retries not counted.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// The longest that a request is retried; then its error goes to the caller.
const RETRY_LIMIT: Duration = Duration::from_secs(30);
/// The longest that the start waits for a bucket to answer the probe.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Configuration: exit 78.
    #[error("{0}")]
    Config(String),
    /// It is not there, or does not keep its word on conditional puts.
    #[error("{0}")]
    Unavailable(String),
}

/// An open store and the address by which others (DuckDB, Polars) reach the same objects.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The store, rooted at the folder or bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Its root: `file:///…/` or `s3://bucket/`, prefix included.
    pub root: Url,
}

/// Opens the store that `url` names. `data` is the folder of everything embedded.
pub async fn open(url: &str, data: &Path) -> Result<Opened, OpenError> {
    if let Some(folder) = url.strip_prefix("file:") {
        let folder = match folder.strip_prefix("//").unwrap_or(folder) {
            "" => data.join("store"),
            absolute if absolute.starts_with('/') => absolute.into(),
            relative => return Err(config(format!("not an absolute folder: file:{relative}"))),
        };
        return tokio::task::spawn_blocking(move || open_disk(&folder))
            .await
            .map_err(|error| OpenError::Unavailable(error.to_string()))?;
    }
    if url.starts_with("s3://") {
        return open_s3(url).await;
    }
    Err(config(format!("not a store: {url:?}; use file: or s3://bucket?endpoint=…&region=…")))
}

fn open_disk(folder: &Path) -> Result<Opened, OpenError> {
    let disk = Disk::open(folder).map_err(|error| {
        OpenError::Unavailable(format!("the store's folder {}: {error}", folder.display()))
    })?;
    let root = Url::from_directory_path(disk.root())
        .map_err(|()| config(format!("no URL can name the folder {}", folder.display())))?;
    Ok(Opened { store: Arc::new(disk), root })
}

/// What an `s3://` URL says.
#[derive(Debug, PartialEq)]
struct Bucket {
    name: String,
    /// Without slashes at its ends; empty for the whole bucket.
    prefix: String,
    endpoint: Option<Url>,
    region: String,
}

fn parse_s3(text: &str) -> Result<Bucket, OpenError> {
    let url = Url::parse(text).map_err(|error| config(format!("not a URL: {text:?}: {error}")))?;
    let name = url.host_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(config(format!("names no bucket: {text:?}")));
    }
    let prefix = url.path().trim_matches('/').to_owned();
    let (mut endpoint, mut region) = (None, None);
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "endpoint" => {
                let found = Url::parse(&value)
                    .map_err(|error| config(format!("not an endpoint: {value:?}: {error}")))?;
                if !["http", "https"].contains(&found.scheme()) {
                    return Err(config(format!("not an http or https endpoint: {value:?}")));
                }
                endpoint = Some(found);
            }
            "region" => region = Some(value.into_owned()),
            other => return Err(config(format!("unknown option of a store: {other:?}"))),
        }
    }
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    Ok(Bucket { name, prefix, endpoint, region })
}

async fn open_s3(text: &str) -> Result<Opened, OpenError> {
    let bucket = parse_s3(text)?;
    let s3 = connect(&bucket)?;
    let prefix = &bucket.prefix;
    let store: Arc<dyn ObjectStore> = if prefix.is_empty() {
        Arc::new(s3)
    } else {
        Arc::new(PrefixStore::new(s3, prefix.as_str()))
    };
    let slash = if prefix.is_empty() { "" } else { "/" };
    let root = Url::parse(&format!("s3://{}/{prefix}{slash}", bucket.name))
        .map_err(|error| config(format!("not a URL: {text:?}: {error}")))?;
    match tokio::time::timeout(PROBE_LIMIT, probe::create_is_exclusive(store.as_ref())).await {
        Ok(Ok(())) => Ok(Opened { store, root }),
        Ok(Err(error)) => Err(OpenError::Unavailable(format!("the bucket {root}: {error}"))),
        Err(_) => Err(OpenError::Unavailable(format!(
            "the bucket {root} did not answer within {} s",
            PROBE_LIMIT.as_secs()
        ))),
    }
}

fn connect(bucket: &Bucket) -> Result<AmazonS3, OpenError> {
    let secret = |name: &str| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| config(format!("{name} is not set, and the store is on S3")))
    };
    let plain = bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http");
    let options = ClientOptions::new()
        .with_timeout(REQUEST_LIMIT)
        .with_connect_timeout(Duration::from_secs(5))
        .with_allow_http(plain);
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options)
        .with_retry(RetryConfig { retry_timeout: RETRY_LIMIT, ..RetryConfig::default() })
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_access_key_id(secret("AWS_ACCESS_KEY_ID")?)
        .with_secret_access_key(secret("AWS_SECRET_ACCESS_KEY")?);
    if let Ok(token) = std::env::var("AWS_SESSION_TOKEN") {
        builder = builder.with_token(token);
    }
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    builder.build().map_err(|error| config(format!("the bucket {}: {error}", bucket.name)))
}

fn config(reason: String) -> OpenError {
    OpenError::Config(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_made_and_its_address_is_absolute() {
        let data = tempfile::tempdir().unwrap();
        let opened = open("file:", data.path()).await.unwrap();
        let expected = data.path().canonicalize().unwrap().join("store");
        assert_eq!(opened.root, Url::from_directory_path(expected).unwrap());

        let folder = data.path().join("else where");
        for url in [format!("file:{}", folder.display()), format!("file://{}", folder.display())] {
            let opened = open(&url, data.path()).await.unwrap();
            assert!(opened.root.as_str().ends_with("/else%20where/"), "{}", opened.root);
        }
    }

    #[tokio::test]
    async fn what_is_not_a_store_is_a_fault_of_configuration() {
        let data = tempfile::tempdir().unwrap();
        for url in [
            "",
            "ftp://x",
            "file:relative/folder",
            "s3://",
            "s3://bucket?endpoint=127.0.0.1:9000",
            "s3://bucket?endpoint=ftp://x",
            "s3://bucket?colour=blue",
        ] {
            let error = open(url, data.path()).await.unwrap_err();
            assert!(matches!(error, OpenError::Config(_)), "{url}: {error}");
        }
    }

    #[test]
    fn a_bucket_may_be_entered_at_a_prefix() {
        let bucket = parse_s3("s3://b/some/where/?endpoint=http://127.0.0.1:1&region=r").unwrap();
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("b", "some/where"));
        assert_eq!(bucket.region, "r");
        assert_eq!(parse_s3("s3://b").unwrap().prefix, "");
    }
}
