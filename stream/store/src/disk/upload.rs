//! A put in parts: each written to its own place in a draft, published when all are there.
//!
//! In:    parts in order of their call, written in any order.
//! Out:   on `complete` the whole object, durable; on `abort` or drop nothing.
//! Never: completes with a part missing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::folder::{Draft, Folder, Placing};
use super::{failed, generic};

#[derive(Debug)]
pub(super) struct Upload {
    folder: Arc<Folder>,
    /// Gone once completed or aborted. Parts on their way hold it too.
    draft: Option<Arc<Draft>>,
    place: PathBuf,
    path: String,
    /// Bytes handed in so far: where the next part goes.
    handed_in: u64,
    /// Bytes that lie in the draft.
    written: Arc<AtomicU64>,
}

impl Upload {
    pub(super) fn new(folder: Arc<Folder>, draft: Draft, place: PathBuf, path: String) -> Self {
        let draft = Some(Arc::new(draft));
        Self { folder, draft, place, path, handed_in: 0, written: Arc::default() }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(draft) = self.draft.clone() else {
            let over = generic(format!("the upload of {} is over", self.path));
            return futures::future::ready(Err(over)).boxed();
        };
        let path = self.path.clone();
        let written = Arc::clone(&self.written);
        let mut offset = self.handed_in;
        self.handed_in += data.content_length() as u64;
        let work = tokio::task::spawn_blocking(move || {
            for chunk in &data {
                draft.write_at(chunk, offset).map_err(|error| failed(&path, error))?;
                offset += chunk.len() as u64;
            }
            written.fetch_add(data.content_length() as u64, Ordering::SeqCst);
            Ok(())
        });
        async move { work.await? }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let draft = self.draft.take();
        let draft = draft.ok_or_else(|| generic(format!("the upload of {} is over", self.path)))?;
        let written = self.written.load(Ordering::SeqCst);
        let whole = Arc::try_unwrap(draft).ok().filter(|_| written == self.handed_in);
        let Some(draft) = whole else {
            let (path, all) = (&self.path, self.handed_in);
            return Err(generic(format!("{path}: {written} of {all} bytes are written")));
        };
        let folder = Arc::clone(&self.folder);
        let (place, path) = (self.place.clone(), self.path.clone());
        let publish = move || draft.publish(&folder, &place, Placing::Replace);
        let tag = tokio::task::spawn_blocking(publish).await?.map_err(|e| failed(&path, e))?;
        Ok(PutResult { e_tag: Some(tag), version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        match self.draft.take() {
            Some(_) => Ok(()),
            None => Err(generic(format!("the upload of {} is over", self.path))),
        }
    }
}
