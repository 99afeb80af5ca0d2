//! What every store of ours promises, as tests that each implementation passes.
//!
//! In:    a store and a prefix that is nobody else's.
//! Out:   a panic that says which promise does not hold.

use std::sync::Arc;

use futures::TryStreamExt;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

type Store = Arc<dyn ObjectStore>;

/// The whole suite.
pub(crate) async fn holds(store: Store, prefix: &str) {
    let at = |name: &str| Path::from(format!("{prefix}/{name}"));
    what_is_put_is_read_whole_and_in_part(&store, &at("read")).await;
    create_succeeds_once(&store, &at("deep/er/create")).await;
    of_many_creators_one_wins(&store, &at("rivals")).await;
    overwriting_replaces_the_whole(&store, &at("overwrite")).await;
    a_reader_of_the_old_object_keeps_it_whole(&store, &at("swap")).await;
    a_list_shows_what_is_below_its_prefix(&store, &at("list")).await;
    deleting_takes_away(&store, &at("delete")).await;
    copies_and_renames_arrive(&store, &at("copy")).await;
    a_large_object_comes_in_parts(&store, &at("large")).await;
    an_upload_that_is_given_up_shows_nothing(&store, &at("given-up")).await;
    hundreds_of_puts_at_once_all_arrive(&store, &at("many")).await;
}

async fn create(store: &Store, path: &Path, bytes: Vec<u8>) -> Result<(), Error> {
    let once = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(path, PutPayload::from(bytes), once).await.map(|_| ())
}

