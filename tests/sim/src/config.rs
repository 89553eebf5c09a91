//! What a seed decides before its first event: topology, constants, workload, faults.

use std::str::FromStr;

use abide_snapshot::PartSizes;

use crate::archive::{GRACE_MIN, Rules, SCALE};
use crate::names;
use crate::rng::Rng;

/// A deliberate fault of the simulated shell or store that the checks have to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// The log acknowledges syncs that it does not do.
    SkipFsync,
    /// Effects and answers leave before the write is durable.
    AckBeforeCommit,
    /// The state store forgets how many messages of another partition were taken.
    DropTaken,
    /// The state store forgets retained results.
    DropCompletions,
    /// The shell lets time pass early when a timer waits.
    EarlyTimers,
    /// The host gives results of an old attempt the number of the new one.
    IgnoreFence,
    /// The state store swaps neighbours in a mailbox.
    SwapFifo,
    /// Messages between partitions are handed over once more, under the numbers of those that follow.
    RepeatMessages,
    /// The host gives late records of an earlier life of an id the number of the present one.
    ReuseIds,
    /// The state store forgets completed promises.
    DropPromises,
    /// The state store forgets what is to be forgotten when.
    DropExpiries,
    /// The state store forgets dead letters.
    DropLetters,
    /// The leader runs a time of a schedule twice.
    FireTwice,
    /// The host does not stop attempts that are paused or over.
    IgnoreAbort,
    /// Followers answer before what they promise is durable.
    SendBeforePersist,
    /// A replica that lost its disk goes on under its old id.
    AmnesiacVote,
    /// Reads are answered without asking whether the leader still leads.
    StaleRead,
    /// A row is missing in snapshots.
    PartialSnapshot,
    /// The leader acknowledges requests once it has them itself.
    AckBeforeQuorum,
    /// Repeated requests are not looked for among the recent results.
    SkipRecent,
    /// The recent results are asked as if they reached back for ever.
    UnboundRecent,
    /// A repeated request is proposed although its invocation is under way, and may come behind its end.
    ProposeActive,
    /// Logs are cut behind state that is not durable.
    TrimUndurable,
    /// Entries leave the disk that followers need, without a word to the replica.
    CutLog,
    /// A host goes on when leadership is lost, and the next leader gives its records the present term and attempt.
    IgnoreTerm,
    /// What an earlier process of a node said is taken.
    OldBoots,
    /// The pointer of a partition is moved before the parts are in the object store.
    PointerFirst,
    /// The object store tells of each object the size that was sent.
    BlindUpload,
    /// Pointers in the object store are replaced whatever they are.
    BlindPointer,
    /// The object store removes parts by their age.
    ExpireParts,
    /// A row is missing in what is saved.
    PartialSave,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::SkipFsync,
        Self::AckBeforeCommit,
        Self::DropTaken,
        Self::DropCompletions,
        Self::EarlyTimers,
        Self::IgnoreFence,
        Self::SwapFifo,
        Self::RepeatMessages,
        Self::ReuseIds,
        Self::DropPromises,
        Self::DropExpiries,
        Self::DropLetters,
        Self::FireTwice,
        Self::IgnoreAbort,
        Self::SendBeforePersist,
        Self::AmnesiacVote,
        Self::StaleRead,
        Self::PartialSnapshot,
        Self::AckBeforeQuorum,
        Self::SkipRecent,
        Self::UnboundRecent,
        Self::ProposeActive,
        Self::TrimUndurable,
        Self::CutLog,
        Self::IgnoreTerm,
        Self::OldBoots,
        Self::PointerFirst,
        Self::BlindUpload,
        Self::BlindPointer,
        Self::ExpireParts,
        Self::PartialSave,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SkipFsync => "skip-fsync",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::DropTaken => "drop-taken",
            Self::DropCompletions => "drop-completions",
            Self::EarlyTimers => "early-timers",
            Self::IgnoreFence => "ignore-fence",
            Self::SwapFifo => "swap-fifo",
            Self::RepeatMessages => "repeat-messages",
            Self::ReuseIds => "reuse-ids",
            Self::DropPromises => "drop-promises",
            Self::DropExpiries => "drop-expiries",
            Self::DropLetters => "drop-letters",
            Self::FireTwice => "fire-twice",
            Self::IgnoreAbort => "ignore-abort",
            Self::SendBeforePersist => "send-before-persist",
            Self::AmnesiacVote => "amnesiac-vote",
            Self::StaleRead => "stale-read",
            Self::PartialSnapshot => "partial-snapshot",
            Self::AckBeforeQuorum => "ack-before-quorum",
            Self::SkipRecent => "skip-recent",
            Self::UnboundRecent => "unbound-recent",
            Self::ProposeActive => "propose-active",
            Self::TrimUndurable => "trim-undurable",
            Self::CutLog => "cut-log",
            Self::IgnoreTerm => "ignore-term",
            Self::OldBoots => "old-boots",
            Self::PointerFirst => "pointer-first",
            Self::BlindUpload => "blind-upload",
            Self::BlindPointer => "blind-pointer",
            Self::ExpireParts => "expire-parts",
            Self::PartialSave => "partial-save",
        }
    }
}

