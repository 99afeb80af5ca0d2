//! What the disk promises beyond the contract: kills, hidden files, the order of system calls.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::*;

const CHILD: &str = "INZIRA_STORE_TEST_CHILD";

fn disk() -> (tempfile::TempDir, Disk) {
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::open(&data.path().join("store")).unwrap();
    (data, disk)
}

async fn all(disk: &Disk) -> Vec<ObjectMeta> {
    disk.list(None).try_collect().await.unwrap()
}

#[tokio::test]
async fn files_on_their_way_are_out_of_sight_and_out_of_reach() {
    let (_data, disk) = disk();
    let path = Path::from("a/b");
    let mut upload = disk.put_multipart(&path).await.unwrap();
    upload.put_part(PutPayload::from(vec![1; 10])).await.unwrap();
    let session = std::fs::read_dir(disk.root().join(".tmp")).unwrap().flatten();
    let session = session.map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
    let draft = session.join("0");
    assert_eq!(std::fs::read(&draft).unwrap(), [1; 10], "the draft lies where we think");

    assert!(all(&disk).await.is_empty());
    let level = disk.list_with_delimiter(None).await.unwrap();
    assert!(level.common_prefixes.is_empty() && level.objects.is_empty());
    let name = session.file_name().unwrap().to_str().unwrap();
    let inside = Path::from(format!(".tmp/{name}/0"));
    assert!(matches!(disk.get(&inside).await, Err(Error::NotFound { .. })));
    assert!(disk.put(&inside, PutPayload::default()).await.is_err());
    assert!(disk.delete(&inside).await.is_err());

    drop(upload);
    assert!(!draft.exists(), "an upload that was dropped leaves nothing");
}

#[tokio::test]
async fn an_upload_with_a_part_still_to_come_does_not_complete() {
    let (_data, disk) = disk();
    let path = Path::from("a");
    let mut upload = disk.put_multipart(&path).await.unwrap();
    let part = upload.put_part(PutPayload::from(vec![1; 50_000_000]));
    let early = upload.complete().await;
    assert!(early.is_err(), "completed before its part was written");
    part.await.unwrap();
    assert!(upload.put_part(PutPayload::default()).await.is_err());
    assert!(all(&disk).await.is_empty());
}

