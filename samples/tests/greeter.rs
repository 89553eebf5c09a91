//! The greeter greets.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use abide::Server;
use abide::testing::World;
use samples::greeter::Greeter;

#[tokio::test]
async fn it_greets() {
    let dir = tempfile::tempdir().unwrap();
    let node = common::start(Server::builder().bind::<Greeter>(), dir.path()).await;
    assert_eq!(node.client().service::<Greeter>().greet("Ada".to_owned()).await.unwrap(), "Hello, Ada!");
    node.stop().await;
}

#[abide::test(bind(Greeter), crash_at_every_commit)]
async fn it_greets_whatever_crashes(world: World) {
    assert_eq!(world.client().service::<Greeter>().greet("Ada".to_owned()).await.unwrap(), "Hello, Ada!");
}
