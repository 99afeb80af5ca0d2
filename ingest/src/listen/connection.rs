//! A connection that cannot be held open for nothing.
//!
//! In:    a TCP stream.
//! Out:   the same stream, which fails when the head of a request comes too slowly or when its
//!        peer stops reading.
//! Keeps: the connection's place under the cap, until the socket is really closed: through an
//!        upgrade to WebSocket too.
//!
//! Hyper's own timer covers the wait between requests; it does not run while the protocol of a
//! fresh connection is still unknown, and cannot tell an idle phone from a slow one.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection is doing.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    /// The head of a request is coming, or is waited for on a fresh connection.
    const HEAD: u8 = 0;
    /// A request is being answered.
    const BUSY: u8 = 1;
    /// Between requests.
    const IDLE: u8 = 2;
    /// Several requests at once, or no longer HTTP: not timed here.
    const FREE: u8 = 3;

    /// A request has begun.
    pub fn busy(&self) {
        self.0.store(Self::BUSY, Ordering::Relaxed);
    }

    /// It was answered.
    pub fn idle(&self) {
        self.0.store(Self::IDLE, Ordering::Relaxed);
    }

    /// From now on not timed.
    pub fn free(&self) {
        self.0.store(Self::FREE, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

/// A stream under watch.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    phase: Arc<Phase>,
    head_max: Duration,
    head_until: Instant,
    head_timer: Option<Pin<Box<Sleep>>>,
    stall_max: Duration,
    stall_timer: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Guarded<S> {
    pub fn new(
        stream: S,
        phase: Arc<Phase>,
        head_max: Duration,
        stall_max: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            stream,
            phase,
            head_max,
            head_until: Instant::now() + head_max,
            head_timer: None,
            stall_max,
            stall_timer: None,
            _place: place,
        }
    }

    /// Fails when nothing was written for too long.
    fn check_stall<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall_timer = None;
            return written;
        }
        let stall_max = self.stall_max;
        let timer = self
            .stall_timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stall_max)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            if this.phase.is(Phase::IDLE) {
                this.phase.0.store(Phase::HEAD, Ordering::Relaxed);
                this.head_until = Instant::now() + this.head_max;
            }
            return Poll::Ready(read);
        }
        if !this.phase.is(Phase::HEAD) {
            return Poll::Pending;
        }
        let until = this.head_until;
        let timer = this.head_timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head came too slowly")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check_stall(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.check_stall(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
