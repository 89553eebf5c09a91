//! The proof that the checks work: each deliberate fault is noticed within a few seeds.

use sim::{Canary, Invariant};

/// Runs seeds until the canary is caught, at most `within`.
fn caught(canary: Canary, within: u64) -> Invariant {
    let found = (0..within).find_map(|seed| sim::run(seed, Some(canary), false).violation);
    found.unwrap_or_else(|| panic!("{} survived {within} seeds", canary.name())).invariant
}

#[test]
fn a_log_that_does_not_sync() {
    assert_eq!(caught(Canary::SkipFsync, 10), Invariant::I1NoLostWork);
}

#[test]
fn an_answer_before_its_commit() {
    assert_eq!(caught(Canary::AckBeforeCommit, 10), Invariant::I1NoLostWork);
}

#[test]
fn a_lost_record_of_taken_messages() {
    // What it leads to first, a message taken twice, another hash or a wrong answer, depends on the seed.
    caught(Canary::DropTaken, 20);
}

#[test]
fn a_lost_result_of_an_idempotent_request() {
    // Noticed in the tables, or when the request is carried out again and answered otherwise.
    caught(Canary::DropCompletions, 20);
}

#[test]
fn a_timer_before_its_time() {
    assert_eq!(caught(Canary::EarlyTimers, 10), Invariant::I13Timers);
}

#[test]
fn a_record_of_an_old_attempt_under_a_new_number() {
    let found = caught(Canary::IgnoreFence, 20);
    assert!(matches!(found, Invariant::I4EffectOnce | Invariant::I5JournalAppendOnly), "{found:?}");
}

#[test]
fn a_mailbox_out_of_order() {
    // Noticed by the comparison of mailboxes, or by the machine when it meets an element that has ended.
    caught(Canary::SwapFifo, 40);
}

#[test]
fn a_message_taken_twice() {
    assert_eq!(caught(Canary::RepeatMessages, 20), Invariant::I16Exchange);
}

#[test]
fn a_record_of_an_earlier_life_under_the_present_number() {
    // What it leads to first, an entry in a strange journal or a step that is not open, depends on the seed.
    caught(Canary::ReuseIds, 60);
}

#[test]
fn a_lost_expiry() {
    // Noticed in the index, or when something stays that should be forgotten.
    caught(Canary::DropExpiries, 20);
}

#[test]
fn a_promise_that_may_be_completed_again() {
    // Noticed in the table of promises, or by a flow that waits for one that was completed.
    let found = caught(Canary::DropPromises, 20);
    assert!(matches!(found, Invariant::I18Promises | Invariant::I4EffectOnce), "{found:?}");
}

#[test]
fn a_lost_letter() {
    assert_eq!(caught(Canary::DropLetters, 20), Invariant::I19Letters);
}

#[test]
fn a_time_of_a_schedule_that_is_run_twice() {
    assert_eq!(caught(Canary::FireTwice, 20), Invariant::I21Schedules);
}

#[test]
fn user_code_of_what_is_paused_or_over() {
    assert_eq!(caught(Canary::IgnoreAbort, 60), Invariant::I22Stopped);
}

#[test]
fn a_promise_before_it_is_durable() {
    // Noticed when a committed entry is replaced, or by a replica that never catches up.
    caught(Canary::SendBeforePersist, 60);
}

#[test]
fn a_replica_that_forgot_what_it_promised() {
    // What it says is noticed, or the entries that are committed twice by that.
    let found = caught(Canary::AmnesiacVote, 20);
    assert!(matches!(found, Invariant::I12Amnesia | Invariant::I10LogAgreement), "{found:?}");
}

#[test]
fn a_read_of_a_leader_that_was_replaced() {
    assert_eq!(caught(Canary::StaleRead, 20), Invariant::I2Linearizable);
}

#[test]
fn a_snapshot_without_a_row() {
    // What it leads to first depends on the row.
    caught(Canary::PartialSnapshot, 20);
}

#[test]
fn an_acknowledgement_without_a_quorum() {
    assert_eq!(caught(Canary::AckBeforeQuorum, 20), Invariant::I1NoLostWork);
}

#[test]
fn a_repeated_request_that_nobody_looks_for() {
    assert_eq!(caught(Canary::SkipRecent, 60), Invariant::I4EffectOnce);
}

#[test]
fn a_repeated_request_that_is_believed_not_to_be_done() {
    assert_eq!(caught(Canary::UnboundRecent, 100), Invariant::I4EffectOnce);
}

#[test]
fn a_repeated_request_behind_the_end_of_its_invocation() {
    assert_eq!(caught(Canary::ProposeActive, 100), Invariant::I4EffectOnce);
}

#[test]
fn a_log_that_is_cut_behind_lost_state() {
    assert_eq!(caught(Canary::TrimUndurable, 20), Invariant::I14Snapshots);
}

#[test]
fn a_log_without_what_a_follower_needs() {
    caught(Canary::CutLog, 60);
}

#[test]
fn records_of_a_leadership_that_is_over() {
    // Two results of one step, or a journal that does not fit: what comes first depends on the seed.
    caught(Canary::IgnoreTerm, 20);
}

#[test]
fn a_message_of_an_earlier_process() {
    assert_eq!(caught(Canary::OldBoots, 20), Invariant::I11Transport);
}

#[test]
fn a_pointer_before_the_parts() {
    assert_eq!(caught(Canary::PointerFirst, 10), Invariant::I23Bucket);
}

#[test]
fn a_store_that_tells_what_was_sent() {
    assert_eq!(caught(Canary::BlindUpload, 20), Invariant::I23Bucket);
}

#[test]
fn a_pointer_that_is_moved_whatever_it_names() {
    assert_eq!(caught(Canary::BlindPointer, 60), Invariant::I23Bucket);
}

#[test]
fn parts_that_are_removed_because_they_are_old() {
    assert_eq!(caught(Canary::ExpireParts, 20), Invariant::I23Bucket);
}

#[test]
fn a_row_that_is_not_saved() {
    assert_eq!(caught(Canary::PartialSave, 10), Invariant::I23Bucket);
}
