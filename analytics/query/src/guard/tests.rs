//! What is let through and what is refused, and with which words.

use super::*;

fn refused(text: &str) -> String {
    match check(text) {
        Ok(statement) => panic!("let through: {statement}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn questions_of_every_kind_are_let_through() {
    for text in [
        "SELECT 1",
        "select * from fixes where event_date = '2026-02-01' limit 10;",
        "WITH a AS (SELECT 1 AS n) SELECT n FROM a UNION ALL SELECT 2",
        "VALUES (1), (2)",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE VERBOSE SELECT count(*) FROM fixes",
        "SHOW TABLES",
        "SHOW COLUMNS FROM fixes",
        "DESCRIBE fixes",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT h3_cell_to_parent(h3_r9, 7), count(*) FROM fixes GROUP BY 1",
        "SELECT * FROM a, unnest(h3_grid_disk(c, 1))",
    ] {
        assert!(check(text).is_ok(), "{text}: {:?}", check(text).err());
    }
}

#[test]
fn whatever_writes_or_changes_a_setting_is_refused_by_its_name() {
    for (text, verb) in [
        ("INSERT INTO fixes SELECT * FROM fixes", "INSERT"),
        ("CREATE TABLE x AS SELECT 1", "CREATE"),
        ("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/etc/passwd'", "CREATE"),
        ("CREATE VIEW v AS SELECT 1", "CREATE"),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", "CREATE"),
        ("COPY fixes TO '/tmp/out.parquet'", "COPY"),
        ("COPY (SELECT 1) TO 's3://elsewhere/x' STORED AS CSV", "COPY"),
        ("SET datafusion.runtime.memory_limit = '100G'", "SET"),
        ("RESET datafusion.runtime.memory_limit", "RESET"),
        ("DELETE FROM fixes", "DELETE"),
        ("UPDATE fixes SET lat = 0", "UPDATE"),
        ("DROP TABLE fixes", "DROP"),
        ("TRUNCATE TABLE fixes", "TRUNCATE"),
        ("BEGIN", "BEGIN"),
        ("PREPARE p AS SELECT 1", "PREPARE"),
        ("EXPLAIN DELETE FROM fixes", "EXPLAIN"),
        ("SHOW datafusion.runtime.temp_directory", "SHOW"),
        ("SHOW ALL", "SHOW"),
    ] {
        let words = refused(text);
        assert!(words.starts_with(&format!("{verb} is not answered here")), "{text}: {words}");
    }
}

#[test]
fn writing_hidden_inside_a_query_is_refused() {
    assert!(refused("SELECT * INTO copy FROM fixes").contains("read-only"));
    assert!(refused("WITH x AS (INSERT INTO fixes VALUES (1)) SELECT 1").contains("read-only"));
    assert!(refused("SELECT * FROM fixes FOR UPDATE").contains("read-only"));
}

#[test]
fn two_statements_are_refused_and_none_is_wrong() {
    assert_eq!(refused("SELECT 1; SELECT 2"), "one statement at a time");
    assert_eq!(refused("SELECT 1; DROP TABLE fixes"), "one statement at a time");
    assert_eq!(refused("  -- nothing\n"), "there is no question in the text");
}

#[test]
fn no_file_and_no_address_is_reached() {
    for text in [
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SELECT * FROM parquet_metadata('x')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/tmp/x.parquet\"",
        "SELECT * FROM 'file:///etc/passwd'",
        "SELECT 1 FROM (SELECT * FROM read_text('/etc/passwd')) AS x",
    ] {
        let words = refused(text);
        assert!(words.contains("no file or address can be read"), "{text}: {words}");
    }
}

#[test]
fn functions_that_make_memory_out_of_nothing_are_not_offered() {
    assert!(refused("SELECT repeat('x', 2000000000)").contains("repeat is not offered"));
    assert!(refused("SELECT range(1, 1000000000)").contains("range is not offered"));
    assert!(refused("SELECT LPAD('x', 2000000000)").contains("lpad is not offered"));
}

#[test]
fn a_question_that_is_too_deep_or_too_long_is_refused_before_it_is_parsed() {
    let chain = format!("SELECT {}1", "1+".repeat(30_000));
    assert!(refused(&chain).contains("too complex"));
    let chain = format!("SELECT {}1", "1+".repeat(OPERATORS_MAX + 1));
    assert!(refused(&chain).contains("operators"));
    let nots = format!("SELECT {} true", "NOT ".repeat(OPERATORS_MAX + 1));
    assert!(refused(&nots).contains("operators"));
    let brackets = format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60));
    assert!(refused(&brackets).contains("nested deeper than 50"));
    let long = format!("SELECT '{}'", "x".repeat(TEXT_BYTES_MAX));
    assert!(refused(&long).contains("bytes of text"));
    let unions = format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(OPERATORS_MAX + 1));
    assert!(refused(&unions).contains("too complex"));
}

#[test]
fn parts_that_double_each_other_are_refused() {
    let mut text = "WITH p0 AS (SELECT 1 AS n)".to_owned();
    for step in 1..30 {
        let last = step - 1;
        text.push_str(&format!(", p{step} AS (SELECT a.n FROM p{last} AS a, p{last} AS b)"));
    }
    text.push_str(" SELECT * FROM p29");
    assert!(refused(&text).contains("table readings") || refused(&text).contains("300 times"));
}

#[test]
fn a_recursive_part_is_let_through() {
    let text = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n";
    assert!(check(text).is_ok());
}
