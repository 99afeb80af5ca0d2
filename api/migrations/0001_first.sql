-- Everything that was decided before the first line was written, also where little is filled yet.
-- One text for both databases: ids and states are text, instants BIGINT microseconds UTC, money
-- BIGINT minor units, truth BIGINT 0 or 1. `*_sealed` is AES-256-GCM over (table, column, row, key);
-- `*_index` is a keyed hash for looking up. What differs stands in {{…}} (src/db/dialect.rs).

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE users (
  user_id TEXT PRIMARY KEY,
  role TEXT NOT NULL,
  actor_id TEXT NOT NULL UNIQUE,
  phone_sealed BYTEA NOT NULL,
  phone_index TEXT NOT NULL UNIQUE,
  first_name_sealed BYTEA,
  last_name_sealed BYTEA,
  email_sealed BYTEA,
  password_hash TEXT NOT NULL,
  totp_secret_sealed BYTEA,
  language TEXT NOT NULL DEFAULT 'en',
  status TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE verification_codes (
  user_id TEXT PRIMARY KEY REFERENCES users(user_id),
  code_hash TEXT NOT NULL,
  tries BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE sessions (
  session_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL REFERENCES users(user_id),
  cookie_hash TEXT UNIQUE,
  refresh_hash TEXT NOT NULL UNIQUE,
  spent_refresh_hash TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX sessions_owner ON sessions (owner_id);
CREATE INDEX sessions_spent ON sessions (spent_refresh_hash);

-- A person who is carried or receives, with or without a log-in. Dropping the row drops the person.
CREATE TABLE customers (
  customer_id TEXT PRIMARY KEY,
  phone_sealed BYTEA NOT NULL,
  phone_index TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);

CREATE TABLE driver_profiles (
  driver_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL REFERENCES users(user_id),
  label TEXT UNIQUE,
  license_number_sealed BYTEA,
  license_expiry_date TEXT,
  vehicle_plate_sealed BYTEA,
  status TEXT NOT NULL,
  rating_sum BIGINT NOT NULL DEFAULT 0,
  rating_count BIGINT NOT NULL DEFAULT 0,
  available BIGINT NOT NULL DEFAULT 0,
  idle_since BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE vehicles (
  vehicle_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL,
  driver_id TEXT REFERENCES driver_profiles(driver_id),
  kind TEXT NOT NULL,
  plate_sealed BYTEA,
  plate_index TEXT UNIQUE,
  capacity_g BIGINT,
  license_status TEXT,
  license_checked_at BIGINT,
  created_at BIGINT NOT NULL
);

CREATE TABLE devices (
  device_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL REFERENCES driver_profiles(driver_id),
  secret_hash TEXT NOT NULL UNIQUE,
  label TEXT NOT NULL DEFAULT '',
  hint TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX devices_owner ON devices (owner_id);

CREATE TABLE quotes (
  quote_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  country TEXT NOT NULL,
  currency TEXT NOT NULL,
  gross_minor BIGINT NOT NULL,
  distance_m BIGINT,
  tariff TEXT NOT NULL,
  wish_hash TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE orders (
  order_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL REFERENCES users(user_id),
  version BIGINT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  country TEXT NOT NULL,
  currency TEXT NOT NULL,
  gross_minor BIGINT NOT NULL CHECK (gross_minor >= 0),
  commission_minor BIGINT NOT NULL CHECK (commission_minor >= 0),
  tax_minor BIGINT NOT NULL CHECK (tax_minor >= 0),
  discount_minor BIGINT NOT NULL CHECK (discount_minor >= 0),
  goods_value_minor BIGINT NOT NULL DEFAULT 0 CHECK (goods_value_minor >= 0),
  customer_id TEXT NOT NULL,
  agent_id TEXT,
  vendor_id TEXT,
  driver_id TEXT REFERENCES driver_profiles(driver_id),
  weight_g BIGINT,
  goods_class TEXT,
  origin_country TEXT NOT NULL,
  destination_country TEXT NOT NULL,
  border_post TEXT,
  pickup_h3_r9 BIGINT NOT NULL,
  destination_h3_r9 BIGINT NOT NULL,
  pickup_district TEXT NOT NULL,
  destination_district TEXT NOT NULL,
  pickup_lat DOUBLE PRECISION NOT NULL,
  pickup_lon DOUBLE PRECISION NOT NULL,
  destination_lat DOUBLE PRECISION NOT NULL,
  destination_lon DOUBLE PRECISION NOT NULL,
  distance_m BIGINT,
  tariff TEXT NOT NULL,
  quote_id TEXT,
  phone_sealed BYTEA NOT NULL,
  phone_index TEXT NOT NULL,
  pickup_address_sealed BYTEA,
  destination_address_sealed BYTEA,
  note_sealed BYTEA,
  payment_method TEXT NOT NULL DEFAULT 'mobile_money',
  pin_hash TEXT NOT NULL,
  pin_tries BIGINT NOT NULL DEFAULT 0,
  pin_locked BIGINT NOT NULL DEFAULT 0,
  signature_sha256 TEXT,
  match_rounds BIGINT NOT NULL DEFAULT 0,
  match_started_at BIGINT,
  next_match_at BIGINT,
  created_at BIGINT NOT NULL,
  client_created_at BIGINT,
  updated_at BIGINT NOT NULL,
  paid_at BIGINT,
  assigned_at BIGINT,
  picked_up_at BIGINT,
  delivered_at BIGINT,
  cancelled_at BIGINT
);
CREATE INDEX orders_owner ON orders (owner_id, created_at);
CREATE INDEX orders_customer ON orders (customer_id, created_at);
CREATE INDEX orders_driver ON orders (driver_id, created_at);
CREATE INDEX orders_state ON orders (state, created_at);
CREATE INDEX orders_phone ON orders (phone_index);
CREATE INDEX orders_to_match ON orders (next_match_at) WHERE state = 'confirmed';
-- One driver carries one order at a time; the database says so, whoever assigns.
CREATE UNIQUE INDEX orders_one_per_driver ON orders (driver_id)
  WHERE state IN ('assigned', 'picked_up');

CREATE TABLE order_history (
  order_id TEXT NOT NULL REFERENCES orders(order_id),
  version BIGINT NOT NULL,
  previous_state TEXT,
  state TEXT NOT NULL,
  driver_id TEXT,
  previous_driver_id TEXT,
  actor_role TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  occurred_at BIGINT NOT NULL,
  recorded_at BIGINT NOT NULL,
  PRIMARY KEY (order_id, version)
);
{{append_only order_history}}

CREATE TABLE offers (
  offer_id TEXT PRIMARY KEY,
  order_id TEXT NOT NULL REFERENCES orders(order_id),
  owner_id TEXT NOT NULL REFERENCES driver_profiles(driver_id),
  round BIGINT NOT NULL,
  state TEXT NOT NULL,
  offered_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  answered_at BIGINT
);
CREATE INDEX offers_owner ON offers (owner_id, state);
CREATE INDEX offers_order ON offers (order_id, round);

CREATE TABLE share_links (
  token_hash TEXT PRIMARY KEY,
  order_id TEXT NOT NULL REFERENCES orders(order_id),
  owner_id TEXT NOT NULL REFERENCES users(user_id),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX share_links_order ON share_links (order_id);

CREATE TABLE areas (
  area_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  geojson TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  revoked_at BIGINT
);

CREATE TABLE idempotency_keys (
  owner_id TEXT NOT NULL,
  route TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  status BIGINT,
  answer_sealed BYTEA,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (owner_id, route, idempotency_key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- One row is one attempt: one reference at the provider, never sent again under another.
CREATE TABLE payments (
  payment_id TEXT PRIMARY KEY,
  order_id TEXT NOT NULL REFERENCES orders(order_id),
  owner_id TEXT NOT NULL REFERENCES users(user_id),
  version BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  provider TEXT NOT NULL,
  state TEXT NOT NULL,
  currency TEXT NOT NULL,
  amount_minor BIGINT NOT NULL CHECK (amount_minor > 0),
  provider_fee_minor BIGINT NOT NULL DEFAULT 0 CHECK (provider_fee_minor >= 0),
  refunded_minor BIGINT NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0),
  refund_pending_minor BIGINT NOT NULL DEFAULT 0 CHECK (refund_pending_minor >= 0),
  failure_code TEXT,
  provider_reference TEXT,
  payer_phone_sealed BYTEA NOT NULL,
  payer_phone_index TEXT NOT NULL,
  requested_at BIGINT NOT NULL,
  asked_at BIGINT,
  looks BIGINT NOT NULL DEFAULT 0,
  next_look_at BIGINT,
  expires_at BIGINT NOT NULL,
  captured_at BIGINT,
  refunded_at BIGINT,
  updated_at BIGINT NOT NULL,
  UNIQUE (order_id, attempt),
  CHECK (refunded_minor + refund_pending_minor <= amount_minor)
);
CREATE INDEX payments_due ON payments (next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX payments_state ON payments (state);
CREATE UNIQUE INDEX payments_one_open ON payments (order_id)
  WHERE state IN ('pending', 'held', 'submitted');

CREATE TABLE ledger_accounts (
  account_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE ledger_entries (
  entry_id TEXT PRIMARY KEY,
  cause TEXT NOT NULL,
  order_id TEXT,
  payment_id TEXT,
  actor_role TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  occurred_at BIGINT NOT NULL,
  recorded_at BIGINT NOT NULL
);
{{append_only ledger_entries}}

CREATE TABLE ledger_postings (
  entry_id TEXT NOT NULL REFERENCES ledger_entries(entry_id),
  line BIGINT NOT NULL,
  account_id TEXT NOT NULL REFERENCES ledger_accounts(account_id),
  currency TEXT NOT NULL,
  amount_minor BIGINT NOT NULL CHECK (amount_minor <> 0),
  PRIMARY KEY (entry_id, line)
);
CREATE INDEX ledger_postings_account ON ledger_postings (account_id, currency);
{{append_only ledger_postings}}

-- Debezium's shape (id, aggregatetype, aggregateid, type, payload), with our order and our mark.
CREATE TABLE outbox (
  seq {{identity}},
  id TEXT NOT NULL UNIQUE,
  aggregatetype TEXT NOT NULL,
  aggregateid TEXT NOT NULL,
  type TEXT NOT NULL,
  payload BYTEA NOT NULL,
  traceparent TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  sent_at BIGINT
);
CREATE INDEX outbox_unsent ON outbox (seq) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

-- What is to be said to people: kept until a sender takes it.
CREATE TABLE messages (
  message_id TEXT PRIMARY KEY,
  owner_id TEXT NOT NULL,
  channel TEXT NOT NULL,
  template TEXT NOT NULL,
  language TEXT NOT NULL,
  to_sealed BYTEA NOT NULL,
  text_sealed BYTEA NOT NULL,
  order_id TEXT,
  state TEXT NOT NULL,
  tries BIGINT NOT NULL DEFAULT 0,
  next_try_at BIGINT,
  created_at BIGINT NOT NULL,
  sent_at BIGINT
);
CREATE INDEX messages_due ON messages (next_try_at) WHERE state = 'waiting';

CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until_at BIGINT NOT NULL
);

-- Notes wait here for the one task that chains them; a note commits with what it tells of.
CREATE TABLE audit_inbox (
  seq {{identity}},
  actor_role TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  details TEXT NOT NULL,
  occurred_at BIGINT NOT NULL
);

CREATE TABLE audit (
  idx BIGINT PRIMARY KEY,
  actor_role TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  details TEXT NOT NULL,
  occurred_at BIGINT NOT NULL,
  recorded_at BIGINT NOT NULL,
  previous_hash TEXT NOT NULL,
  hash TEXT NOT NULL
);
{{append_only audit}}

-- Signed now and then, so that a cut tail or a rewritten chain shows.
CREATE TABLE audit_checkpoints (
  idx BIGINT PRIMARY KEY,
  hash TEXT NOT NULL,
  made_at BIGINT NOT NULL,
  signature TEXT NOT NULL
);
{{append_only audit_checkpoints}}
