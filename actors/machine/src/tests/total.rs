//! Nothing that can stand in a log stops a partition or splits its replicas.

use abide_model::codec;
use abide_model::command::{Body, Command};
use abide_model::effect::Effect;
use abide_model::id::PartitionId;
use abide_model::table::AppliedRow;
use proptest::prelude::*;

use super::arbitrary::{aim, commands};
use crate::Machine;
use crate::testing::World;

/// How often a request is answered.
fn answers(effects: &[Effect], number: u64) -> usize {
    let to = |effect: &&Effect| match effect {
        Effect::Accepted { request, .. } | Effect::Answered { request, .. } => *request == number,
        _ => false,
    };
    effects.iter().filter(to).count()
}

/// Whether somebody waits for an answer to this command.
fn is_request(body: &Body) -> bool {
    match body {
        Body::Invoke(_) | Body::Signal(_) | Body::Control(_) | Body::Letter(_) | Body::Schedule(_) | Body::Meta(_) => {
            true
        }
        Body::Turn(turn) => turn.accept.is_some(),
        Body::AttemptFailed(failed) => failed.accept.is_some(),
        Body::LeaderStart(_) | Body::Append(_) | Body::FireTimers(_) | Body::Deliver(_) | Body::OutboxAck(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    /// Any command is taken without a panic or an error, the tables stay consistent ([`World::ask`] looks), and every
    /// request has exactly one answer.
    ///
    /// A replica that was restarted before each command and read it from disk writes and causes the same (invariant I9).
    #[test]
    fn every_command_is_taken_and_replicas_agree(commands in commands(40)) {
        let mut world = World::of(0, 2);
        let mut now = 1000;
        for (n, (wait, body)) in (1..).zip(commands) {
            now += wait;
            world.at(now);
            let body = aim(&world, body);
            let request = if is_request(&body) { n } else { 0 };
            let command = Command { request, body: Some(body.clone()) };
            let applied = AppliedRow {
                log_time: now,
                leader_term: world.machine.leader_term(),
                lives: world.machine.lives(),
                forgotten_version: world.machine.forgotten_version(),
                ..AppliedRow::default()
            };
            let mut replica = Machine::new(PartitionId(0), 2, &applied);
            let read = codec::decode("a command", &codec::encode(&command)).unwrap();
            let before = world.rows.clone();
            let twin = replica.apply(&before, read).unwrap();
            let transition = world.machine.clone().apply(&before, command).unwrap();
            prop_assert_eq!(&twin.writes, &transition.writes);
            prop_assert_eq!(&twin.effects, &transition.effects);
            if request > 0 {
                prop_assert_eq!(answers(&transition.effects, request), 1);
            }
            world.ask(request, body);
        }
    }
}
