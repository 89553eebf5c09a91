//! The client of a world: requests survive crashes, because they are repeated with an idempotency key. Runs of workflows,
//! which have none, are found again by the id that their key gives them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abide_model::command::{Access, Form};
use abide_model::id::InvocationId;
use abide_sdk::Registry;
use abide_sdk::client::{
    Accepted, AcceptedStatus, BoxFuture, OutgoingRequest, SignalId, SignalResult, Stop, Transport, TransportError,
};
use bytes::Bytes;

use super::shared::Shared;
use crate::client::LocalTransport;

pub(super) struct WorldTransport {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
}

impl WorldTransport {
    /// Gives the request a key unless it has one, needs none because it only reads, or can have none because it runs a
    /// workflow. Whether it was given one.
    fn make_repeatable(&self, request: &mut OutgoingRequest) -> bool {
        if request.idempotency_key.is_some() || self.is_read(request) || self.workflow(request).is_some() {
            return false;
        }
        request.idempotency_key = Some(self.shared.next_key());
        true
    }

    fn is_read(&self, request: &OutgoingRequest) -> bool {
        let Ok((service, handler)) = self.registry.handler(&request.service, &request.handler) else { return false };
        let handler = &service.descriptor().handlers[handler];
        request.key.is_some() && handler.access == Access::Shared && handler.form == Form::Turn
    }

    /// The run that is asked for, when it is a workflow's.
    fn workflow(&self, request: &OutgoingRequest) -> Option<InvocationId> {
        let (service, handler) = self.registry.handler(&request.service, &request.handler).ok()?;
        let key = request.key.as_ref()?;
        let is_run = service.descriptor().handlers[handler].access == Access::Workflow;
        is_run.then(|| InvocationId::workflow(&request.service, key))
    }

    /// Runs a workflow. A repetition would be told that it has run already, so it attaches, unless that was so before.
    async fn run(&self, request: OutgoingRequest, run: InvocationId) -> Result<Bytes, TransportError> {
        let known = self.is_known(run).await?;
        let asked = AtomicBool::new(false);
        let answer = self.ask(|transport| {
            let request = request.clone();
            if known || !asked.swap(true, Ordering::Relaxed) {
                return transport.call(request);
            }
            Box::pin(async move {
                transport.send(request).await?;
                transport.attach(run).await
            })
        });
        Ok(answer.await?.0)
    }

    async fn is_known(&self, id: InvocationId) -> Result<bool, TransportError> {
        match self.ask(|transport| transport.output(id)).await {
            Ok(_) | Err(TransportError::Failure(_)) => Ok(true),
            Err(TransportError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks, again after every crash.
    async fn ask<T>(
        &self,
        ask: impl for<'a> Fn(&'a LocalTransport) -> BoxFuture<'a, Result<T, TransportError>>,
    ) -> Result<(T, bool), TransportError> {
        let mut repeated = false;
        loop {
            let life = self.shared.life();
            let Some(transport) = self.shared.transport() else {
                return Err(TransportError::Overloaded { message: "the world has ended".into(), retry_after: None });
            };
            let mut answer = ask(&transport);
            let answer = poll_fn(|cx| {
                let polled = answer.as_mut().poll(cx);
                // What was handed in is looked at, wherever this was polled.
                self.shared.wake();
                polled
            })
            .await;
            match answer {
                Err(TransportError::OutcomeUnknown { .. } | TransportError::Overloaded { .. })
                    if self.shared.life() != life =>
                {
                    repeated = true;
                }
                answer => return answer.map(|answer| (answer, repeated)),
            }
        }
    }
}

impl Transport for WorldTransport {
    fn call(&self, mut request: OutgoingRequest) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        if let Some(run) = self.workflow(&request) {
            return Box::pin(self.run(request, run));
        }
        self.make_repeatable(&mut request);
        Box::pin(async move { Ok(self.ask(|transport| transport.call(request.clone())).await?.0) })
    }

    fn send(&self, mut request: OutgoingRequest) -> BoxFuture<'_, Result<Accepted, TransportError>> {
        let own = self.make_repeatable(&mut request);
        let run = self.workflow(&request);
        Box::pin(async move {
            let own = match run {
                Some(run) => !self.is_known(run).await?,
                None => own,
            };
            let (accepted, repeated) = self.ask(|transport| transport.send(request.clone())).await?;
            // Only the repetition is known already; the test has sent it once.
            let status = if own && repeated { AcceptedStatus::Accepted } else { accepted.status };
            Ok(Accepted { status, ..accepted })
        })
    }

    fn attach(&self, id: InvocationId) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        Box::pin(async move { Ok(self.ask(|transport| transport.attach(id)).await?.0) })
    }

    fn signal(
        &self,
        id: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            self.ask(|transport| transport.signal(id, signal.clone(), result.clone())).await.map(|((), _)| ())
        })
    }

    fn stop(&self, id: InvocationId, stop: Stop) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move { self.ask(|transport| transport.stop(id, stop)).await.map(|((), _)| ()) })
    }

    fn output(&self, id: InvocationId) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move { Ok(self.ask(|transport| transport.output(id)).await?.0) })
    }
}
