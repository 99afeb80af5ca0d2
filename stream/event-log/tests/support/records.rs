//! Numbered records of the flow's one partition.

use std::sync::Arc;

use inzira_event_log::{EventLog, NewRecord, contract};
use inzira_schemas::Topic;

/// A record of the flow's one partition whose value is findable in a file.
pub fn marked(number: usize) -> NewRecord {
    let mut value = format!("<record {number:06}>");
    value.push_str(&"x".repeat(300));
    contract::record(Topic::FlowProgress, "k", &value)
}

fn number_of(value: &[u8]) -> usize {
    String::from_utf8_lossy(&value[8..14]).parse().unwrap()
}

/// Every record of the flow's partition, from the beginning.
pub async fn all_numbers(log: &Arc<dyn EventLog>) -> Vec<usize> {
    let head = log.heads(Topic::FlowProgress).await.unwrap()[0];
    let from = [inzira_event_log::Position {
        topic: Topic::FlowProgress,
        partition: 0,
        offset: head.start,
    }];
    let count = usize::try_from(head.end - head.start).unwrap();
    let found = contract::read(log, &from, count).await;
    found.iter().map(|record| number_of(&record.value)).collect()
}
