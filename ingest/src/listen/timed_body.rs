//! A request body that has to keep moving.
//!
//! In:    the body of a request.
//! Out:   the same body, which fails when its sender lets us wait longer than a grace, plus the
//!        time that its bytes take at the slowest rate we bear: a 2G phone may take minutes for
//!        a long backlog, a sender of one byte a second is cut off.
//! Never: counts the time in which we did not ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// The sender was too slow: answer 408.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the body came too slowly")]
pub struct BodyTimedOut;

/// How slow a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyPace {
    pub grace: Duration,
    pub bytes_per_s_min: u32,
}

/// A body under watch.
pub(crate) struct TimedBody<B> {
    inner: B,
    pace: BodyPace,
    bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    timed_out: Arc<AtomicBool>,
}

impl<B> TimedBody<B> {
    /// `timed_out` becomes true when the sender was too slow.
    pub fn new(inner: B, pace: BodyPace, timed_out: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            pace,
            bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            timer: None,
            timed_out,
        }
    }

    fn allowed(&self) -> Duration {
        let by_rate = self.bytes as f64 / f64::from(self.pace.bytes_per_s_min.max(1));
        self.pace.grace.saturating_add(Duration::from_secs_f64(by_rate))
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            if let Some(since) = this.waiting_since.take() {
                this.waited += since.elapsed();
            }
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                this.bytes += data.len() as u64;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let since = *this.waiting_since.get_or_insert_with(Instant::now);
        let until = since + this.allowed().saturating_sub(this.waited);
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        std::task::ready!(timer.as_mut().poll(cx));
        this.timed_out.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(Box::new(BodyTimedOut))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