impl Canary {
    /// Whether it is about what is saved.
    fn needs_archive(self) -> bool {
        matches!(
            self,
            Self::PointerFirst | Self::BlindUpload | Self::BlindPointer | Self::ExpireParts | Self::PartialSave
        )
    }

    /// Whether one node alone cannot have this fault.
    fn needs_nodes(self) -> bool {
        matches!(
            self,
            Self::SendBeforePersist
                | Self::AmnesiacVote
                | Self::StaleRead
                | Self::PartialSnapshot
                | Self::AckBeforeQuorum
                | Self::SkipRecent
                | Self::UnboundRecent
                | Self::ProposeActive
                | Self::CutLog
                | Self::IgnoreTerm
                | Self::OldBoots
                | Self::BlindPointer
        )
    }
}

impl Config {
    /// What brings a canary to light that needs rare things to come together.
    fn help(&mut self, canary: Option<Canary>) {
        match canary {
            Some(Canary::StaleRead) => {
                (self.nodes, self.voters, self.partitions, self.growth) = (3, 3, 1, 10_000);
                (self.clients, self.requests, self.think_ms) = (8, 300, 100);
                self.faults = Faults { cut: 1_500, pause: 20, ..Faults::default() };
                self.mix = [0; 19];
                (self.mix[0], self.mix[17]) = (1, 4);
            }
            Some(Canary::IgnoreTerm) => {
                (self.nodes, self.voters, self.partitions, self.growth) = (3, 3, 1, 10_000);
                (self.clients, self.requests, self.think_ms) = (8, 200, 100);
                self.faults = Faults { transfer: 5_000, cut: 300, panic: 500, ..Faults::default() };
                self.mix = [0; 19];
                (self.mix[5], self.mix[7]) = (1, 2);
            }
            Some(Canary::AmnesiacVote) => (self.nodes, self.voters, self.growth) = (3, 3, 10_000),
            _ => {}
        }
    }
}

impl Faults {
    /// What can go wrong between nodes. Each class is on with a probability of one half.
    fn draw_network(&mut self, rng: &mut Rng) {
        let mut class = |low: u64, high: u64| {
            let (on, rate) = (rng.chance(5_000), rng.range(low, high));
            if on { rate } else { 0 }
        };
        self.pause = class(1, 15);
        self.loss = class(50, 2_000);
        self.double = class(100, 3_000);
        self.slow = class(100, 5_000);
        self.bytes_per_ms = class(20, 1_000);
        self.cut = class(50, 800);
        self.members = class(200, 2_000);
        self.transfer = class(100, 1_000);
        self.wipe = class(50, 500);
    }

    /// What can go wrong with the object store.
    fn draw_store(&mut self, rng: &mut Rng) {
        let mut class = |low: u64, high: u64| {
            let (on, rate) = (rng.chance(5_000), rng.range(low, high));
            if on { rate } else { 0 }
        };
        self.store_lost = class(50, 1_500);
        self.store_unknown = class(50, 1_500);
        self.store_late = class(50, 1_000);
        self.store_slow = class(50, 1_000);
        self.store_down = class(2, 50);
        self.store_damage = class(50, 1_000);
        self.store_crash = class(5, 100);
    }
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|canary| canary.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|canary| canary.name()).collect();
            format!("`{text}` is not a canary; there are: {}", names.join(", "))
        })
    }
}

