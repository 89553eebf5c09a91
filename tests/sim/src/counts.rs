//! What happened how often, for the report.

/// What happened how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests of clients.
    pub requests: u64,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Requests whose outcome their client does not know.
    pub unknown: u64,
    /// Requests that were refused at the door.
    pub refused: u64,
    /// Committed entries.
    pub entries: u64,
    /// Applied commands, replays included.
    pub commands: u64,
    /// Turns that ran on a void state.
    pub rejected: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Crashes of machine or process.
    pub crashes: u64,
    /// Exits after an error of a disk.
    pub exits: u64,
    /// Comparisons of a partition's tables with the model.
    pub compared: u64,
    /// Executions of user code.
    pub executions: u64,
    /// Records of attempts that were over.
    pub fenced: u64,
    /// Runs that schedules asked for.
    pub scheduled: u64,
    /// Results, journals and states that were forgotten.
    pub forgotten: u64,
    /// Dead letters.
    pub letters: u64,
    /// Dead letters that were dropped because there were too many.
    pub dropped: u64,
    /// Promises that were completed.
    pub promises: u64,
    /// Calls that would have waited for themselves.
    pub deadlocks: u64,
    /// Edits of states that were carried out.
    pub edits: u64,
    /// Invocations that were restarted or redriven.
    pub repeated: u64,
    /// Times that a leader began.
    pub led: u64,
    /// Messages between nodes.
    pub messages: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Messages of an earlier process, which were dropped.
    pub old_boots: u64,
    /// Messages that a replica did not take.
    pub unsound: u64,
    /// Cuts of links.
    pub cuts: u64,
    /// Processes that were stopped for a while.
    pub pauses: u64,
    /// Disks that were lost.
    pub wipes: u64,
    /// Changes of members.
    pub changes: u64,
    /// Leaders that were asked to hand over.
    pub transfers: u64,
    /// Snapshots that were sent.
    pub snapshots: u64,
    /// Snapshots that were installed.
    pub restored: u64,
    /// Entries of a log that were read again for a follower.
    pub fetches: u64,
    /// Requests that were passed on again.
    pub retries: u64,
    /// Repeated requests that were answered from the recent results.
    pub recent_done: u64,
    /// Repeated requests whose invocation was found under way.
    pub attached: u64,
    /// Repeated requests of which nobody knows what became.
    pub recent_unknown: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Rounds of saving partitions.
    pub rounds: u64,
    /// Rounds that took too long, and were given up.
    pub rounds_late: u64,
    /// Processes that died in the middle of a round.
    pub rounds_cut: u64,
    /// Snapshots that were made in the object store.
    pub saved: u64,
    /// Snapshots that were not made.
    pub unsaved: u64,
    /// Snapshots that were made too late: the pointer named a newer one.
    pub overtaken: u64,
    /// Times that a pointer was moved by whoever asked.
    pub pointed: u64,
    /// Times that all of a snapshot was read behind the pointer.
    pub verified: u64,
    /// Parts that were in the object store already.
    pub parts_reused: u64,
    /// Parts that were removed because no snapshot names them.
    pub parts_removed: u64,
    /// Snapshots that were removed because newer ones are kept.
    pub snapshots_removed: u64,
    /// Requests to the object store.
    pub store_requests: u64,
    /// Requests that it did not answer well.
    pub store_failures: u64,
    /// Times that it was down.
    pub store_outages: u64,
    /// Objects that did not reach it as they were sent.
    pub store_damaged: u64,
    /// Parts that an operator took away because their content was wrong.
    pub mended: u64,
    /// Times that everything was restored from the object store.
    pub rehearsals: u64,
    /// Snapshots that were passed over then.
    pub passed_over: u64,
    /// Pairs of partitions whose snapshots did not fit together then.
    pub gaps: u64,
    /// Events.
    pub events: u64,
    /// Simulated ms.
    pub simulated_ms: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, one: Self) {
        self.requests += one.requests;
        self.acknowledged += one.acknowledged;
        self.unknown += one.unknown;
        self.refused += one.refused;
        self.entries += one.entries;
        self.commands += one.commands;
        self.rejected += one.rejected;
        self.timers += one.timers;
        self.checkpoints += one.checkpoints;
        self.crashes += one.crashes;
        self.exits += one.exits;
        self.compared += one.compared;
        self.executions += one.executions;
        self.fenced += one.fenced;
        self.scheduled += one.scheduled;
        self.forgotten += one.forgotten;
        self.letters += one.letters;
        self.dropped += one.dropped;
        self.promises += one.promises;
        self.deadlocks += one.deadlocks;
        self.edits += one.edits;
        self.repeated += one.repeated;
        self.led += one.led;
        self.messages += one.messages;
        self.lost += one.lost;
        self.old_boots += one.old_boots;
        self.unsound += one.unsound;
        self.cuts += one.cuts;
        self.pauses += one.pauses;
        self.wipes += one.wipes;
        self.changes += one.changes;
        self.transfers += one.transfers;
        self.snapshots += one.snapshots;
        self.restored += one.restored;
        self.fetches += one.fetches;
        self.retries += one.retries;
        self.recent_done += one.recent_done;
        self.attached += one.attached;
        self.recent_unknown += one.recent_unknown;
        self.reads += one.reads;
        self.rounds += one.rounds;
        self.rounds_late += one.rounds_late;
        self.rounds_cut += one.rounds_cut;
        self.saved += one.saved;
        self.unsaved += one.unsaved;
        self.overtaken += one.overtaken;
        self.pointed += one.pointed;
        self.verified += one.verified;
        self.parts_reused += one.parts_reused;
        self.parts_removed += one.parts_removed;
        self.snapshots_removed += one.snapshots_removed;
        self.store_requests += one.store_requests;
        self.store_failures += one.store_failures;
        self.store_outages += one.store_outages;
        self.store_damaged += one.store_damaged;
        self.mended += one.mended;
        self.rehearsals += one.rehearsals;
        self.passed_over += one.passed_over;
        self.gaps += one.gaps;
        self.events += one.events;
        self.simulated_ms += one.simulated_ms;
    }
}
