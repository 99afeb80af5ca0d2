//! `inzira demo`: everything on this machine in a fresh folder, with a fleet that moves.
//!
//! In:    how many phones, how fast, whether real phones of this network may join.
//! Out:   addresses and log-ins on standard output; a moving order's page; runs until Ctrl-C.
//! Never: touches the data of another service: its folder is its own and goes with it.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use inzira_simulators::client::{FirstLogins, Service};
use inzira_simulators::fleet::{FleetPlan, Moving, Tally, play};
use qrcode::QrCode;
use qrcode::render::unicode;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::admin::Board;
use crate::commands::serve::started;
use crate::config::Config;
use crate::serve::Role;
use crate::telemetry;

/// Options of `inzira demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inzira demo --drivers 100 --speed 3")]
pub struct DemoArgs {
    /// Phones on the road
    #[arg(long, default_value_t = 40)]
    drivers: usize,
    /// Times as fast as life, 1 to 5
    #[arg(long, default_value_t = 2.0)]
    speed: f64,
    /// Also listen on this network, and print an address and a QR code for a real phone
    #[arg(long)]
    lan: bool,
}

/// Runs until Ctrl-C.
pub async fn run(args: DemoArgs, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    anyhow::ensure!((1.0..=5.0).contains(&args.speed), "--speed must be 1 to 5");
    anyhow::ensure!((1..=1_000).contains(&args.drivers), "--drivers must be 1 to 1000");
    let folder = tempfile::Builder::new().prefix("inzira-demo-").tempdir()?;
    let address = address(&config, args.lan)?;
    let admin = free(config.admin)?;
    let listen = if args.lan { format!("0.0.0.0:{}", address.port()) } else { address.to_string() };
    let config = config
        .with("INZIRA_DATA", &folder.path().display().to_string())?
        .with("INZIRA_LOG", "file:")?
        .with("INZIRA_DB", "sqlite:")?
        .with("INZIRA_BUS", "memory:")?
        .with("INZIRA_STORE", "file:")?
        .with("INZIRA_HTTP", &listen)?
        .with("INZIRA_ADMIN", &admin.to_string())?
        .with("INZIRA_PUBLIC_URL", &format!("http://{address}"))?;
    let log_level = if config.get("INZIRA_LOG_LEVEL") == "info" {
        "warn"
    } else {
        config.get("INZIRA_LOG_LEVEL")
    };
    telemetry::start_logs(log_level)?;
    let board = Board::new(Some(telemetry::start_metrics()?));
    let running = started(&config, &Role::ALL, board).await?;
    let first = FirstLogins::read(&config.data).context("the first start made no log-ins")?;
    let base = Url::parse(&format!("http://127.0.0.1:{}", address.port()))?;
    let mut service = Service::at(base, &first.gateway_key);
    let operator = first.of("operator").context("no operator")?.clone();
    service.log_in(&operator.phone, &operator.password).await?;
    introduce(&config, &first, &running.admin);
    if args.lan {
        join_by_phone(&service, &config).await?;
    }
    let tally = Arc::new(Tally::default());
    let (moving, mut told) = mpsc::channel(64);
    let plan = FleetPlan {
        drivers: args.drivers,
        with_orders: (args.drivers / 4).clamp(1, 12),
        speed: args.speed,
        seed: 7,
    };
    let refreshed = keep_logged_in(service.clone(), operator.phone, operator.password);
    let fleet = tokio::spawn(play(refreshed.await, plan, tally.clone(), moving, stop.clone()));
    let mut shown = 0;
    let mut tick = tokio::time::interval(Duration::from_secs(15));
    tick.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(order) = told.recv() => {
                shown += 1;
                if shown <= 3 {
                    show(&config, &order);
                }
            }
            _ = tick.tick() => println!(
                "{} fixes taken, {} orders delivered",
                tally.fixes.load(Ordering::Relaxed),
                tally.delivered.load(Ordering::Relaxed),
            ),
        }
    }
    println!("leaving");
    fleet.abort();
    running.stop(Duration::ZERO).await
}

/// The fleet's own log-in.
async fn keep_logged_in(mut service: Service, phone: String, password: String) -> Service {
    if let Err(error) = service.log_in(&phone, &password).await {
        tracing::warn!(%error, "the fleet could not log in again");
    }
    service
}

/// The configured address, or a free one beside it.
fn address(config: &Config, lan: bool) -> anyhow::Result<SocketAddr> {
    let free = free(config.http)?;
    Ok(if lan { SocketAddr::new(own_address()?, free.port()) } else { free })
}

fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let taken = TcpListener::bind(wanted).or_else(|_| TcpListener::bind((wanted.ip(), 0)))?;
    Ok(taken.local_addr()?)
}

/// This machine's address on its network: a datagram socket knows it without sending anything.
fn own_address() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("10.255.255.255:9").context("this machine has no network to join")?;
    Ok(socket.local_addr()?.ip())
}

fn introduce(config: &Config, first: &FirstLogins, admin: &SocketAddr) {
    println!("\n  Inzira runs at {}", config.public_url());
    println!("  health and metrics  http://{admin}/readyz  http://{admin}/metrics");
    println!("  gateway key         {}", first.gateway_key);
    for login in &first.accounts {
        println!("  log in as {:<9} {}  {}", login.role, login.phone, login.password);
    }
    println!(
        "  ask it              INZIRA_DATA={} inzira sql \"SELECT count(*) FROM fixes\"",
        config.data.display()
    );
    println!("  Ctrl-C ends it and removes its folder\n");
}

fn show(config: &Config, order: &Moving) {
    println!(
        "  {}: watch it at {}/t/{}  (PIN {})",
        order.way,
        config.public_url(),
        order.share,
        order.pin
    );
}

/// A vehicle for a phone that is held in somebody's hand.
async fn join_by_phone(service: &Service, config: &Config) -> anyhow::Result<()> {
    let phone = service.enrol(&["a real phone".to_owned()]).await?;
    let device = phone.first().context("no vehicle for a phone")?;
    let url = config.public_url();
    let links = inzira_api::device_links(&url, &device.token);
    let link = links["traccar_client"]["url"].as_str().context("no link for a phone")?;
    let code = QrCode::new(link.as_bytes())?;
    println!("{}", code.render::<unicode::Dense1x2>().quiet_zone(true).build());
    println!("  a real phone: scan this with Traccar Client (Settings, QR code), or set in it");
    println!("  server address      {url}/osmand");
    println!("  device identifier   {}\n", device.token);
    Ok(())
}
