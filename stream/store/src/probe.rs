//! Whether a store keeps its word: of many that create one object, exactly one succeeds.
//!
//! In:    a store, on start.
//! Out:   nothing, or what it did wrong.
//! Never: trusts a name: some stores that speak S3 take `If-None-Match` and ignore it.

use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// How many try at once.
const RIVALS: u8 = 8;

/// How a store failed the probe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// Two commits of one version would both succeed, and one would be lost.
    #[error("{0} of {RIVALS} conditional puts of one object succeeded, not exactly one")]
    NotExclusive(usize),
    /// What was put is not what is read.
    #[error("an object read back differs from what was put")]
    Differs,
    /// A plain request failed.
    #[error("{0}")]
    Failed(#[from] Error),
}

/// Puts one object many times at once under `PutMode::Create`, reads it and deletes it.
pub(crate) async fn create_is_exclusive(store: &dyn ObjectStore) -> Result<(), ProbeError> {
    let path = Path::from(format!("probe/{}", ulid::Ulid::new()));
    let outcomes = join_all((0..RIVALS).map(|rival| {
        let path = &path;
        async move {
            let payload = PutPayload::from(vec![rival; 64]);
            let once = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            (rival, store.put_opts(path, payload, once).await)
        }
    }))
    .await;
    let mut winners = Vec::new();
    let mut failure = None;
    for (rival, put) in outcomes {
        match put {
            Ok(_) => winners.push(rival),
            Err(Error::AlreadyExists { .. }) => {}
            Err(error) => failure = Some(error),
        }
    }
    // An outage is not a broken word.
    if let (true, Some(error)) = (winners.is_empty(), failure) {
        return Err(error.into());
    }
    let verdict = match winners[..] {
        [winner] => match store.get(&path).await?.bytes().await? {
            bytes if bytes[..] == [winner; 64] => Ok(()),
            _ => Err(ProbeError::Differs),
        },
        _ => Err(ProbeError::NotExclusive(winners.len())),
    };
    store.delete(&path).await?;
    verdict
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use async_trait::async_trait;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutResult, Result,
    };

    use super::*;

    /// A store that takes the condition and ignores it.
    #[derive(Debug)]
    struct Careless(InMemory);

    impl fmt::Display for Careless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Careless")
        }
    }

    #[async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(
            &self,
            location: &Path,
            payload: PutPayload,
            _: PutOptions,
        ) -> Result<PutResult> {
            self.0.put_opts(location, payload, PutOptions::default()).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(location, options).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(location, options).await
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_store_that_ignores_the_condition_is_found_out() {
        let error = create_is_exclusive(&Careless(InMemory::new())).await.unwrap_err();
        assert!(matches!(error, ProbeError::NotExclusive(8)), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_keeps_its_word_passes_and_is_left_clean() {
        let store = InMemory::new();
        create_is_exclusive(&store).await.unwrap();
        assert!(store.list_with_delimiter(None).await.unwrap().common_prefixes.is_empty());
    }
}
