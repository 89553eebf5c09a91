//! What the doors need of the engine, so that their tests can put anything in its place.

use abide_host::port::{Completion, Refusal};
use abide_model::command::StateEdit;
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis, ObjectId};
use abide_model::protocol::{SignalId, SignalResult};
use tokio::sync::oneshot;

use crate::engine::{Accepted, Engine, EngineError, InvocationDetails, InvokeRequest, Order};
use crate::inspect::{Cursor, Filter, JournalPage, Letter, LetterAddress, ObjectState, Page};

/// Where the result of a call arrives. A dropped sender means that the outcome is unknown.
pub(crate) type Pending = oneshot::Receiver<Result<Completion, Refusal>>;

type Asked<T> = Result<T, EngineError>;

/// What the ingress asks for. See [`Engine`] for what each does.
pub(crate) trait Requests: Send + Sync + 'static {
    fn call(&self, request: InvokeRequest) -> Asked<(InvocationId, Pending)>;
    fn send(&self, request: InvokeRequest) -> impl Future<Output = Asked<Accepted>> + Send;
    fn attach(&self, id: InvocationId) -> impl Future<Output = Asked<Completion>> + Send;
    fn output(&self, id: InvocationId) -> impl Future<Output = Asked<Option<Completion>>> + Send;
    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> impl Future<Output = Asked<Answer>> + Send;
    fn clock(&self) -> Millis;
}

/// What the admin API asks for. See [`Engine`] for what each does.
pub(crate) trait Backend: Send + Sync + 'static {
    fn control(&self, target: InvocationId, order: Order) -> impl Future<Output = Asked<Answer>> + Send;
    fn describe(&self, id: InvocationId) -> impl Future<Output = Asked<Option<InvocationDetails>>> + Send;
    fn journal(
        &self,
        id: InvocationId,
        from: u32,
        limit: usize,
    ) -> impl Future<Output = Asked<Option<JournalPage>>> + Send;
    fn list(
        &self,
        filter: Filter,
        limit: usize,
        after: Option<Cursor>,
    ) -> impl Future<Output = Asked<Page<InvocationDetails, Cursor>>> + Send;
    fn state(&self, object: ObjectId) -> impl Future<Output = Asked<ObjectState>> + Send;
    fn keys(
        &self,
        service: &str,
        prefix: &str,
        limit: usize,
        after: Option<&str>,
    ) -> impl Future<Output = Asked<Page<String, String>>> + Send;
    fn edit(&self, object: ObjectId, edit: &StateEdit) -> Asked<(InvocationId, Pending)>;
    fn letters(
        &self,
        service: Option<&str>,
        limit: usize,
        after: Option<&str>,
    ) -> impl Future<Output = Asked<Page<Letter, String>>> + Send;
    fn letter(&self, at: &LetterAddress) -> impl Future<Output = Asked<Option<Letter>>> + Send;
    fn redrive(&self, at: &LetterAddress) -> impl Future<Output = Asked<Answer>> + Send;
    fn drop_letter(&self, at: &LetterAddress) -> impl Future<Output = Asked<Answer>> + Send;
    fn clock(&self) -> Millis;
}

impl Requests for Engine {
    fn call(&self, request: InvokeRequest) -> Asked<(InvocationId, Pending)> {
        self.call(request)
    }

    fn send(&self, request: InvokeRequest) -> impl Future<Output = Asked<Accepted>> + Send {
        self.send(request)
    }

    fn attach(&self, id: InvocationId) -> impl Future<Output = Asked<Completion>> + Send {
        self.attach(id)
    }

    fn output(&self, id: InvocationId) -> impl Future<Output = Asked<Option<Completion>>> + Send {
        self.output(id)
    }

    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> impl Future<Output = Asked<Answer>> + Send {
        self.signal(target, signal, result)
    }

    fn clock(&self) -> Millis {
        self.clock()
    }
}

impl Backend for Engine {
    fn control(&self, target: InvocationId, order: Order) -> impl Future<Output = Asked<Answer>> + Send {
        self.control(target, order)
    }

    fn describe(&self, id: InvocationId) -> impl Future<Output = Asked<Option<InvocationDetails>>> + Send {
        self.describe(id)
    }

    fn journal(
        &self,
        id: InvocationId,
        from: u32,
        limit: usize,
    ) -> impl Future<Output = Asked<Option<JournalPage>>> + Send {
        self.journal(id, from, limit)
    }

    fn list(
        &self,
        filter: Filter,
        limit: usize,
        after: Option<Cursor>,
    ) -> impl Future<Output = Asked<Page<InvocationDetails, Cursor>>> + Send {
        self.list(filter, limit, after)
    }

    fn state(&self, object: ObjectId) -> impl Future<Output = Asked<ObjectState>> + Send {
        self.state(object)
    }

    fn keys(
        &self,
        service: &str,
        prefix: &str,
        limit: usize,
        after: Option<&str>,
    ) -> impl Future<Output = Asked<Page<String, String>>> + Send {
        self.keys(service, prefix, limit, after)
    }

    fn edit(&self, object: ObjectId, edit: &StateEdit) -> Asked<(InvocationId, Pending)> {
        self.edit(object, edit)
    }

    fn letters(
        &self,
        service: Option<&str>,
        limit: usize,
        after: Option<&str>,
    ) -> impl Future<Output = Asked<Page<Letter, String>>> + Send {
        self.letters(service, limit, after)
    }

    fn letter(&self, at: &LetterAddress) -> impl Future<Output = Asked<Option<Letter>>> + Send {
        self.letter(at)
    }

    fn redrive(&self, at: &LetterAddress) -> impl Future<Output = Asked<Answer>> + Send {
        self.redrive(at)
    }

    fn drop_letter(&self, at: &LetterAddress) -> impl Future<Output = Asked<Answer>> + Send {
        self.drop_letter(at)
    }

    fn clock(&self) -> Millis {
        self.clock()
    }
}
