//! Carries attempts to nodes that have their code, what they do back to the leader, and news of the log after them
//! ([`crate::driver`] decides who runs what).
//!
//! Two tasks carry a loan. The leader's asks the borrower to run the attempt, and has no answer before it ends there; the
//! connection's end ends both. Beside it, it passes news on. The borrower's passes on what the attempt does. Each sends one
//! batch after the other, so that their order stays.

use std::sync::Arc;
use std::time::Duration;

use abide_host::Refusal;
use abide_model::command::{Body, Command};
use abide_model::id::{InvocationId, NodeId, PartitionId};
use bytes::Bytes;
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::wire::{Ask, AttemptDeeds, AttemptNews, Request, Told, WireAttempt, WireNews};
use super::{AskFailed, Asker};
use crate::driver::{Lender, Loan, News};

/// An attempt may take as long as its flow.
const RUN_PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long the other end may take to note what it is told.
const NOTE_PATIENCE: Duration = Duration::from_secs(10);
/// News may arrive before the attempt does: how often they are told again, and how long after.
const EARLY_TIMES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes after which a batch is closed.
const BATCH_BYTES_SOFT_MAX: usize = 1 << 20;

/// Lends attempts in tasks of `runtime`, for the leader `node`.
pub(crate) fn lender(runtime: Handle, asker: Arc<dyn Asker>, node: NodeId) -> Lender {
    Arc::new(move |to, Loan { start, mut news }| {
        let asker = Arc::clone(&asker);
        let (id, attempt) = (start.work.id, start.attempt);
        let run = Request { ask: Some(Ask::Run(WireAttempt::new(node, start))) };
        runtime.spawn(async move {
            tokio::select! {
                ended = asker.ask(to, run, RUN_PATIENCE) => {
                    if let Err(error) = ended {
                        tracing::warn!(invocation = %id, node = %to, %error, "an attempt that was lent is lost");
                    }
                }
                () = pass_on(&*asker, to, id, attempt, &mut news) => {}
            }
        });
    })
}

/// Passes news on until the attempt is over, or its borrower does not take them.
async fn pass_on(asker: &dyn Asker, to: NodeId, id: InvocationId, attempt: u32, news: &mut mpsc::Receiver<News>) {
    let mut early = EARLY_TIMES;
    while let Some(batch) = gather(news, wire_news).await {
        let told = AttemptNews { id: Bytes::copy_from_slice(&id.to_bytes()), attempt, news: batch };
        loop {
            match asker.ask(to, Request { ask: Some(Ask::News(told.clone())) }, NOTE_PATIENCE).await {
                Ok(Told::Noted(_)) => break,
                Ok(Told::Refused(refusal)) if refusal.clone().read() == Refusal::NotFound && early > 0 => {
                    early -= 1;
                    tokio::time::sleep(PAUSE).await;
                }
                _ => return,
            }
        }
        early = 0;
    }
}

fn wire_news(news: News) -> (WireNews, usize) {
    match news {
        News::Entry { index, entry } => {
            let bytes = entry.payload.len();
            (WireNews { index, entry: Some(entry) }, bytes)
        }
        News::Durable => (WireNews { index: 0, entry: None }, 0),
    }
}

/// Passes on what a borrowed attempt does until it ends on either side.
pub(crate) async fn give_back(
    asker: &dyn Asker,
    lender: NodeId,
    partition: PartitionId,
    id: InvocationId,
    attempt: u32,
    mut deeds: mpsc::Receiver<Body>,
) {
    let sized = |body: Body| {
        let command = Command::new(body);
        let bytes = command.encoded_len();
        (command, bytes)
    };
    while let Some(commands) = gather(&mut deeds, sized).await {
        let id = Bytes::copy_from_slice(&id.to_bytes());
        let deeds = AttemptDeeds { partition: partition.0, id, attempt, commands };
        loop {
            match asker.ask(lender, Request { ask: Some(Ask::Deeds(deeds.clone())) }, NOTE_PATIENCE).await {
                Ok(Told::Noted(_)) => break,
                // It never got there.
                Ok(Told::Refused(refusal)) if refusal.clone().read() == Refusal::Overloaded => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(_) | Err(AskFailed::NotSent(_) | AskFailed::Unknown(_)) => return,
            }
        }
    }
}

/// The attempt that a command is of, if it is one of an attempt.
pub(crate) fn attempt_of(body: &Body) -> Option<(InvocationId, u32)> {
    let (id, attempt) = match body {
        Body::Append(append) => (&append.id, append.attempt),
        Body::AttemptFailed(failed) if failed.accept.is_none() => (&failed.id, failed.attempt),
        _ => return None,
    };
    Some((InvocationId::from_bytes(id)?, attempt))
}