async fn read(store: &Store, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn names(store: &Store, prefix: &Path) -> Vec<String> {
    let found: Vec<_> = store.list(Some(prefix)).try_collect().await.unwrap();
    let mut names: Vec<String> = found.iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}

async fn what_is_put_is_read_whole_and_in_part(store: &Store, path: &Path) {
    let put = store.put(path, PutPayload::from(b"0123456789".to_vec())).await.unwrap();
    assert_eq!(read(store, path).await, b"0123456789");
    assert_eq!(&store.get_range(path, 2..5).await.unwrap()[..], b"234");
    let parts = store.get_ranges(path, &[0..1, 8..10]).await.unwrap();
    assert_eq!((&parts[0][..], &parts[1][..]), (&b"0"[..], &b"89"[..]));
    let head = store.head(path).await.unwrap();
    assert_eq!(head.size, 10);
    assert_eq!(head.e_tag, put.e_tag, "a put tells the tag that a reader will see");
    let nothing = Path::from(format!("{path}-not-there"));
    assert!(matches!(store.get(&nothing).await, Err(Error::NotFound { .. })));
    let empty = Path::from(format!("{path}-empty"));
    store.put(&empty, PutPayload::default()).await.unwrap();
    assert_eq!(store.head(&empty).await.unwrap().size, 0);
}

async fn create_succeeds_once(store: &Store, path: &Path) {
    create(store, path, b"first".to_vec()).await.unwrap();
    let second = create(store, path, b"second".to_vec()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(read(store, path).await, b"first");
}

async fn of_many_creators_one_wins(store: &Store, path: &Path) {
    let puts = join_all((0..20_u8).map(|rival| create(store, path, vec![rival; 1000]))).await;
    let winners: Vec<usize> = (0..20).filter(|rival| puts[*rival].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{puts:?}");
    let winner = u8::try_from(winners[0]).unwrap();
    assert_eq!(read(store, path).await, vec![winner; 1000]);
}

async fn overwriting_replaces_the_whole(store: &Store, path: &Path) {
    store.put(path, PutPayload::from(vec![1; 5000])).await.unwrap();
    store.put(path, PutPayload::from(b"short".to_vec())).await.unwrap();
    assert_eq!(read(store, path).await, b"short");
}

/// Readers and writers at once: each read is one of the versions, never a mixture.
async fn a_reader_of_the_old_object_keeps_it_whole(store: &Store, path: &Path) {
    store.put(path, PutPayload::from(vec![0; 200_000])).await.unwrap();
    let write = async {
        for version in 1..20_u8 {
            store.put(path, PutPayload::from(vec![version; 200_000])).await.unwrap();
        }
    };
    let look = async {
        for _ in 0..40 {
            let bytes = read(store, path).await;
            assert_eq!(bytes.len(), 200_000);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture of two versions");
        }
    };
    futures::join!(write, look);
}

async fn a_list_shows_what_is_below_its_prefix(store: &Store, prefix: &Path) {
    for name in ["a/1", "a/2", "a/b/3", "ab/4", "5"] {
        let path = Path::from(format!("{prefix}/{name}"));
        store.put(&path, PutPayload::from(b"x".to_vec())).await.unwrap();
    }
    let below = Path::from(format!("{prefix}/a"));
    let expected: Vec<String> = ["1", "2", "b/3"].map(|name| format!("{below}/{name}")).into();
    assert_eq!(names(store, &below).await, expected);
    assert_eq!(names(store, prefix).await.len(), 5);
    let level = store.list_with_delimiter(Some(prefix)).await.unwrap();
    assert_eq!((level.common_prefixes.len(), level.objects.len()), (2, 1));
    let after: Vec<_> = store
        .list_with_offset(Some(&below), &Path::from(format!("{below}/1")))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(after.len(), 2);
    assert!(names(store, &Path::from(format!("{prefix}/nothing"))).await.is_empty());
}

async fn deleting_takes_away(store: &Store, path: &Path) {
    store.put(path, PutPayload::from(b"x".to_vec())).await.unwrap();
    store.delete(path).await.unwrap();
    assert!(matches!(store.head(path).await, Err(Error::NotFound { .. })));
    create(store, path, b"again".to_vec()).await.unwrap();
    assert_eq!(read(store, path).await, b"again");
}

async fn copies_and_renames_arrive(store: &Store, path: &Path) {
    let (copy, moved) =
        (Path::from(format!("{path}-copy")), Path::from(format!("{path}-to/moved")));
    store.put(path, PutPayload::from(b"one".to_vec())).await.unwrap();
    store.copy(path, &copy).await.unwrap();
    store.put(path, PutPayload::from(b"two".to_vec())).await.unwrap();
    assert_eq!(read(store, &copy).await, b"one", "a copy is a thing of its own");
    store.rename(path, &moved).await.unwrap();
    assert_eq!(read(store, &moved).await, b"two");
    assert!(matches!(store.head(path).await, Err(Error::NotFound { .. })));
    let gone = store.copy(path, &copy).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

async fn a_large_object_comes_in_parts(store: &Store, path: &Path) {
    const PART: usize = 5 * 1024 * 1024;
    let mut upload = store.put_multipart(path).await.unwrap();
    let parts: Vec<_> =
        (0..4_u8).map(|n| upload.put_part(PutPayload::from(vec![n; PART]))).collect();
    let last = upload.put_part(PutPayload::from(vec![9; 17]));
    futures::future::try_join_all(parts).await.unwrap();
    last.await.unwrap();
    assert!(matches!(store.head(path).await, Err(Error::NotFound { .. })), "shown too early");
    upload.complete().await.unwrap();
    let bytes = read(store, path).await;
    assert_eq!(bytes.len(), 4 * PART + 17);
    for n in 0..4_u8 {
        let part = &bytes[usize::from(n) * PART..][..PART];
        assert!(part.iter().all(|byte| *byte == n), "part {n} is not in its place");
    }
    assert_eq!(bytes[4 * PART..], [9; 17]);
}

async fn an_upload_that_is_given_up_shows_nothing(store: &Store, path: &Path) {
    let mut upload = store.put_multipart(path).await.unwrap();
    upload.put_part(PutPayload::from(vec![1; 1000])).await.unwrap();
    upload.abort().await.unwrap();
    assert!(matches!(store.head(path).await, Err(Error::NotFound { .. })));
    drop(store.put_multipart(path).await.unwrap());
    assert!(names(store, path).await.is_empty());
}

async fn hundreds_of_puts_at_once_all_arrive(store: &Store, prefix: &Path) {
    let puts = join_all((0..200_u32).map(|n| {
        let path = Path::from(format!("{prefix}/{}/{n}", n % 7));
        async move { create(store, &path, n.to_le_bytes().to_vec()).await }
    }))
    .await;
    assert!(puts.iter().all(Result::is_ok), "{puts:?}");
    assert_eq!(names(store, prefix).await.len(), 200);
    store
        .delete_stream(store.list(Some(prefix)).map_ok(|object| object.location).boxed_all())
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert!(names(store, prefix).await.is_empty());
}

/// The stream as `delete_stream` takes it.
trait BoxedAll {
    fn boxed_all(self) -> futures::stream::BoxStream<'static, object_store::Result<Path>>;
}

impl<S> BoxedAll for S
where
    S: futures::Stream<Item = object_store::Result<Path>> + Send + 'static,
{
    fn boxed_all(self) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        Box::pin(self)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_keeps_the_contract() {
    let data = tempfile::tempdir().unwrap();
    let opened = crate::open("file:", data.path()).await.unwrap();
    holds(opened.store, "contract").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    let Ok(url) = std::env::var("INZIRA_TEST_S3") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "INZIRA_TEST_S3 is not set");
        println!("skipped: INZIRA_TEST_S3 is not set (cargo xtask stack up)");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let prefix = format!("store-contract-{}", ulid::Ulid::new());
    let within = url.replacen('?', &format!("/{prefix}?"), 1);
    let opened = crate::open(&within, data.path()).await.unwrap();
    assert!(opened.root.as_str().ends_with(&format!("/{prefix}/")), "{}", opened.root);
    holds(Arc::clone(&opened.store), "contract").await;
    let all: Vec<_> = opened.store.list(None).try_collect().await.unwrap();
    for object in all {
        opened.store.delete(&object.location).await.unwrap();
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_unavailable() {
    let Ok(url) = std::env::var("INZIRA_TEST_S3") else {
        println!("skipped: INZIRA_TEST_S3 is not set (cargo xtask stack up)");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let absent = url.replacen("s3://", "s3://not-there-", 1);
    let error = crate::open(&absent, data.path()).await.unwrap_err();
    assert!(matches!(error, crate::OpenError::Unavailable(_)), "{error}");
}
