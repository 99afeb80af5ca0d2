//! Devices: a secret each, told once.
//!
//! In:    a driver; a secret's keyed hash.
//! Out:   a device id that the log may show, and a secret of 160 bits that it never does.
//! Never: takes a revoked secret once the few seconds of memory are over.

use inzira_schemas::identity::Device;
use inzira_schemas::{DeviceId, DriverId, Micros, Problem};
use serde_json::{Value, json};
use sqlx::Row;

use crate::app::App;
use crate::db::{Db, Tx};
use crate::error::ApiError;
use crate::secrets::random_token;

const PREFIX: &str = "dvt_";
/// Random characters of five bits each: 160 bits.
const SECRET_CHARS: usize = 32;
/// Phones that one driver may have at once.
pub const DEVICES_MAX: i64 = 10;

/// A device as it is told once.
#[derive(Debug)]
pub struct Enrolled {
    /// In the log and in lists.
    pub device_id: String,
    /// Bearer token, Basic password, and the `id` that phone protocols send.
    pub token: String,
}

/// True for what could be a device's secret.
pub fn is_secret(text: &str) -> bool {
    text.len() == PREFIX.len() + SECRET_CHARS && text.starts_with(PREFIX)
}

/// The device with this hash, unless revoked.
pub async fn by_hash(db: &Db, hash: &str) -> Result<Option<Device>, ApiError> {
    let row = sqlx::query(
        "SELECT d.device_id, d.owner_id FROM devices d JOIN driver_profiles p \
         ON p.driver_id = d.owner_id WHERE d.secret_hash = $1 AND d.revoked_at IS NULL \
         AND p.status <> 'closed'",
    )
    .bind(hash)
    .fetch_optional(db.read())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (device_id, driver_id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(DeviceId::parse(&device_id)
        .ok()
        .zip(DriverId::parse(&driver_id).ok())
        .map(|(device_id, driver_id)| Device { device_id, driver_id }))
}

/// Adds a device for a driver.
pub async fn add(
    app: &App,
    tx: &mut Tx,
    driver_id: &str,
    label: &str,
    now: Micros,
) -> Result<Enrolled, ApiError> {
    let device_id = DeviceId::new().to_string();
    let token = random_token(PREFIX, SECRET_CHARS);
    sqlx::query(
        "INSERT INTO devices (device_id, owner_id, secret_hash, label, created_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(device_id.clone())
    .bind(driver_id)
    .bind(app.keys.lookup_hash("device", &token))
    .bind(label)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(Enrolled { device_id, token })
}

/// Refuses the eleventh phone.
pub async fn has_room(tx: &mut Tx, driver_id: &str) -> Result<(), ApiError> {
    let row =
        sqlx::query("SELECT COUNT(*) FROM devices WHERE owner_id = $1 AND revoked_at IS NULL")
            .bind(driver_id)
            .fetch_one(tx.conn())
            .await?;
    if row.try_get::<i64, _>(0)? >= DEVICES_MAX {
        let detail = "a driver has at most 10 devices; revoke one first";
        return Err(Problem::conflict("too_many_devices", detail).into());
    }
    Ok(())
}

/// Links that set a phone up. Traccar Client reads its settings from an https link to its server,
/// OwnTracks from its own scheme; 30 m and 30 s at high accuracy are what ARRIVING needs.
pub fn links(public_url: &str, token: &str) -> Value {
    let base = public_url.trim_end_matches('/');
    let encode =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let traccar = format!(
        "{base}/osmand?id={}&url={}&accuracy=high&distance=30&interval=30&buffer=true",
        encode(token),
        encode(&format!("{base}/osmand")),
    );
    let owntracks_url = format!("{base}/owntracks?id={}", encode(token));
    let settings = json!({
        "_type": "configuration",
        "mode": 3,
        "url": owntracks_url,
        "auth": false,
        "monitoring": 2,
        "locatorDisplacement": 30,
        "locatorInterval": 30,
    });
    let owntracks =
        format!("owntracks:///config?inline={}", encode(&base64_standard(&settings.to_string())));
    json!({
        "traccar_client": { "url": traccar, "server": format!("{base}/osmand"), "id": token,
                            "qr_svg": qr_svg(&traccar) },
        "owntracks": { "url": owntracks, "server": owntracks_url, "qr_svg": qr_svg(&owntracks) },
        "gpslogger": { "server": format!("{base}/gpslogger?id={}", encode(token)) },
        "json": { "server": format!("{base}/api/v1/tracking/location") },
    })
}

fn base64_standard(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The link as a QR code; empty when it is too long for one.
pub fn qr_svg(text: &str) -> String {
    qrcode::QrCode::with_error_correction_level(text.as_bytes(), qrcode::EcLevel::L)
        .map(|code| {
            code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(240, 240).build()
        })
        .unwrap_or_default()
}