/// What waits, in order, up to some bytes; `None` when there will be no more.
async fn gather<T, U>(from: &mut mpsc::Receiver<T>, mut sized: impl FnMut(T) -> (U, usize)) -> Option<Vec<U>> {
    let (first, mut bytes) = sized(from.recv().await?);
    let mut batch = vec![first];
    while bytes < BATCH_BYTES_SOFT_MAX
        && let Ok(next) = from.try_recv()
    {
        let (next, more) = sized(next);
        bytes += more;
        batch.push(next);
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::sync::Mutex;

    use abide_model::command::Append;
    use abide_model::id::PartitionKey;
    use abide_model::table::JournalRow;

    use super::*;

    const ID: InvocationId = InvocationId { partition_key: PartitionKey(0), unique: 7 };
    const OTHER: NodeId = NodeId(2);

    /// A node that answers as it is told to, and notes everything else.
    #[derive(Default)]
    struct Other {
        answers: Mutex<VecDeque<Result<Told, AskFailed>>>,
        asked: Mutex<Vec<Ask>>,
    }

    impl Asker for Other {
        fn ask(
            &self,
            _: NodeId,
            request: Request,
            _: Duration,
        ) -> Pin<Box<dyn Future<Output = Result<Told, AskFailed>> + Send + '_>> {
            self.asked.lock().unwrap().extend(request.ask);
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Told::Noted(true)));
            Box::pin(std::future::ready(answer))
        }
    }

    impl Other {
        fn answering(answers: impl Into<VecDeque<Result<Told, AskFailed>>>) -> Self {
            Self { answers: Mutex::new(answers.into()), ..Self::default() }
        }

        /// Indexes of the entries in each batch that it was told.
        fn told(&self) -> Vec<Vec<u32>> {
            let asked = self.asked.lock().unwrap();
            let batches = asked.iter().map(|ask| match ask {
                Ask::News(news) => news.news.iter().map(|news| news.index).collect(),
                other => panic!("{other:?}"),
            });
            batches.collect()
        }
    }

    fn refused(refusal: Refusal) -> Result<Told, AskFailed> {
        Ok(Told::Refused(refusal.into()))
    }

    fn entry(index: u32, bytes: usize) -> News {
        News::Entry { index, entry: JournalRow { code: 1, payload: vec![0; bytes].into(), appended_at: 0 } }
    }

    #[tokio::test(start_paused = true)]
    async fn news_that_come_too_early_are_told_again_and_the_order_stays() {
        let (sender, mut news) = mpsc::channel(8);
        for (index, bytes) in [(1, 1), (2, BATCH_BYTES_SOFT_MAX), (3, 1)] {
            sender.try_send(entry(index, bytes)).unwrap();
        }
        drop(sender);
        let other = Other::answering([refused(Refusal::NotFound), refused(Refusal::NotFound)]);
        pass_on(&other, OTHER, ID, 1, &mut news).await;
        assert_eq!(other.told(), [vec![1, 2], vec![1, 2], vec![1, 2], vec![3]], "batches end by their bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_not_known_any_more_ends_the_loan() {
        let (sender, mut news) = mpsc::channel(8);
        sender.try_send(entry(1, 1)).unwrap();
        let other = Other::answering([Ok(Told::Noted(true)), refused(Refusal::NotFound)]);
        let later = async {
            tokio::time::sleep(PAUSE).await;
            sender.try_send(entry(2, 1)).unwrap();
            sender.closed().await;
        };
        tokio::join!(
            async {
                pass_on(&other, OTHER, ID, 1, &mut news).await;
                news.close();
            },
            later
        );
        assert_eq!(other.told(), [vec![1], vec![2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn deeds_wait_for_room_and_end_with_the_connection() {
        let append =
            |attempt| Body::Append(Append { id: Bytes::copy_from_slice(&ID.to_bytes()), attempt, ..Append::default() });
        assert_eq!(attempt_of(&append(2)), Some((ID, 2)));
        let (sender, deeds) = mpsc::channel(8);
        sender.try_send(append(1)).unwrap();
        let lost = Err(AskFailed::Unknown("the connection is gone".into()));
        let other = Other::answering([refused(Refusal::Overloaded), Ok(Told::Noted(true)), lost]);
        let giving = give_back(&other, NodeId(1), PartitionId(0), ID, 1, deeds);
        let doing = async {
            tokio::time::sleep(2 * PAUSE).await;
            sender.try_send(append(1)).unwrap();
            sender.closed().await;
        };
        tokio::join!(giving, doing);
        assert_eq!(other.asked.lock().unwrap().len(), 3);
    }
}