/// Everything that is fixed for a run. Chances are in 10,000.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) nodes: usize,
    pub(crate) partitions: u32,
    /// How far clocks are apart at first, in ms.
    pub(crate) skew_ms: u64,
    /// Shortest time before the faults stop, in ms.
    pub(crate) storm_ms: u64,
    /// Longest pause of a client between two requests, in ms.
    pub(crate) think_ms: u64,
    /// Mean delay of what the network slows down, in ms.
    pub(crate) slow_ms: u64,
    /// Chance that a group grows, in each round of the controller.
    pub(crate) growth: u64,
    /// Voters that a group should have.
    pub(crate) voters: usize,
    pub(crate) tail_entries: u64,
    pub(crate) tail_entries_max: u64,
    /// Chance of a comparison with the model at each tick.
    pub(crate) compare: u64,
    pub(crate) clients: u64,
    /// Requests of all clients together.
    pub(crate) requests: u64,
    pub(crate) accounts: u64,
    /// Keys of each other object service.
    pub(crate) keys: u64,
    /// Longest delay between two parts of the node, in ms.
    pub(crate) delay_ms: u64,
    /// Longest write to the log, in ms.
    pub(crate) fsync_ms: u64,
    /// Applied entries after which a partition is checkpointed.
    pub(crate) checkpoint_entries: u64,
    /// Bytes of raft entries that stay in memory.
    pub(crate) entry_cache_bytes: usize,
    /// Proposals that a partition's queue takes before clients are refused.
    pub(crate) inbox_max: usize,
    /// Turns that an activation runs ahead of their commit.
    pub(crate) speculation: usize,
    /// How long results of idempotent turns of clients are kept, in ms.
    pub(crate) turn_retention: u64,
    /// How long results of idempotent flows are kept, in ms.
    pub(crate) flow_retention: u64,
    /// Relative frequency of each kind of request, see `client`.
    pub(crate) mix: [u64; 19],
    /// Whether failures come in such numbers that letters are dropped.
    pub(crate) flood: bool,
    pub(crate) archive: Archive,
    pub(crate) faults: Faults,
    pub(crate) canary: Option<Canary>,
}

/// How partitions are saved in the object store.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    /// Whether they are.
    pub(crate) on: bool,
    /// Longest time between two rounds of a process, in ms.
    pub(crate) interval_ms: u64,
    /// Longest way of a usual request, in ms.
    pub(crate) way_ms: u64,
    /// Chance that a replica is saved that does not lead.
    pub(crate) followers: u64,
    pub(crate) rules: Rules,
    /// Whether everything is restored beside the cluster when the faults stop.
    pub(crate) rehearsed: bool,
    /// Whether all nodes are lost at the end.
    pub(crate) lost: bool,
}

impl Archive {
    fn draw(mut rng: Rng, partitions: u32, canary: Option<Canary>) -> Self {
        let on = rng.chance(6_000) || canary.is_some_and(Canary::needs_archive);
        let min = rng.range(100, 2_000);
        Self {
            on,
            interval_ms: rng.range(300, 4_000),
            way_ms: rng.range(2, 60),
            followers: if rng.chance(5_000) { rng.range(500, 5_000) } else { 0 },
            rules: Rules {
                partitions,
                sizes: PartSizes { min, spread: rng.range(100, 2_000), max: min + 4_000 },
                keep: usize::try_from(rng.range(1, 3)).unwrap_or(1),
                grace_ms: GRACE_MIN * SCALE + rng.range(0, 2_000 * SCALE),
            },
            rehearsed: on && rng.chance(3_000),
            lost: on && rng.chance(3_000),
        }
    }
}

