//! One watcher's story: a snapshot, then every event once, and the newest position.
//!
//! In:    the hub's events, the bus's positions, time.
//! Out:   one frame a step, made only when there is somebody to take it.
//! Keeps: its place in the events, at most one chunk of them, the version of the last position.
//! Never: queues positions; says a place before the events below it were handed out.
//!
//! The order of things is what keeps events whole: the place is taken first, then the order's
//! state is asked, then the position; so what happens in between comes as an event after the
//! snapshot, and nothing is passed over. `step` may be dropped at any await without loss.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use inzira_live_bus::{LivePosition, Watch};
use inzira_schemas::identity::OrderView;
use inzira_schemas::states::OrderState;
use inzira_schemas::{Micros, OrderId, Topic, partition_of};
use metrics::counter;
use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::frames::{self, Cursor, EventFrame};
use crate::hub::{Hub, Missed, Subscription};
use crate::window::{After, Entry};
use inzira_schemas::access::{self, Access, Denied};

/// Identity may be away for so long before watchers are sent away.
const UNCHECKED_MAX: Duration = Duration::from_secs(30);

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A frame to send.
    Frame(Utf8Bytes),
    /// The end, and why.
    End(End),
}

/// Why a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The order is delivered or cancelled.
    OrderClosed,
    /// Access ended, or there never was any.
    Denied,
    /// The cursor is none of ours, or what follows it is gone.
    BadCursor,
    /// The reader takes nothing.
    Slow(Cursor),
    /// We are going; come back after so many seconds.
    Draining(u32),
    /// Something that we need is away.
    Unavailable,
    /// The client sends what it should not.
    Misbehaved,
}

impl End {
    /// The close code and the reason.
    pub fn frame(self) -> (u16, String) {
        match self {
            End::OrderClosed => (1000, "order closed".to_owned()),
            End::Denied => (4401, "not allowed, or no longer".to_owned()),
            End::BadCursor => (4400, "cursor not usable: connect again without it".to_owned()),
            End::Slow(cursor) => (4408, format!("too slow: connect again with after={cursor}")),
            End::Draining(seconds) => (1001, format!("restarting: connect again in {seconds} s")),
            End::Unavailable => (1013, "try again later".to_owned()),
            End::Misbehaved => (1008, "nothing is expected from you".to_owned()),
        }
    }
}

impl From<Missed> for End {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Gone => End::BadCursor,
            Missed::Unavailable => End::Unavailable,
        }
    }
}

pub(crate) struct Watcher {
    hub: Arc<Hub>,
    access: Access,
    partition: u32,
    subscription: Subscription,
    wakes: watch::Receiver<()>,
    positions: Option<Watch>,
    /// Every event below this place was handed out.
    done: u64,
    /// Every event below this place was handed out or is in `chunk`.
    seen: u64,
    chunk: VecDeque<Entry<EventFrame>>,
    first: Option<Utf8Bytes>,
    stale: bool,
    last: Option<(u64, Micros)>,
    timer: Pin<Box<Sleep>>,
    times: Times,
}

/// When the next thing is due.
#[derive(Debug, Clone, Copy)]
struct Times {
    ping: Instant,
    check: Instant,
    checked: Instant,
    end: Option<(Instant, End)>,
    bus: Option<Instant>,
}

impl Watcher {
    /// Begins to watch. With a cursor, what came after it is handed out first.
    pub async fn begin(hub: Arc<Hub>, access: Access, after: Option<Cursor>) -> Result<Self, End> {
        let order_id = access.order.order_id.clone();
        let partition = partition_of(Topic::TrackingEvents, order_id.as_str().as_bytes());
        let subscription = hub.subscribe(order_id.as_str());
        let wakes = subscription.wakes();
        let place = match after {
            Some(cursor) if hub.has_been(partition, cursor.0).await? => cursor.0,
            Some(_) => return Err(End::BadCursor),
            None => hub.frontier(partition),
        };
        if after.is_some() {
            counter!("inzira_ws_resumed_total", "result" => "ok").increment(1);
        }
        // Asked again after the place was taken: what changed before it is in this answer.
        let order = access::order(hub.identity.as_ref(), &access.credential, &order_id).await;
        let order = order.map_err(|denied| match denied {
            Denied::Unknown | Denied::NotFound => End::Denied,
            Denied::Unavailable(_) => End::Unavailable,
        })?;
        let now = Instant::now();
        let limits = &hub.limits;
        // Spread, so that watchers who came together do not ask together for ever.
        let spread = |every: Duration| now + every.mul_f64(rand::rng().random_range(0.5..1.0));
        let times = Times {
            ping: spread(limits.ping_every),
            check: spread(limits.access_every),
            checked: now,
            end: None,
            bus: None,
        };
        let mut watcher = Self {
            access: Access { order, ..access },
            timer: Box::pin(sleep_until(times.check)),
            partition,
            subscription,
            wakes,
            positions: None,
            done: place,
            seen: place,
            chunk: VecDeque::new(),
            first: None,
            stale: false,
            last: None,
            times,
            hub,
        };
        watcher.look().await;
        Ok(watcher)
    }

