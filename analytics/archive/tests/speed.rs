//! How fast rows become committed Parquet: run with `--release -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

mod common;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn records_to_committed_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::disk(folder.path()).await;
    let records = inzira_archive::bench::records(1_000_000);
    let measured = inzira_archive::bench::run(&records, &store).await.unwrap();
    println!("{measured}");
}