/// Chances of faults: of each event for crashes, otherwise of each thing that can go wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// The machine loses power.
    pub(crate) power: u64,
    /// The process dies.
    pub(crate) kill: u64,
    /// A write to the log fails, with unknown outcome.
    pub(crate) log_error: u64,
    /// A write to the state store fails, with unknown outcome.
    pub(crate) state_error: u64,
    /// The clock jumps, at each tick.
    pub(crate) clock: u64,
    /// A message between partitions is lost.
    pub(crate) drop: u64,
    /// A message between partitions arrives twice.
    pub(crate) duplicate: u64,
    /// User code panics.
    pub(crate) panic: u64,
    /// A record of an attempt that is over arrives late.
    pub(crate) stale: u64,
    /// An idle object is forgotten by the host.
    pub(crate) passivate: u64,
    /// A request of a client is repeated before it is answered.
    pub(crate) impatience: u64,
    /// A process is stopped without being told, at each event.
    pub(crate) pause: u64,
    /// A message between nodes, or the second half of a snapshot, is lost.
    pub(crate) loss: u64,
    /// A message between nodes arrives twice.
    pub(crate) double: u64,
    /// A message between nodes takes long, and others overtake it.
    pub(crate) slow: u64,
    /// What a link carries, in bytes per ms; 0 is everything.
    pub(crate) bytes_per_ms: u64,
    /// A link or a node is cut, ten times a second.
    pub(crate) cut: u64,
    /// A replica is to be replaced or removed, in each round of the controller.
    pub(crate) members: u64,
    /// Leadership is to be handed over, in each round of the controller.
    pub(crate) transfer: u64,
    /// A machine loses its disks, in each round of the controller.
    pub(crate) wipe: u64,
    /// A request to the object store fails without effect.
    pub(crate) store_lost: u64,
    /// It fails and has its effect.
    pub(crate) store_unknown: u64,
    /// A write or a deletion fails and has its effect when the next attempt has long been made.
    pub(crate) store_late: u64,
    /// A request takes long, and others overtake it.
    pub(crate) store_slow: u64,
    /// The object store is down for a while, at each request.
    pub(crate) store_down: u64,
    /// An object is cut or a bit of it flipped when it is written.
    pub(crate) store_damage: u64,
    /// A process dies when it hears from the object store.
    pub(crate) store_crash: u64,
}

