//! Several operations at once, with the same result on every execution.
//!
//! Results are revealed to the code one at a time in journal order ([`crate::attempt`]), so mostly only one branch becomes
//! ready per poll. When several are, because their results came while something else was awaited, the one whose result
//! is first in the journal wins. All branches are polled every time: that, too, is the same on every execution.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Slept;
use crate::attempt::scope;
use crate::error::Terminal;

/// The result of the first or of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first came first.
    Left(A),
    /// The second came first.
    Right(B),
}

/// A future, or its result with its place in the order of reveals.
enum Branch<F: Future> {
    Pending(Pin<Box<F>>),
    Ready(u64, F::Output),
    Taken,
}

/// The inner future is boxed, and outputs are not pinned.
impl<F: Future> Unpin for Branch<F> {}

impl<F: Future> Branch<F> {
    fn new(future: F) -> Self {
        Self::Pending(Box::pin(future))
    }

    /// Polls if pending; the place of the result, if there is one now.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<u64> {
        if let Self::Pending(future) = self
            && let Poll::Ready(output) = future.as_mut().poll(cx)
        {
            *self = Self::Ready(scope::last_taken(), output);
        }
        match self {
            Self::Ready(order, _) => Some(*order),
            Self::Pending(_) | Self::Taken => None,
        }
    }

    fn take(&mut self) -> Option<F::Output> {
        match std::mem::replace(self, Self::Taken) {
            Self::Ready(_, output) => Some(output),
            Self::Pending(_) | Self::Taken => None,
        }
    }
}

/// See [`crate::Flow::join`].
#[must_use = "futures do nothing until they are awaited"]
pub struct Join<A: Future, B: Future> {
    a: Branch<A>,
    b: Branch<B>,
}

impl<A: Future, B: Future> Join<A, B> {
    pub(super) fn new(a: A, b: B) -> Self {
        Self { a: Branch::new(a), b: Branch::new(b) }
    }
}

impl<A: Future, B: Future> Future for Join<A, B> {
    type Output = (A::Output, B::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (a, b) = (this.a.advance(cx), this.b.advance(cx));
        if a.is_none() || b.is_none() {
            return Poll::Pending;
        }
        match (this.a.take(), this.b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            _ => Poll::Pending,
        }
    }
}

/// See [`crate::Flow::join_all`].
#[must_use = "futures do nothing until they are awaited"]
pub struct JoinAll<F: Future> {
    branches: Vec<Branch<F>>,
}

impl<F: Future> JoinAll<F> {
    pub(super) fn new(all: impl Iterator<Item = F>) -> Self {
        Self { branches: all.map(Branch::new).collect() }
    }
}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut ready = true;
        for branch in &mut self.branches {
            ready &= branch.advance(cx).is_some();
        }
        if ready { Poll::Ready(self.branches.iter_mut().filter_map(Branch::take).collect()) } else { Poll::Pending }
    }
}

/// See [`crate::Flow::race`].
#[must_use = "futures do nothing until they are awaited"]
pub struct Race<A: Future, B: Future> {
    a: Branch<A>,
    b: Branch<B>,
}

impl<A: Future, B: Future> Race<A, B> {
    pub(super) fn new(a: A, b: B) -> Self {
        Self { a: Branch::new(a), b: Branch::new(b) }
    }
}

impl<A: Future, B: Future> Future for Race<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (a, b) = (this.a.advance(cx), this.b.advance(cx));
        let winner = match (a, b) {
            (None, None) => None,
            (Some(a), Some(b)) if b < a => this.b.take().map(Either::Right),
            (Some(_), _) => this.a.take().map(Either::Left),
            (None, Some(_)) => this.b.take().map(Either::Right),
        };
        let Some(winner) = winner else { return Poll::Pending };
        (this.a, this.b) = (Branch::Taken, Branch::Taken);
        Poll::Ready(winner)
    }
}

/// See [`crate::Flow::select_all`].
#[must_use = "futures do nothing until they are awaited"]
pub struct SelectAll<F: Future> {
    branches: Vec<Branch<F>>,
}

impl<F: Future> SelectAll<F> {
    pub(super) fn new(all: impl Iterator<Item = F>) -> Self {
        Self { branches: all.map(Branch::new).collect() }
    }
}

impl<F: Future> Future for SelectAll<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut first: Option<(u64, usize)> = None;
        for (place, branch) in self.branches.iter_mut().enumerate() {
            let found = branch.advance(cx).map(|order| (order, place));
            first = [first, found].into_iter().flatten().min();
        }
        let winner = first.and_then(|(_, place)| Some((place, self.branches[place].take()?)));
        let Some(winner) = winner else { return Poll::Pending };
        self.branches.clear();
        Poll::Ready(winner)
    }
}

/// The time of a [`crate::Flow::timeout`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

impl From<Elapsed> for Terminal {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(408, elapsed.to_string())
    }
}

/// See [`crate::Flow::timeout`].
#[must_use = "futures do nothing until they are awaited"]
pub struct Timeout<F: Future> {
    future: Branch<F>,
    sleep: Branch<Slept>,
}

impl<F: Future> Timeout<F> {
    pub(super) fn new(future: F, sleep: Slept) -> Self {
        Self { future: Branch::new(future), sleep: Branch::new(sleep) }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (future, sleep) = (this.future.advance(cx), this.sleep.advance(cx));
        let in_time = match (future, sleep) {
            (None, None) => return Poll::Pending,
            (Some(future), Some(sleep)) => future <= sleep,
            (future, _) => future.is_some(),
        };
        if !in_time {
            let sleep = this.sleep.take();
            // A cancelled sleep says nothing about time: the future was interrupted as well and answers for itself.
            if matches!(sleep, Some(Err(_))) {
                return Poll::Pending;
            }
            this.future = Branch::Taken;
            return Poll::Ready(Err(Elapsed));
        }
        this.sleep = Branch::Taken;
        this.future.take().map_or(Poll::Pending, |output| Poll::Ready(Ok(output)))
    }
}
