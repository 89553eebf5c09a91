use abide_model::command::{Attach, FlowMessage, ParcelBody, Signal, Sink};
use abide_model::id::{AwakeableId, InvocationId};
use abide_model::protocol::{
    AwakeableResult, Code, CompleteAwakeable, Failure, InvocationTarget, NotificationId, NotificationResult,
    SendSignal, SignalId, SignalResult, Value, Void,
};
use abide_model::table::Outbox;

use crate::testing::*;

fn send_signal(target: InvocationId, index: u32) -> FlowMessage {
    let signal = SendSignal {
        target_invocation_id: target.to_string(),
        signal_id: Some(SignalId::Index(index)),
        result: Some(SignalResult::Void(Void {})),
        entry_name: String::new(),
    };
    message(Code::SEND_SIGNAL, &signal)
}

fn wait_for(code: Code, target: InvocationId, completion: u32) -> FlowMessage {
    let command =
        InvocationTarget { invocation_id: target.to_string(), result_completion_id: completion, name: String::new() };
    message(code, &command)
}

fn waiting() -> (World, InvocationId) {
    let mut world = World::of(0, 2);
    let flow = world.start_flow(1, plain_flow());
    (world, flow)
}

#[test]
fn a_signal_is_delivered_in_the_same_step() {
    let (mut world, flow) = waiting();
    let other = world.start_flow(2, plain_flow());
    world.append(flow, vec![send_signal(other, 20)]);
    assert_eq!(world.last_notification(other).id, Some(NotificationId::SignalIndex(20)));
    // To itself as well.
    world.append(flow, vec![send_signal(flow, 21)]);
    assert_eq!(world.codes(flow), [Code::INPUT, Code::SEND_SIGNAL, Code::SEND_SIGNAL, Code::SIGNAL]);
    world.append(flow, vec![send_signal(far(3), 22)]);
    let signal =
        Signal { target: bytes(far(3)), signal: Some(SignalId::Index(22)), result: Some(SignalResult::Void(Void {})) };
    assert_eq!(world.rows.all::<Outbox>()[0].1.body, Some(ParcelBody::Signal(signal)));
}

/// Invariant I6: a waiting flow is started by the first completion; a second one is there for those who look.
#[test]
fn an_awakeable_is_completed_by_its_id() {
    for (result, told) in [
        (
            AwakeableResult::Value(Value { content: "v".into() }),
            NotificationResult::Value(Value { content: "v".into() }),
        ),
        (AwakeableResult::Failure(Failure::new(500, "x")), NotificationResult::Failure(Failure::new(500, "x"))),
    ] {
        let (mut world, flow) = waiting();
        let other = world.start_flow(2, plain_flow());
        world.append(other, vec![suspend(&[], &[1, 17])]);
        let awakeable_id = AwakeableId { invocation: other, signal: 17 }.to_string();
        let completion = CompleteAwakeable { awakeable_id, result: Some(result), name: String::new() };
        let effects = world.append(flow, vec![message(Code::COMPLETE_AWAKEABLE, &completion)]);
        assert_eq!(effects.last(), Some(&start(other)));
        let notification = world.last_notification(other);
        assert_eq!((notification.id, notification.result), (Some(NotificationId::SignalIndex(17)), Some(told)));
    }
}

#[test]
fn an_attached_flow_learns_the_result() {
    let (mut world, flow) = waiting();
    world.apply(invoked(keyed(2, plain_flow())));
    world.append(flow, vec![wait_for(Code::ATTACH_INVOCATION, id(2), 1), suspend(&[1], &[])]);
    assert_eq!(world.status(flow), "suspended");
    let effects = world.append(id(2), vec![output("r"), end()]);
    assert_eq!(effects.last(), Some(&start(flow)));
    assert_eq!(world.codes(flow).last(), Some(&Code::ATTACH_DONE));
    // Afterwards, from the record.
    world.append(flow, vec![wait_for(Code::ATTACH_INVOCATION, id(2), 2)]);
    let result = world.last_notification(flow).result;
    assert_eq!(result, Some(NotificationResult::Value(Value { content: "r".into() })));
}

#[test]
fn a_peek_is_answered_at_once() {
    let (mut world, flow) = waiting();
    world.apply(invoked(keyed(2, plain_flow())));
    world.append(flow, vec![wait_for(Code::GET_INVOCATION_OUTPUT, id(2), 1)]);
    let told = world.last_notification(flow);
    assert_eq!((told.id, told.result), (Some(NotificationId::Completion(1)), Some(NotificationResult::Void(Void {}))));
    world.append(id(2), vec![output("r"), end()]);
    world.append(flow, vec![wait_for(Code::GET_INVOCATION_OUTPUT, id(2), 2)]);
    let result = world.last_notification(flow).result;
    assert_eq!(result, Some(NotificationResult::Value(Value { content: "r".into() })));
    assert_eq!(world.codes(flow).last(), Some(&Code::OUTPUT_DONE));
    assert!(world.row(flow).sinks.is_empty());
}

#[test]
fn what_is_unknown_is_answered_with_404() {
    for code in [Code::ATTACH_INVOCATION, Code::GET_INVOCATION_OUTPUT] {
        let (mut world, flow) = waiting();
        world.append(flow, vec![wait_for(code, id(99), 1)]);
        let result = world.last_notification(flow).result;
        assert!(matches!(result, Some(NotificationResult::Failure(failure)) if failure.code == 404));
    }
}

#[test]
fn questions_to_other_partitions_go_through_the_outbox() {
    let (mut world, flow) = waiting();
    let ask = |code| wait_for(code, far(9), 1);
    world.append(flow, vec![ask(Code::ATTACH_INVOCATION), ask(Code::GET_INVOCATION_OUTPUT)]);
    let attach = |code| Attach { target: bytes(far(9)), sink: Some(Sink::new(flow, 1, 1, code)) };
    let sent: Vec<_> = world.rows.all::<Outbox>().into_iter().map(|(_, parcel)| parcel.body.unwrap()).collect();
    assert_eq!(sent, [ParcelBody::Attach(attach(Code::ATTACH_DONE)), ParcelBody::Peek(attach(Code::OUTPUT_DONE))]);
}

#[test]
fn names_of_nobody_pause() {
    let bad = |code| message(code, &InvocationTarget { invocation_id: "inv_x".into(), ..InvocationTarget::default() });
    let awakeable = CompleteAwakeable { awakeable_id: "sign_x".into(), ..CompleteAwakeable::default() };
    for bad in [
        bad(Code::ATTACH_INVOCATION),
        bad(Code::GET_INVOCATION_OUTPUT),
        bad(Code::SEND_SIGNAL),
        message(Code::COMPLETE_AWAKEABLE, &awakeable),
    ] {
        let (mut world, flow) = waiting();
        world.append(flow, vec![bad]);
        assert_eq!((world.status(flow), world.row(flow).journal_len), ("paused", 1));
    }
}