#[tokio::test]
async fn an_object_in_the_way_of_a_folder_is_not_taken_for_the_object_itself() {
    let (_data, disk) = disk();
    disk.put(&Path::from("a"), PutPayload::default()).await.unwrap();
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let error = disk.put_opts(&Path::from("a/b"), PutPayload::default(), create).await.unwrap_err();
    assert!(matches!(error, Error::Generic { .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_living_process_is_writing_is_not_swept() {
    let (data, first) = disk();
    let path = Path::from("a");
    let mut upload = first.put_multipart(&path).await.unwrap();
    let second = Disk::open(&data.path().join("store")).unwrap();
    second.put(&Path::from("b"), PutPayload::from(b"b".to_vec())).await.unwrap();
    upload.put_part(PutPayload::from(b"a".to_vec())).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(all(&second).await.len(), 2);
}

#[tokio::test]
async fn a_store_that_may_only_be_read_can_be_read() {
    let (data, disk) = disk();
    disk.put(&Path::from("a"), PutPayload::from(b"a".to_vec())).await.unwrap();
    let reader = Disk::open(&data.path().join("store")).unwrap();
    assert_eq!(all(&reader).await.len(), 1);
    drop(disk);
    let hidden = reader.root().join(".tmp");
    let sessions = std::fs::read_dir(hidden).unwrap().flatten().filter(|e| e.path().is_dir());
    assert_eq!(sessions.count(), 0, "a reader makes no session, a closed writer leaves none");
}

/// Not a test: what the tests below run in a process of its own, to kill or to trace it.
/// Puts objects for ever, each filled with one byte, by both ways.
#[tokio::test]
async fn child_that_puts_without_end() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let once = std::env::var("INZIRA_STORE_TEST_ONCE").is_ok();
    let disk = Disk::open(std::path::Path::new(&folder)).unwrap();
    for n in 0_u64.. {
        let fill = u8::try_from(n % 251).unwrap();
        let path = Path::from(format!("{n:03}/{}", ulid::Ulid::new()));
        let whole = PutPayload::from(vec![fill; 1_000_000]);
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        disk.put_opts(&path, whole, create).await.unwrap();
        println!("put {path}");
        let mut upload = disk.put_multipart(&Path::from(format!("{path}-parts"))).await.unwrap();
        for _ in 0..4 {
            upload.put_part(PutPayload::from(vec![fill; 500_000])).await.unwrap();
        }
        upload.complete().await.unwrap();
        println!("put {path}-parts");
        if once {
            return;
        }
    }
}

fn child(program: &std::path::Path, folder: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.env(CHILD, folder).stderr(Stdio::null());
    command
}

const CHILD_ARGS: [&str; 3] =
    ["--exact", "disk::tests::child_that_puts_without_end", "--nocapture"];

#[tokio::test]
async fn killed_in_the_middle_of_a_put_it_leaves_whole_objects_and_no_trace() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("store");
    let program = std::env::current_exe().unwrap();
    let mut answered = 0;
    let mut swept = false;
    for round in 0..12_u64 {
        let mut process =
            child(&program, &folder).args(CHILD_ARGS).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 37 * (round % 5)));
        process.kill().unwrap();
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // The harness puts its own words before the first line of the child.
        let said: Vec<&str> =
            said.lines().filter_map(|l| l.rsplit_once("put ")).map(|p| p.1).collect();
        swept |= std::fs::read_dir(folder.join(".tmp"))
            .is_ok_and(|all| all.flatten().any(|entry| entry.path().is_dir()));

        let disk = Disk::open(&folder).unwrap();
        let leftovers = std::fs::read_dir(folder.join(".tmp"));
        let leftovers =
            leftovers.map_or(0, |all| all.flatten().filter(|e| e.path().is_dir()).count());
        assert_eq!(leftovers, 0, "drafts of the dead are swept");
        for object in all(&disk).await {
            let bytes = disk.get(&object.location).await.unwrap().bytes().await.unwrap();
            let expected = if object.location.as_ref().ends_with("-parts") { 2 } else { 1 };
            assert_eq!(bytes.len(), expected * 1_000_000, "{} is not whole", object.location);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        }
        for path in &said {
            disk.head(&Path::from(*path)).await.expect("what was answered is there");
        }
        answered += said.len();
    }
    assert!(answered > 0, "no child ever finished a put");
    assert!(swept, "no kill ever hit a put");
}

/// The order that durability rests on, as the kernel saw it.
#[test]
fn the_bytes_are_synced_before_the_name_and_the_folder_before_the_answer() {
    let Ok(strace) = std::env::var("INZIRA_TEST_STRACE") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "INZIRA_TEST_STRACE is not set");
        println!("skipped: INZIRA_TEST_STRACE is not set (cargo xtask stack up)");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let (folder, log) = (data.path().join("store"), data.path().join("trace"));
    let status = child(std::path::Path::new(&strace), &folder)
        .env("INZIRA_STORE_TEST_ONCE", "1")
        .args(["-f", "-y", "-e", "trace=fsync,link,linkat,rename,renameat,renameat2,write"])
        .arg("-o")
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(CHILD_ARGS)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let first = |what: &dyn Fn(&str) -> bool, from: usize| -> usize {
        from + lines[from..].iter().position(|line| what(line)).expect("not in the trace")
    };
    for call in ["link", "rename"] {
        let named = first(&|line| line.contains(&format!(" {call}")) && line.contains("/000/"), 0);
        let draft = first(&|line| line.contains("fsync(") && line.contains("/.tmp/"), 0);
        assert!(draft < named, "{call}: the name came before the bytes were durable");
        let home = first(&|line| line.contains("fsync(") && line.contains("/000>"), named);
        let root = first(&|line| line.contains("fsync(") && line.contains("/store>"), draft);
        let said = first(&|line| line.contains("write(1") && line.contains("put 000"), named);
        assert!(home < said, "{call}: answered before its folder was durable");
        assert!(root < said, "{call}: answered before the folder's own name was durable");
    }
}
