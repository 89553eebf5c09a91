//! Identifiers. Every id is a type with one printed form, which logs, errors, HTTP and the CLI share.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::base62;

/// A text that is not the printed form of an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), expected }
    }
}

/// Milliseconds since the Unix epoch; in the rules always the log's own time, never a clock reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Whole milliseconds of a duration, saturating.
    #[must_use]
    pub fn of(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// This instant plus `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A partition: a contiguous range of the key-hash space with a log and a machine of its own. Printed as `p3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl PartitionId {
    /// The group that keeps what the cluster knows of itself: nodes, members of partitions, settings. Printed as `meta`.
    pub const META: Self = Self(1023);

    /// The partition that owns `key` when the space is cut into `count` equal ranges.
    #[must_use]
    pub fn of(key: PartitionKey, count: u32) -> Self {
        let partition = (u128::from(key.0) * u128::from(count)) >> 64;
        Self(u32::try_from(partition).expect("a 64-bit fraction of a u32 fits a u32"))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::META { f.write_str("meta") } else { write!(f, "p{}", self.0) }
    }
}

impl FromStr for PartitionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "meta" {
            return Ok(Self::META);
        }
        text.strip_prefix('p')
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| ParseIdError::new(text, "a partition id (`p` and a number)"))
    }
}

/// A node of the cluster: one data directory. Given out once, never again. Printed as `n3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('n')
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| ParseIdError::new(text, "a node id (`n` and a number)"))
    }
}

/// A replica of a partition: which node, and the how manieth on that node. What was removed from a node comes back under
/// another number, so that votes of the one are never taken for those of the other (rule P9). Printed as `n3`, from the
/// second on as `n3.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// Where it is.
    pub node: NodeId,
    /// How many replicas of the partition were on that node before.
    pub incarnation: u32,
}

impl ReplicaId {
    /// The first replica of a partition on `node`.
    #[must_use]
    pub fn first(node: NodeId) -> Self {
        Self { node, incarnation: 0 }
    }

    /// The number by which the consensus library knows it; 0 is nobody's.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        (u64::from(self.incarnation) << 32) | u64::from(self.node.0)
    }

    /// The inverse of [`ReplicaId::to_u64`].
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).expect("32 bits are left");
        Self { node: NodeId(low(number)), incarnation: low(number >> 32) }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node)?;
        if self.incarnation > 0 { write!(f, ".{}", self.incarnation) } else { Ok(()) }
    }
}

/// A point of the 64-bit hash space by which work is spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(pub u64);

impl PartitionKey {
    /// The hash of an object key, or of the idempotency key of an un-keyed target: XXH3-64 of the text and one `0xFF`
    /// (service protocol §0.2, observed on the wire).
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0xFF);
        Self(xxh3_64(&bytes))
    }
}

/// One execution of a handler. Printed as `inv_1` and 33 base-62 characters (service protocol §0.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId {
    /// Where the invocation lives.
    pub partition_key: PartitionKey,
    /// 128 bits that tell it from every other invocation there.
    pub unique: u128,
}

impl InvocationId {
    /// Length of the binary form in bytes.
    pub const LEN: usize = 24;
    const KEY_DIGITS: usize = 11;
    const UNIQUE_DIGITS: usize = 22;
    const PREFIX: &'static str = "inv_1";

    /// An id without a deterministic source: 48 bits of time and 80 random bits, so that ids sort by creation (a ULID).
    #[must_use]
    pub fn fresh(partition_key: PartitionKey, now: Millis, random: u128) -> Self {
        let unique = (u128::from(now.0 & 0xFFFF_FFFF_FFFF) << 80) | (random & ((1 << 80) - 1));
        Self { partition_key, unique }
    }

    /// The id of an invocation with an idempotency key: equal for equal (service, key, handler, idempotency key), which
    /// is what makes a repetition detectable without a lookup table (service protocol §0.3).
    #[must_use]
    pub fn idempotent(service: &str, key: Option<&str>, handler: &str, idempotency_key: &str) -> Self {
        let mut text = format!("ik,{service},");
        if let Some(key) = key {
            text.push_str(key);
            text.push(',');
        }
        text.push_str(handler);
        text.push(',');
        text.push_str(idempotency_key);
        Self { partition_key: PartitionKey::of(key.unwrap_or(idempotency_key)), unique: sha_128(&text) }
    }

    /// The id of a workflow's `run`: one per workflow key (service protocol §0.3).
    #[must_use]
    pub fn workflow(workflow: &str, key: &str) -> Self {
        Self { partition_key: PartitionKey::of(key), unique: sha_128(&format!("wf,{workflow},{key}")) }
    }

