//! The store in a folder: a put that answered survives a loss of power, whole.
//!
//! In:    bytes under a path.
//! Out:   a file that appears at once and complete: written and fsynced under a hidden name, then
//!        linked (create) or renamed (overwrite), then its folders fsynced, then answered.
//! Keeps: hidden files of puts on their way, under `.tmp`; a dead process's are swept at open.
//! Never: shows a file whose bytes are not durable; follows a failed fsync with a success.
//!
//! Reading, listing and deleting are the library's own, with `.tmp` kept out of sight.

mod folder;
mod upload;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result,
};

use folder::{Folder, Placing};
use upload::Upload;

/// The name under which errors know this store.
const STORE: &str = "disk";

/// A store in a folder of this machine.
#[derive(Debug, Clone)]
pub struct Disk {
    reader: LocalFileSystem,
    folder: Arc<Folder>,
}

impl Disk {
    /// Opens the folder, making it when it is missing, and sweeps what dead processes left.
    /// Waits for the disk: call it where blocking is allowed.
    pub fn open(root: &std::path::Path) -> io::Result<Self> {
        let folder = Folder::open(root)?;
        let reader = LocalFileSystem::new_with_prefix(folder.root()).map_err(io::Error::other)?;
        Ok(Self { reader, folder: Arc::new(folder) })
    }

    /// The folder, absolute.
    pub fn root(&self) -> &std::path::Path {
        self.folder.root()
    }

    /// Where an object lies. Paths below `.tmp` are nobody's.
    fn place(&self, location: &Path) -> Result<PathBuf> {
        if is_hidden(location) {
            return Err(generic(format!("the path {location} is the store's own")));
        }
        self.reader.path_to_filesystem(location)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || work(&folder)).await?
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({})", self.folder.root().display())
    }
}

#[async_trait]
impl ObjectStore for Disk {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let placing = match options.mode {
            PutMode::Create => Placing::Create,
            PutMode::Overwrite => Placing::Replace,
            PutMode::Update(_) => return Err(not_implemented("put_opts with PutMode::Update")),
        };
        if !options.attributes.is_empty() {
            return Err(not_implemented("put_opts with attributes"));
        }
        let place = self.place(location)?;
        let path = location.to_string();
        self.blocking(move |folder| {
            let mut draft = folder.draft().map_err(|error| failed(&path, error))?;
            for chunk in &payload {
                draft.append(chunk).map_err(|error| failed(&path, error))?;
            }
            let tag = draft.publish(folder, &place, placing).map_err(|e| failed(&path, e))?;
            Ok(PutResult { e_tag: Some(tag), version: None })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(not_implemented("put_multipart_opts with attributes"));
        }
        let place = self.place(location)?;
        let path = location.to_string();
        let draft =
            self.blocking(move |folder| folder.draft().map_err(|e| failed(&path, e))).await?;
        let path = location.to_string();
        Ok(Box::new(Upload::new(Arc::clone(&self.folder), draft, place, path)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if is_hidden(location) {
            let source = "the path is the store's own".into();
            return Err(Error::NotFound { path: location.to_string(), source });
        }
        self.reader.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let ours = |location: Result<Path>| match location {
            Ok(path) if is_hidden(&path) => {
                Err(generic(format!("the path {path} is the store's own")))
            }
            other => other,
        };
        self.reader.delete_stream(locations.map(ours).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.reader.list(prefix).filter(|found| std::future::ready(is_shown(found))).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.reader.list_with_offset(prefix, offset);
        all.filter(|found| std::future::ready(is_shown(found))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.reader.list_with_delimiter(prefix).await?;
        found.common_prefixes.retain(|prefix| !is_hidden(prefix));
        found.objects.retain(|object| !is_hidden(&object.location));
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let placing = match options.mode {
            CopyMode::Create => Placing::Create,
            CopyMode::Overwrite => Placing::Replace,
        };
        let (source, place) = (self.place(from)?, self.place(to)?);
        let (from, to) = (from.to_string(), to.to_string());
        self.blocking(move |folder| {
            let draft = folder.draft_of(&source).map_err(|error| missing(&from, error))?;
            draft.publish(folder, &place, placing).map_err(|error| failed(&to, error))?;
            Ok(())
        })
        .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Create => CopyMode::Create,
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
        };
        // Durable under the new name before the old one goes: a crash between leaves both.
        self.copy_opts(from, to, CopyOptions { mode, extensions: options.extensions }).await?;
        if from == to {
            return Ok(());
        }
        let source = self.place(from)?;
        let path = from.to_string();
        self.blocking(move |folder| folder.remove(&source).map_err(|e| failed(&path, e))).await
    }
}

fn is_hidden(location: &Path) -> bool {
    location.parts().next().is_some_and(|first| first.as_ref() == folder::HIDDEN)
}

fn is_shown(found: &Result<ObjectMeta>) -> bool {
    found.as_ref().map_or(true, |object| !is_hidden(&object.location))
}

fn generic(reason: String) -> Error {
    Error::Generic { store: STORE, source: reason.into() }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

/// What a failed write means to its caller.
fn failed(path: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::AlreadyExists { path: path.to_owned(), source: error.into() }
        }
        io::ErrorKind::PermissionDenied => {
            Error::PermissionDenied { path: path.to_owned(), source: error.into() }
        }
        _ => Error::Generic { store: STORE, source: format!("writing {path}: {error}").into() },
    }
}

/// As `failed`, where a missing file is the caller's own source.
fn missing(path: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return Error::NotFound { path: path.to_owned(), source: error.into() };
    }
    failed(path, error)
}
