//! What other nodes ask of this one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use abide_host::{Completion, Refusal};
use abide_model::command::{Form, Invoke, Target};
use abide_model::id::{InvocationId, PartitionId};
use tokio::sync::oneshot;

use super::Engine;
use super::route::is_read;
use crate::cluster::wire::{
    Ask, Forwarded, Proposal, Row, Rows, RowsFound, Told, WireAccepted, WireAnswer, WireCompletion, WireRefusal,
};
use crate::driver::{Overtaken, Query};

/// Rows that one answer carries at most.
const ROWS_MAX: u32 = 2_000;
/// Once the rows of an answer have this many bytes it ends.
const ROW_BYTES_SOFT_MAX: usize = 4 << 20;

type Asked<T> = Result<T, Refusal>;
type Waiting = Vec<oneshot::Sender<Asked<Told>>>;

/// Invocations that other nodes passed on and that are under way here. One that is passed on again, because the
/// connection broke, joins the first instead of running beside it.
#[derive(Default)]
pub(super) struct Serving(Mutex<HashMap<InvocationId, Waiting>>);

impl Serving {
    fn all(&self) -> MutexGuard<'_, HashMap<InvocationId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds somebody who waits. Whether nobody did before.
    fn join(&self, id: InvocationId, sender: oneshot::Sender<Asked<Told>>) -> bool {
        match self.all().entry(id) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(sender);
                false
            }
            Entry::Vacant(vacant) => {
                vacant.insert(vec![sender]);
                true
            }
        }
    }

    fn end(&self, id: InvocationId, result: &Asked<Told>) {
        for sender in self.all().remove(&id).unwrap_or_default() {
            // Whoever waited may have gone away.
            let _ = sender.send(result.clone());
        }
    }
}

impl Engine {
    /// Answers a member of the cluster. This node is asked because it is thought to lead; if it does not, it says so, and
    /// passes nothing on.
    pub(crate) async fn serve(&self, ask: Ask) -> Told {
        let told = match ask {
            Ask::Call(forwarded) => self.serve_call(forwarded).await,
            Ask::Send(forwarded) => self.serve_send(forwarded).await.map(Told::Accepted),
            Ask::Attach(known) => match InvocationId::from_bytes(&known.id) {
                Some(id) => self.serve_attach(id).await.map(|done| Told::Completed((&done).into())),
                None => Err(Refusal::NotFound),
            },
            Ask::Output(known) => match InvocationId::from_bytes(&known.id) {
                Some(id) => self.serve_output(id).await,
                None => Err(Refusal::NotFound),
            },
            Ask::Control(proposal) => self.serve_control(proposal).await.map(Told::Answered),
            Ask::Rows(rows) => self.serve_rows(rows).await.map(Told::Rows),
            Ask::Save(save) => Ok(Told::Saved(self.serve_save(&save).await)),
            Ask::Run(attempt) => self.serve_run(attempt).await,
            Ask::News(news) => self.serve_news(news).await,
            Ask::Deeds(deeds) => self.serve_deeds(deeds).await,
            // Answered before: those who join are no members yet.
            Ask::Join(_) => Err(Refusal::NotFound),
        };
        told.unwrap_or_else(|refusal| Told::Refused(WireRefusal::from(refusal)))
    }

    async fn serve_call(&self, forwarded: Forwarded) -> Asked<Told> {
        let Forwarded { partition, invoke, repeated, since } = forwarded;
        let invoke = invoke.ok_or(Refusal::NotFound)?;
        let id = invoke.id().ok_or(Refusal::NotFound)?;
        let others = self.0.others.as_ref().ok_or(Refusal::NotLeader)?;
        let (sender, receiver) = oneshot::channel();
        if self.0.serving.join(id, sender) {
            let engine = self.clone();
            // It goes on when the connection breaks: whoever asks again finds it.
            others.runtime.spawn(async move {
                let result = engine.take(PartitionId(partition), id, invoke, repeated, since).await;
                engine.0.serving.end(id, &result);
            });
        }
        receiver.await.unwrap_or(Err(Refusal::Interrupted))
    }

    async fn take(
        &self,
        partition: PartitionId,
        id: InvocationId,
        invoke: Invoke,
        repeated: bool,
        since: u64,
    ) -> Asked<Told> {
        let form = invoke.target.as_ref().map_or(Form::Turn, Target::form);
        let again = if is_read(&invoke) {
            None
        } else if repeated {
            Some(since)
        } else {
            // It may have been on its way for longer than the copy that came after it.
            let (responder, receiver) = oneshot::channel();
            self.0.driver.query(Query::Overtaken { partition, id, since, responder })?;
            match receiver.await.unwrap_or(Err(Refusal::NotLeader))? {
                Overtaken::No => None,
                Overtaken::Known => Some(since),
                Overtaken::Done(completion) => return Ok(Told::Completed(completion.as_ref().into())),
                Overtaken::Forgotten(now) => return Ok(Told::Overtaken(now)),
            }
        };
        let completion = self.result_here(partition, form, invoke, again).await?;
        Ok(Told::Completed((&completion).into()))
    }

    async fn serve_send(&self, forwarded: Forwarded) -> Asked<WireAccepted> {
        let invoke = forwarded.invoke.ok_or(Refusal::NotFound)?;
        let accepted = self.send_here(PartitionId(forwarded.partition), invoke).await?;
        Ok((&accepted).into())
    }

    async fn serve_attach(&self, id: InvocationId) -> Asked<Completion> {
        self.attach_here(self.partition(id), id).await
    }

    async fn serve_output(&self, id: InvocationId) -> Asked<Told> {
        let output = self.output_here(self.partition(id), id).await?;
        Ok(output.map_or(Told::NoResult(true), |completion| Told::Completed(WireCompletion::from(&completion))))
    }

    async fn serve_control(&self, proposal: Proposal) -> Asked<WireAnswer> {
        let body = proposal.command.and_then(|command| command.body).ok_or(Refusal::NotFound)?;
        Ok(self.control_here(PartitionId(proposal.partition), body).await?.into())
    }

    async fn serve_rows(&self, rows: Rows) -> Asked<RowsFound> {
        let Rows { partition, from, to, limit } = rows;
        let limit = limit.min(ROWS_MAX) as usize;
        let found = self.look_here(PartitionId(partition), move |view| {
            let mut found = RowsFound::default();
            if to.is_empty() {
                let value = view.get_raw(&from)?;
                found.rows.extend(value.map(|value| Row { key: from.clone(), value }));
                return Ok(found);
            }
            let mut bytes = 0;
            view.scan_raw(&from, &to, &mut |key, value| {
                if found.rows.len() >= limit || bytes >= ROW_BYTES_SOFT_MAX {
                    found.more = true;
                    return ControlFlow::Break(());
                }
                bytes += key.len() + value.len();
                let key = bytes::Bytes::copy_from_slice(key);
                found.rows.push(Row { key, value: value.clone() });
                ControlFlow::Continue(())
            })?;
            Ok(found)
        });
        found.await
    }
}