    /// The binary form: both numbers big endian, so that ids of one partition are neighbours.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.partition_key.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.unique.to_be_bytes());
        bytes
    }

    /// The inverse of [`InvocationId::to_bytes`]; `None` unless `bytes` has exactly [`InvocationId::LEN`] bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let (key, unique) = bytes.split_at(8);
        Some(Self {
            partition_key: PartitionKey(u64::from_be_bytes(key.try_into().ok()?)),
            unique: u128::from_be_bytes(unique.try_into().ok()?),
        })
    }

    /// A number that never changes for this invocation and is spread evenly: the seed of its random source.
    #[must_use]
    pub fn seed(self) -> u64 {
        xxh3_64(&self.to_bytes())
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The protocol reads the big-endian bytes as little-endian numbers before writing digits.
        let mut text = String::with_capacity(38);
        text.push_str(Self::PREFIX);
        base62::encode(u128::from(self.partition_key.0.swap_bytes()), Self::KEY_DIGITS, &mut text);
        base62::encode(self.unique.swap_bytes(), Self::UNIQUE_DIGITS, &mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InvocationId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let digits = text.strip_prefix(Self::PREFIX)?;
            if digits.len() != Self::KEY_DIGITS + Self::UNIQUE_DIGITS || !digits.is_ascii() {
                return None;
            }
            let (key, unique) = digits.split_at(Self::KEY_DIGITS);
            let key = u64::try_from(base62::decode(key)?).ok()?;
            Some(Self { partition_key: PartitionKey(key.swap_bytes()), unique: base62::decode(unique)?.swap_bytes() })
        };
        parse().ok_or_else(|| ParseIdError::new(text, "an invocation id (`inv_1` and 33 letters or digits)"))
    }
}

/// A schedule. Its binary form is that of an invocation id, so that timers and sinks can name either. Printed as
/// `sched_1` and 33 base-62 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(InvocationId);

impl ScheduleId {
    const PREFIX: &'static str = "sched_1";

    /// The id of the schedule with this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(InvocationId { partition_key: PartitionKey::of(name), unique: sha_128(&format!("sched,{name}")) })
    }

    /// Where the schedule lives.
    #[must_use]
    pub fn partition_key(self) -> PartitionKey {
        self.0.partition_key
    }

    /// The form in which timers and sinks name it.
    #[must_use]
    pub fn as_invocation(self) -> InvocationId {
        self.0
    }

    /// The inverse of [`ScheduleId::as_invocation`].
    #[must_use]
    pub fn from_invocation(id: InvocationId) -> Self {
        Self(id)
    }

    /// The binary form.
    #[must_use]
    pub fn to_bytes(self) -> [u8; InvocationId::LEN] {
        self.0.to_bytes()
    }

    /// The inverse of [`ScheduleId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        InvocationId::from_bytes(bytes).map(Self)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(Self::PREFIX)?;
        f.write_str(text.strip_prefix(InvocationId::PREFIX).expect("every invocation id is printed with its prefix"))
    }
}

impl FromStr for ScheduleId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(Self::PREFIX);
        let id = digits.and_then(|digits| format!("{}{digits}", InvocationId::PREFIX).parse().ok());
        id.map(Self).ok_or_else(|| ParseIdError::new(text, "a schedule id (`sched_1` and 33 letters or digits)"))
    }
}

/// A place in an invocation that the outside world can complete. Printed as `sign_1…` (service protocol §0.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AwakeableId {
    /// The invocation that waits.
    pub invocation: InvocationId,
    /// The signal it waits for; at least [`AwakeableId::FIRST_SIGNAL`].
    pub signal: u32,
}

impl AwakeableId {
    /// Signals below this number are reserved for the platform.
    pub const FIRST_SIGNAL: u32 = 17;
    const PREFIX: &'static str = "sign_1";
}

impl fmt::Display for AwakeableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; InvocationId::LEN + 4];
        bytes[..InvocationId::LEN].copy_from_slice(&self.invocation.to_bytes());
        bytes[InvocationId::LEN..].copy_from_slice(&self.signal.to_be_bytes());
        write!(f, "{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for AwakeableId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(Self::PREFIX)?).ok()?;
            let (invocation, signal) = bytes.split_at_checked(InvocationId::LEN)?;
            Some(Self {
                invocation: InvocationId::from_bytes(invocation)?,
                signal: u32::from_be_bytes(signal.try_into().ok()?),
            })
        };
        parse().ok_or_else(|| ParseIdError::new(text, "an awakeable id (`sign_1` and base64url)"))
    }
}

/// One loading of an object's state into memory by a leader: (term, counter). Tells apart speculative states that
/// carry the same version number. Zero is "written by something other than an activation". Printed as `a12`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivationId(pub u64);

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}

/// A keyed target: the name of its service and its key. Printed as `Account/alice`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Name of the object type.
    pub service: String,
    /// The key.
    pub key: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.key)
    }
}