    /// The place from which a new line goes on.
    pub fn cursor(&self) -> Cursor {
        Cursor(self.done)
    }

    /// The next frame, or the end.
    pub async fn step(&mut self) -> Step {
        loop {
            if let Some(frame) = self.first.take() {
                return Step::Frame(frame);
            }
            if std::mem::take(&mut self.stale) {
                return Step::Frame(frames::stale(self.age_s()));
            }
            match self.next_event().await {
                Ok(Some(frame)) => return Step::Frame(frame),
                Ok(None) => {}
                Err(end) => return Step::End(end),
            }
            if let Some(frame) = self.newest_position() {
                return Step::Frame(frame);
            }
            if self.hub.is_draining() {
                self.leave();
            }
            if let Some(step) = self.wait().await {
                return step;
            }
        }
    }

    async fn next_event(&mut self) -> Result<Option<Utf8Bytes>, End> {
        if self.chunk.is_empty() {
            let order_id = self.access.order.order_id.as_str();
            let (events, next) = match self.hub.events_now(self.partition, order_id, self.seen) {
                After::Events(events, next) => (events, next),
                After::Behind(_) => self.hub.events(self.partition, order_id, self.seen).await?,
            };
            self.chunk.extend(events);
            let moved = next > self.seen;
            self.seen = next;
            if self.chunk.is_empty() {
                self.done = self.seen;
                // An old stretch without events of this order: there may be more behind it.
                let more = moved && next < self.hub.frontier(self.partition);
                return if more { Box::pin(self.next_event()).await } else { Ok(None) };
            }
        }
        let Some(entry) = self.chunk.pop_front() else { return Ok(None) };
        self.done = entry.offset + 1;
        if entry.frame.closes {
            self.close(self.hub.limits.closed_grace);
        }
        Ok(Some(entry.frame.text.clone()))
    }

    fn newest_position(&mut self) -> Option<Utf8Bytes> {
        let watch = self.positions.as_mut()?;
        let newest = watch.borrow_and_update();
        let position = newest.as_ref()?;
        if self.last.is_some_and(|(version, _)| position.version <= version) {
            return None;
        }
        let now = self.hub.clock.now();
        let body = self.subscription.position_body(position);
        let frame = frames::position(&body, frames::age_s(position, now), Cursor(self.done));
        self.hub.counts.latency_s.record(now.seconds_since(position.received_at).max(0.0));
        self.last = Some((position.version, position.measured_at));
        Some(frame)
    }

    /// Waits for whatever comes first; `None` to look round again.
    async fn wait(&mut self) -> Option<Step> {
        let due = self.due();
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        tokio::select! {
            woken = self.wakes.changed() => {
                // The sender lives in the channel that we hold.
                debug_assert!(woken.is_ok());
                None
            }
            alive = changed(&mut self.positions) => {
                if !alive {
                    self.say_stale();
                }
                None
            }
            () = self.timer.as_mut() => self.on_time().await,
        }
    }

    fn due(&self) -> Instant {
        let times = &self.times;
        let end = times.end.map(|(at, _)| at);
        [Some(times.ping), Some(times.check), end, times.bus]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(times.ping)
    }

