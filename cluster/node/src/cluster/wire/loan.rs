//! What goes between a leader and the node that runs an attempt for it ([`crate::cluster::loan`]).

use std::collections::BTreeMap;

use abide_host::StartAttempt;
use abide_model::command::{Command, Target};
use abide_model::effect::Work;
use abide_model::id::{InvocationId, NodeId, PartitionId};
use abide_model::protocol::Header;
use abide_model::table::JournalRow;
use bytes::Bytes;
use prost::Message;

/// A version of a service's code that a node has.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CodeStatus {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    /// Whether new invocations start on it there.
    #[prost(bool, tag = "3")]
    pub(crate) current: bool,
}

/// An attempt with everything that it takes to run it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireAttempt {
    /// The node that leads its partition.
    #[prost(uint32, tag = "1")]
    pub(crate) lender: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) partition: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) id: Bytes,
    #[prost(message, optional, tag = "4")]
    pub(crate) target: Option<Target>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) input: Bytes,
    #[prost(message, repeated, tag = "6")]
    pub(crate) headers: Vec<Header>,
    /// Failed attempts, for the retry policy.
    #[prost(uint32, tag = "7")]
    pub(crate) work_failures: u32,
    #[prost(uint64, tag = "8")]
    pub(crate) life: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) term: u64,
    #[prost(uint32, tag = "10")]
    pub(crate) attempt: u32,
    #[prost(string, optional, tag = "11")]
    pub(crate) version: Option<String>,
    /// Failed attempts since the last stored entry.
    #[prost(uint32, tag = "12")]
    pub(crate) failures: u32,
    #[prost(message, repeated, tag = "13")]
    pub(crate) journal: Vec<JournalRow>,
    #[prost(btree_map = "string, bytes", tag = "14")]
    pub(crate) fields: BTreeMap<String, Bytes>,
}

/// What happened to attempts that the receiver runs: entries of one attempt, in order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttemptNews {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) attempt: u32,
    #[prost(message, repeated, tag = "3")]
    pub(crate) news: Vec<WireNews>,
}

/// One thing that happened to an attempt: an entry that the machine appended, or else the attempt's own is durable.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WireNews {
    #[prost(uint32, tag = "1")]
    pub(crate) index: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) entry: Option<JournalRow>,
}

/// What an attempt did, for the log of its partition.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttemptDeeds {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) id: Bytes,
    #[prost(uint32, tag = "3")]
    pub(crate) attempt: u32,
    #[prost(message, repeated, tag = "4")]
    pub(crate) commands: Vec<Command>,
}

impl WireAttempt {
    pub(crate) fn new(lender: NodeId, start: StartAttempt) -> Self {
        // The object follows from the target.
        let StartAttempt { partition, work, object: _, term, attempt, version, failures, journal, fields } = start;
        let Work { id, target, input, headers, failures: work_failures, life } = work;
        Self {
            lender: lender.0,
            partition: partition.0,
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(target),
            input,
            headers,
            work_failures,
            life,
            term,
            attempt,
            version,
            failures,
            journal,
            fields,
        }
    }

    /// `None` when it is malformed.
    pub(crate) fn read(self) -> Option<StartAttempt> {
        let Self { partition, target, input, headers, life, term, attempt, version, failures, journal, fields, .. } =
            self;
        let (id, target) = (InvocationId::from_bytes(&self.id)?, target?);
        let object = target.object();
        let work = Work { id, target, input, headers, failures: self.work_failures, life };
        let partition = PartitionId(partition);
        Some(StartAttempt { partition, work, object, term, attempt, version, failures, journal, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::codec;
    use abide_model::command::{Access, Form};
    use abide_model::id::PartitionKey;

    #[test]
    fn an_attempt_survives_the_way() {
        let target = Target {
            service: "Order".into(),
            key: Some("k".into()),
            handler: "ship".into(),
            access: Access::Exclusive as i32,
            form: Form::Flow as i32,
            ..Target::default()
        };
        let id = InvocationId { partition_key: PartitionKey(1), unique: 2 };
        let header = Header { key: "a".into(), value: "b".into() };
        let entry = JournalRow { code: 7, payload: "x".into(), appended_at: 9 };
        let start = StartAttempt {
            partition: PartitionId(3),
            object: target.object(),
            work: Work { id, target, input: "in".into(), headers: vec![header], failures: 4, life: 5 },
            term: 6,
            attempt: 7,
            version: Some("1".into()),
            failures: 8,
            journal: vec![entry],
            fields: [("total".to_owned(), Bytes::from_static(b"100"))].into(),
        };
        let wire = WireAttempt::new(NodeId(2), start.clone());
        let read: WireAttempt = codec::decode("an attempt", &codec::encode(&wire)).unwrap();
        assert_eq!((read.lender, read.read()), (2, Some(start)));
        assert_eq!(WireAttempt::default().read(), None);
    }

    #[test]
    fn the_numbers_are_golden() {
        let wire = WireAttempt {
            lender: 1,
            partition: 2,
            term: 3,
            attempt: 4,
            version: Some("v".into()),
            failures: 5,
            ..WireAttempt::default()
        };
        assert_eq!(codec::encode(&wire), [1, 8, 1, 16, 2, 72, 3, 80, 4, 90, 1, b'v', 96, 5][..]);
        let news = AttemptNews { attempt: 1, news: vec![WireNews { index: 2, entry: None }], ..AttemptNews::default() };
        assert_eq!(codec::encode(&news), [1, 16, 1, 26, 2, 8, 2][..]);
        let deeds = AttemptDeeds { partition: 1, attempt: 2, ..AttemptDeeds::default() };
        assert_eq!(codec::encode(&deeds), [1, 8, 1, 24, 2][..]);
        let code = CodeStatus { service: "S".into(), version: "1".into(), current: true };
        assert_eq!(codec::encode(&code), [1, 10, 1, b'S', 18, 1, b'1', 24, 1][..]);
    }
}