fn sha_128(text: &str) -> u128 {
    let digest = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_have_a_number_and_a_printed_form() {
        let second = ReplicaId { node: NodeId(3), incarnation: 2 };
        assert_eq!((ReplicaId::first(NodeId(1)).to_u64(), second.to_u64()), (1, (2 << 32) | 3));
        assert_eq!(ReplicaId::from_u64(second.to_u64()), second);
        assert_eq!((ReplicaId::first(NodeId(1)).to_string(), second.to_string()), ("n1".into(), "n3.2".into()));
        assert_eq!(("n7".parse(), "7".parse::<NodeId>().is_err()), (Ok(NodeId(7)), true));
        assert_eq!((PartitionId::META.to_string(), "meta".parse()), ("meta".into(), Ok(PartitionId::META)));
    }
    use proptest::prelude::*;

    fn invocation(key: u64, unique: u128) -> InvocationId {
        InvocationId { partition_key: PartitionKey(key), unique }
    }

    /// The two pairs that were observed on the wire of the reference.
    #[test]
    fn text_form_matches_the_observed_vectors() {
        let workflow = invocation(0x5164_c775_648d_211b, 0x0b19_2d16_28a7_1da0_765a_31e4_0999_1ebb);
        assert_eq!(workflow.to_string(), "inv_12kpUQONmeFb5H5xZZ8qqOhdVtv7Ckal9p");
        let object = invocation(0x548a_e3cb_a540_55b3, 0x2662_4768_f58d_ac42_b8fc_4111_1d7c_79c8);
        assert_eq!(object.to_string(), "inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK");
        assert_eq!("inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK".parse(), Ok(object));
    }

    #[test]
    fn deterministic_ids_match_the_observed_vectors() {
        assert_eq!(
            InvocationId::workflow("BlockAndWaitWorkflow", "w1").to_string(),
            "inv_12kpUQONmeFb5H5xZZ8qqOhdVtv7Ckal9p"
        );
        assert_eq!(
            InvocationId::idempotent("Counter", Some("k1"), "add", "abc").to_string(),
            "inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK"
        );
    }

    #[test]
    fn awakeable_matches_the_observed_vector() {
        let id = AwakeableId { invocation: InvocationId::idempotent("Counter", Some("k1"), "add", "abc"), signal: 17 };
        assert_eq!(id.to_string(), "sign_1VIrjy6VAVbMmYkdo9Y2sQrj8QREdfHnIAAAAEQ");
        assert_eq!("sign_1VIrjy6VAVbMmYkdo9Y2sQrj8QREdfHnIAAAAEQ".parse(), Ok(id));
    }

    /// Derived from the name alone, and found again from the printed form.
    #[test]
    fn schedule_ids_stay_what_they_are() {
        let id = ScheduleId::of("nightly");
        assert_eq!(id.to_string(), "sched_1j3k7l9jqAgC4J8HAF2QilG7m9vhiEjuBt");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.partition_key(), PartitionKey::of("nightly"));
        assert_eq!(ScheduleId::from_bytes(&id.to_bytes()), Some(id));
        assert_eq!(ScheduleId::from_invocation(id.as_invocation()), id);
        let as_invocation = id.as_invocation().to_string();
        for text in ["", "sched_1", "sched_2foAirY4KKzi66hZ0W3CZSmjggN04feGoK", &as_invocation] {
            assert!(text.parse::<ScheduleId>().is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "inv_",
            "inv_1",
            "inv_2foAirY4KKzi66hZ0W3CZSmjggN04feGoK",
            "inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGo!",
            "inv_1ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoé",
        ] {
            assert!(text.parse::<InvocationId>().is_err(), "{text}");
        }
        assert!("sign_1AA".parse::<AwakeableId>().is_err());
    }

    #[test]
    fn partitions_cut_the_space_into_equal_ranges() {
        assert_eq!(PartitionId::of(PartitionKey(0), 8), PartitionId(0));
        assert_eq!(PartitionId::of(PartitionKey(u64::MAX), 8), PartitionId(7));
        assert_eq!(PartitionId::of(PartitionKey(1 << 61), 8), PartitionId(1));
        assert_eq!(PartitionId::of(PartitionKey((1 << 61) - 1), 8), PartitionId(0));
    }

    proptest! {
        #[test]
        fn invocation_ids_round_trip(key: u64, unique: u128) {
            let id = invocation(key, unique);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(InvocationId::from_bytes(&id.to_bytes()), Some(id));
        }

        #[test]
        fn any_text_parses_or_is_refused_without_panic(text in ".{0,64}") {
            let _ = text.parse::<InvocationId>();
            let _ = text.parse::<AwakeableId>();
        }
    }
}
