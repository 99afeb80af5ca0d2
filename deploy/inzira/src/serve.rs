//! Wires the rooms of one process together, runs them, and takes them down in order.
//!
//! In:    a configuration, the roles to run.
//! Out:   a running service, or the first thing that is wrong.
//! Keeps: the order of leaving: door, background work, flow, archive; what was answered is safe.
//! Never: leaves within less than what is needed, nor later than 25 s.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use inzira_api::{Api, ApiConfig, FirstLogins};
use inzira_archive::{ArchiveConfig, ArchiveHandle};
use inzira_event_log::{Access, EventLog};
use inzira_flow::{FlowConfig, FlowHandle};
use inzira_live_bus::LiveBus;
use inzira_query::Questions;
use inzira_schemas::{Clock, Identity, SystemClock};
use inzira_store::Opened;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Board, Health, Stage};
use crate::config::{Config, ConfigError};
use crate::{allow, http};

/// A part that a process can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Takes fixes from devices.
    Ingest,
    /// Smooths, joins, decides.
    Flow,
    /// Sends to watchers.
    FanOut,
    /// Writes Parquet.
    Archive,
    /// Answers questions.
    Query,
    /// Accounts, orders, payments, pages.
    Api,
}

impl Role {
    /// Every role: the default.
    pub const ALL: [Role; 6] =
        [Role::Ingest, Role::Flow, Role::FanOut, Role::Archive, Role::Query, Role::Api];
}

/// The longest a graceful stop may take.
const STOP_MAX: Duration = Duration::from_secs(25);
/// The longest the door waits for requests under way.
const DOOR_MAX: Duration = Duration::from_secs(10);
