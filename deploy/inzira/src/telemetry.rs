//! Logs as one JSON line each, and the metrics that `/metrics` shows.
//!
//! In:    the log filter.
//! Out:   lines on standard error: UTC time, level, target, fields, spans with the correlation id.
//! Never: writes a secret, a phone number or a place of a person.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;

/// Buckets of every duration in seconds, 1 ms to 60 s.
const SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Starts logging. Called once by `main`.
pub fn start_logs(filter: &str) -> Result<(), ConfigError> {
    let wrong =
        |error: &dyn std::fmt::Display| ConfigError(vec![format!("INZIRA_LOG_LEVEL: {error}")]);
    // The Delta kernel calls a table that is not there yet an error; the archive makes it.
    let filter = format!("buoyant_kernel=off,deltalake_core=warn,{filter}");
    let filter = EnvFilter::try_new(filter).map_err(|error| wrong(&error))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| wrong(&error))
}

/// Starts the metrics recorder. Called once by `serve`.
pub fn start_metrics() -> Result<PrometheusHandle, ConfigError> {
    let wrong = |error: &dyn std::fmt::Display| ConfigError(vec![format!("metrics: {error}")]);
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .map_err(|error| wrong(&error))?
        .install_recorder()
        .map_err(|error| wrong(&error))?;
    metrics::gauge!("inzira_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}
