//! The chat: everybody hears everything, in one order.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use abide::prelude::*;
use abide::testing::World;
use samples::chat::{Inbox, Message, Room, RoomError, Say};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn say(from: &str, text: &str) -> Say {
    Say { from: from.to_owned(), text: text.to_owned() }
}

async fn join(client: &Client, names: &[&str]) {
    for (index, name) in names.iter().enumerate() {
        assert_eq!(client.object::<Room>("lobby").join((*name).to_owned()).await.unwrap(), index + 1);
    }
}

fn lines(messages: Vec<Message>) -> Vec<String> {
    messages.into_iter().map(|Message { number, from, text, .. }| format!("{number} {from}: {text}")).collect()
}

/// Takes out what somebody has not read.
async fn read(client: &Client, name: &str) -> Vec<String> {
    lines(client.object::<Inbox>(name).read().await.unwrap())
}

#[abide::test(bind(Room, Inbox), crash_at_every_commit)]
async fn everybody_hears_everything_in_one_order(world: World) {
    let client = world.client();
    let lobby = client.object::<Room>("lobby");
    join(&client, &["ada", "bob", "cyd"]).await;
    for (from, text) in [("ada", "hello"), ("bob", "hi"), ("ada", "tea?")] {
        lobby.say(say(from, text)).await.unwrap();
    }
    assert_eq!(lobby.leave("cyd".to_owned()).await.unwrap(), 2);
    lobby.say(say("bob", "yes")).await.unwrap();
    world.advance(Duration::from_secs(10)).await;
    assert_eq!(lines(lobby.said().await.unwrap()), ["1 ada: hello", "2 bob: hi", "3 ada: tea?", "4 bob: yes"]);
    assert_eq!(client.object::<Inbox>("ada").count().await.unwrap(), 2);
    assert_eq!(read(&client, "ada").await, ["2 bob: hi", "4 bob: yes"]);
    assert_eq!(read(&client, "bob").await, ["1 ada: hello", "3 ada: tea?"]);
    assert_eq!(read(&client, "cyd").await, ["1 ada: hello", "2 bob: hi", "3 ada: tea?"]);
    assert!(read(&client, "cyd").await.is_empty());
    assert!(world.unfinished().is_empty(), "{:?}", world.unfinished());
}

/// Messages on the way are lost, and sent again; nobody hears one twice, or out of order.
#[abide::test(bind(Room, Inbox))]
async fn a_bad_network_changes_nothing(world: World) {
    world.faults().lose_messages(0.5);
    let client = world.client();
    join(&client, &["ada", "bob", "cyd"]).await;
    let expected: Vec<_> = (1..=20).map(|number| format!("{number} ada: line {number}")).collect();
    for number in 1..=20 {
        client.object::<Room>("lobby").say(say("ada", &format!("line {number}"))).await.unwrap();
    }
    world.advance(Duration::from_secs(600)).await;
    assert_eq!(read(&client, "bob").await, expected);
    assert_eq!(read(&client, "cyd").await, expected);
}

#[abide::test(bind(Room, Inbox))]
async fn only_members_speak(world: World) {
    let client = world.client();
    join(&client, &["ada"]).await;
    let refused = client.object::<Room>("lobby").say(say("eve", "psst")).await.unwrap_err();
    assert!(matches!(&refused, abide::CallError::Domain(RoomError::NotAMember(name)) if name == "eve"), "{refused:?}");
    assert_eq!(refused.code(), 403);
    assert!(client.object::<Room>("lobby").said().await.unwrap().is_empty());
}

/// Each message that comes gives an inbox another month.
#[abide::test(bind(Room, Inbox))]
async fn an_inbox_is_forgotten_after_a_quiet_month(world: World) {
    let client = world.client();
    join(&client, &["ada", "bob"]).await;
    client.object::<Room>("lobby").say(say("ada", "hello")).await.unwrap();
    world.advance(29 * DAY).await;
    client.object::<Room>("lobby").say(say("ada", "still there?")).await.unwrap();
    world.advance(29 * DAY).await;
    assert_eq!(client.object::<Inbox>("bob").count().await.unwrap(), 2);
    world.advance(2 * DAY).await;
    assert_eq!(client.object::<Inbox>("bob").count().await.unwrap(), 0);
    assert_eq!(client.object::<Room>("lobby").said().await.unwrap().len(), 2);
}

/// A room takes fifty messages a second; another room does not notice.
#[abide::test(bind(Room, Inbox))]
async fn a_room_is_not_flooded(world: World) {
    let client = world.client();
    join(&client, &["ada"]).await;
    client.object::<Room>("garden").join("ada".to_owned()).await.unwrap();
    let lobby = client.object::<Room>("lobby");
    for _ in 0..50 {
        lobby.say(say("ada", "spam")).await.unwrap();
    }
    assert_eq!(lobby.say(say("ada", "spam")).await.unwrap_err().code(), 429);
    client.object::<Room>("garden").say(say("ada", "hello")).await.unwrap();
    world.advance(Duration::from_secs(1)).await;
    assert_eq!(lobby.say(say("ada", "sorry")).await.unwrap(), 51);
}

#[abide::test(bind(Room, Inbox))]
async fn a_room_has_an_end(world: World) {
    let client = world.client();
    let lobby = client.object::<Room>("lobby");
    for number in 0..500 {
        lobby.join(number.to_string()).await.unwrap();
    }
    assert_eq!(lobby.join("one more".to_owned()).await.unwrap_err().code(), 409);
    assert_eq!(lobby.join("17".to_owned()).await.unwrap(), 500);
    assert_eq!(lobby.members().await.unwrap().len(), 500);
}