    async fn on_time(&mut self) -> Option<Step> {
        let now = Instant::now();
        if let Some((at, end)) = self.times.end
            && at <= now
        {
            return Some(Step::End(end));
        }
        if self.times.check <= now {
            // Due until it is done: a client that keeps interrupting us cannot put it off.
            if let Some(end) = self.check().await {
                return Some(Step::End(end));
            }
            self.times.check = now + self.hub.limits.access_every;
        }
        if self.times.bus.is_some_and(|at| at <= now) {
            self.find_bus().await;
        }
        if self.times.ping <= now {
            self.times.ping = now + self.hub.limits.ping_every;
            return Some(Step::Frame(frames::ping()));
        }
        None
    }

    /// Asks whether access still holds.
    async fn check(&mut self) -> Option<End> {
        let order_id = self.access.order.order_id.clone();
        let asked =
            access::order(self.hub.identity.as_ref(), &self.access.credential, &order_id).await;
        match asked {
            Ok(order) => {
                self.times.checked = Instant::now();
                let moved = order.destination != self.access.order.destination;
                let over = is_over(&order);
                self.access.order = order;
                if over {
                    // The event may still be on its way; the line waits for it.
                    self.close(self.hub.limits.closed_grace * 4);
                } else if moved {
                    self.first = Some(self.snapshot(None));
                }
                None
            }
            Err(Denied::Unavailable(error)) => {
                tracing::warn!(%error, "access could not be checked");
                (self.times.checked.elapsed() > UNCHECKED_MAX).then_some(End::Unavailable)
            }
            // A link that ends with its order says so kindly.
            Err(_) if self.times.end.is_some() => None,
            Err(_) => Some(End::Denied),
        }
    }

    /// The order is over: no more positions, and the line ends in a while.
    fn close(&mut self, grace: Duration) {
        self.positions = None;
        self.times.bus = None;
        let at = Instant::now() + grace;
        if self.times.end.is_none_or(|(earlier, _)| at < earlier) {
            self.times.end = Some((at, End::OrderClosed));
        }
    }

    /// The room closes: lines end one after the other, and come back one after the other.
    fn leave(&mut self) {
        if !matches!(self.times.end, Some((_, End::Draining(_)))) {
            let share: f64 = rand::rng().random_range(0.0..1.0);
            let at = Instant::now() + self.hub.limits.drain_spread.mul_f64(share);
            let seconds = rand::rng().random_range(1..=10);
            self.times.end = Some((at, End::Draining(seconds)));
        }
    }

    /// The first look: the position, the watch on newer ones, the snapshot.
    async fn look(&mut self) {
        let mut position = None;
        if is_over(&self.access.order) {
            self.close(self.hub.limits.closed_grace);
        } else {
            self.find_bus().await;
            position = self.last_position().await;
        }
        self.first = Some(self.snapshot(position.as_ref()));
        self.last = position.map(|position| (position.version, position.measured_at));
    }

    async fn last_position(&mut self) -> Option<LivePosition> {
        match self.hub.bus.last(&self.access.order.order_id).await {
            Ok(position) => position,
            Err(error) => {
                tracing::warn!(%error, "the last position could not be had");
                self.say_stale();
                None
            }
        }
    }

    async fn find_bus(&mut self) {
        let order_id: &OrderId = &self.access.order.order_id;
        match self.hub.bus.watch(order_id).await {
            Ok(watch) => {
                self.positions = Some(watch);
                self.times.bus = None;
            }
            Err(error) => {
                tracing::warn!(%error, "positions cannot be watched");
                self.say_stale();
            }
        }
    }

    /// Positions are away: said once, and asked again until they are back.
    fn say_stale(&mut self) {
        self.positions = None;
        if self.times.bus.is_none() {
            self.stale = true;
        }
        self.times.bus = Some(Instant::now() + self.hub.limits.bus_retry);
    }

    fn age_s(&self) -> Option<f64> {
        let (_, measured_at) = self.last?;
        let age_s = self.hub.clock.now().seconds_since(measured_at).max(0.0);
        Some((age_s * 10.0).round() / 10.0)
    }

    fn snapshot(&self, position: Option<&LivePosition>) -> Utf8Bytes {
        frames::snapshot(&self.access.order, position, self.hub.clock.now(), self.cursor())
    }
}

/// True when there is something newer or nothing is watched yet; false when the bus went away.
async fn changed(positions: &mut Option<Watch>) -> bool {
    match positions {
        Some(watch) => watch.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

fn is_over(order: &OrderView) -> bool {
    OrderState::parse(&order.state).is_some_and(OrderState::is_final)
}
