//! Kafka 4.1 from Maven's jars: KRaft, one node, transactions on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::state::{State, cluster_id};
use super::tools::Tools;
use crate::shell::run_logged;

pub fn prepare(home: &Path, state: &State, tools: &Tools) -> Result<Command> {
    let libs = tools.kafka_libs.as_deref().context("the jars of Kafka are missing")?;
    let properties = home.join("server.properties");
    std::fs::write(&properties, server_properties(home, state))?;
    if !home.join("data/meta.properties").exists() {
        let _ = std::fs::remove_dir_all(home.join("data"));
        let mut format = java(libs, tools)?;
        format
            .args(["kafka.tools.StorageTool", "format", "--standalone", "-t"])
            .arg(cluster_id()?)
            .arg("-c")
            .arg(&properties);
        run_logged(&mut format, &home.join("format.log"), Duration::from_secs(120))?;
    }
    let mut command = java(libs, tools)?;
    command.current_dir(home).arg("-Xmx512m").arg("kafka.Kafka").arg(&properties);
    Ok(command)
}

fn java(libs: &Path, tools: &Tools) -> Result<Command> {
    let mut command = Command::new(tools.java.as_deref().context("java is missing")?);
    command.arg("-cp").arg(libs.join("*"));
    Ok(command)
}

fn server_properties(home: &Path, state: &State) -> String {
    let (broker, controller) = (state.port("kafka"), state.port("kafka-controller"));
    let data: PathBuf = home.join("data");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# topics are made with their partition count by whoever owns them, never by a typing mistake
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# tests make many small topics: keep the sparse files of each small
log.index.size.max.bytes=1048576
log.segment.bytes=134217728
",
        data = data.display()
    )
}
