//! Attempts that other nodes have run here, and what comes of those that run elsewhere.

use abide_host::Refusal;
use abide_model::id::{InvocationId, NodeId};
use tokio::sync::{mpsc, oneshot};

use super::Engine;
use crate::cluster::loan;
use crate::cluster::wire::{AttemptDeeds, AttemptNews, Told, WireAttempt};
use crate::driver::{LoanEvent, News};

type Asked<T> = Result<T, Refusal>;

/// Commands of one attempt that wait for their way.
const DEEDS_MAX: usize = 4_096;

impl Engine {
    /// Runs an attempt for a leader; answers when it is over. When nobody waits for the answer any more, it is dropped.
    pub(super) async fn serve_run(&self, attempt: WireAttempt) -> Asked<Told> {
        let lender = NodeId(attempt.lender);
        let start = attempt.read().ok_or(Refusal::NotFound)?;
        let others = self.0.others.as_ref().ok_or(Refusal::NotLeader)?;
        let (id, partition, number) = (start.work.id, start.partition, start.attempt);
        let (sender, deeds) = mpsc::channel(DEEDS_MAX);
        self.0.driver.loan(LoanEvent::Borrow { start: Box::new(start), deeds: sender })?;
        loan::give_back(&*others.asker, lender, partition, id, number, deeds).await;
        Ok(Told::Noted(true))
    }

    pub(super) async fn serve_news(&self, told: AttemptNews) -> Asked<Told> {
        let id = InvocationId::from_bytes(&told.id).ok_or(Refusal::NotFound)?;
        let read = |news: crate::cluster::wire::WireNews| match news.entry {
            Some(entry) => News::Entry { index: news.index, entry },
            None => News::Durable,
        };
        let news = told.news.into_iter().map(read).collect();
        let (responder, noted) = oneshot::channel();
        self.0.driver.loan(LoanEvent::News { id, attempt: told.attempt, news, responder })?;
        noted.await.unwrap_or(Err(Refusal::NotFound))?;
        Ok(Told::Noted(true))
    }

    pub(super) async fn serve_deeds(&self, deeds: AttemptDeeds) -> Asked<Told> {
        let id = InvocationId::from_bytes(&deeds.id).ok_or(Refusal::NotFound)?;
        let mut bodies = Vec::with_capacity(deeds.commands.len());
        for command in deeds.commands {
            // An attempt speaks for itself only.
            let own = |body: &_| loan::attempt_of(body) == Some((id, deeds.attempt));
            let body = command.body.filter(own).ok_or(Refusal::NotFound)?;
            bodies.push(body);
        }
        let (responder, noted) = oneshot::channel();
        self.0.driver.loan(LoanEvent::Deeds { id, attempt: deeds.attempt, bodies, responder })?;
        noted.await.unwrap_or(Err(Refusal::NotFound))?;
        Ok(Told::Noted(true))
    }
}