impl Config {
    /// The configuration of `seed`: each fault class is on with a probability of one half, then at its own rate.
    pub(crate) fn draw(seed: u64, canary: Option<Canary>) -> Self {
        let mut rng = Rng::stream(seed, "config");
        let mut class = |low: u64, high: u64| {
            let (on, rate) = (rng.chance(5_000), rng.range(low, high));
            if on { rate } else { 0 }
        };
        let mut faults = Faults {
            power: class(5, 60),
            kill: class(5, 60),
            log_error: class(50, 300),
            state_error: class(100, 500),
            clock: class(20, 300),
            drop: class(100, 2_000),
            duplicate: class(100, 3_000),
            panic: class(100, 2_500),
            stale: class(500, 5_000),
            passivate: class(100, 2_000),
            impatience: class(100, 1_500),
            ..Faults::default()
        };
        let mut rng = Rng::stream(seed, "topology");
        let nodes = match canary {
            // What runs although it should not is seen best where nothing else stops it.
            Some(Canary::IgnoreAbort) => 1,
            Some(canary) if canary.needs_nodes() => [3, 3, 3, 4, 5][usize::try_from(rng.below(5)).unwrap_or(0)],
            _ => [1, 1, 2, 3, 3, 3, 3, 4, 5][usize::try_from(rng.below(9)).unwrap_or(0)],
        };
        if nodes > 1 {
            faults.draw_network(&mut Rng::stream(seed, "network"));
        }
        faults.draw_store(&mut Rng::stream(seed, "store"));
        match canary {
            Some(Canary::SkipFsync | Canary::AckBeforeCommit) => faults.power = faults.power.max(20),
            Some(Canary::DropTaken | Canary::DropCompletions | Canary::SwapFifo) => faults.kill = faults.kill.max(20),
            Some(Canary::IgnoreFence) => (faults.panic, faults.stale) = (2_000, 5_000),
            Some(Canary::DropPromises | Canary::DropExpiries | Canary::DropLetters) => {
                faults.kill = faults.kill.max(20);
            }
            Some(Canary::ReuseIds) => faults.stale = 5_000,
            Some(Canary::TrimUndurable) => faults.power = faults.power.max(20),
            Some(Canary::SendBeforePersist) => faults.power = 60,
            Some(Canary::AmnesiacVote) => faults.wipe = 1_000,
            Some(Canary::SkipRecent | Canary::UnboundRecent | Canary::ProposeActive) => {
                (faults.cut, faults.kill, faults.transfer) = (800, 40, 1_000);
            }
            Some(Canary::PartialSnapshot) => faults.cut = 800,
            Some(Canary::CutLog) => (faults.cut, faults.members) = (2_000, 0),
            Some(Canary::OldBoots) => (faults.kill, faults.slow) = (60, 3_000),
            Some(Canary::BlindUpload) => faults.store_damage = 500,
            Some(Canary::BlindPointer) => (faults.store_slow, faults.transfer) = (2_000, 1_000),
            _ => {}
        }
        let mut mix = [0; 19];
        for weight in &mut mix {
            *weight = if rng.chance(7_000) { rng.range(1, 10) } else { 0 };
        }
        // Nothing at all, so that ids come again while records of their earlier lives are under way; a while; for good.
        let mut flow_retention = [0, rng.range(1, 3_000), names::FOR_GOOD][usize::try_from(rng.below(3)).unwrap_or(0)];
        if canary == Some(Canary::ReuseIds) {
            flow_retention = 0;
            // Idempotent flows, and orders that end them.
            (mix[10], mix[11]) = (20, 20);
        }
        match canary {
            Some(Canary::DropPromises) => (mix[12], mix[13]) = (20, 20),
            Some(Canary::DropLetters) => (mix[6], mix[8]) = (20, 20),
            Some(Canary::FireTwice) => mix[15] = 20,
            Some(Canary::IgnoreAbort) => (mix[5], mix[7], mix[10]) = (20, 20, 20),
            Some(Canary::SkipRecent | Canary::UnboundRecent) => (mix[0], mix[1]) = (40, 20),
            Some(Canary::ProposeActive) => (mix[5], mix[7]) = (30, 30),
            _ => {}
        }
        if mix.iter().all(|weight| *weight == 0) {
            mix[0] = 1;
        }
        let partitions = u32::try_from(rng.range(1, if nodes == 1 { 4 } else { 3 })).unwrap_or(1);
        let storm_ms = if nodes == 1 { 0 } else { rng.range(3_000, 12_000) };
        let mut config = Self {
            nodes,
            partitions,
            skew_ms: if rng.chance(5_000) { rng.range(0, 2_000) } else { 0 },
            storm_ms,
            think_ms: if nodes == 1 { 30 } else { rng.range(30, 1_000) },
            slow_ms: rng.range(2, 100),
            growth: rng.range(500, 10_000),
            voters: if nodes == 5 && rng.chance(4_000) { 5 } else { nodes.min(3) },
            tail_entries: if canary == Some(Canary::CutLog) { 12 } else { rng.range(0, 12) },
            tail_entries_max: rng.range(12, 60),
            compare: if nodes == 1 { 1_500 } else { 400 },
            clients: rng.range(1, 8),
            requests: rng.range(20, 90),
            accounts: rng.range(2, 5),
            keys: rng.range(1, 4),
            delay_ms: rng.range(0, 4),
            fsync_ms: if rng.chance(5_000) { rng.range(1, 60) } else { 1 },
            checkpoint_entries: rng.range(2, 24),
            entry_cache_bytes: if rng.chance(5_000) || canary == Some(Canary::CutLog) { 0 } else { 64 << 10 },
            inbox_max: if rng.chance(3_000) { 4 } else { 1_000 },
            speculation: usize::try_from(rng.range(1, 8)).unwrap_or(1),
            turn_retention: if rng.chance(7_500) { 2_000 } else { 0 },
            flow_retention,
            mix,
            flood: rng.chance(100),
            archive: Archive::draw(Rng::stream(seed, "archived"), partitions, canary),
            faults,
            canary,
        };
        config.help(canary);
        config
    }
}
