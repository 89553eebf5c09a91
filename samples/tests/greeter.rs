//! The greeter greets.

mod common;

use abide::Server;
use samples::greeter::Greeter;

#[tokio::test]
async fn it_greets() {
    let dir = tempfile::tempdir().unwrap();
    let node = common::start(Server::builder().bind::<Greeter>(), dir.path()).await;
    assert_eq!(node.client().service::<Greeter>().greet("Ada".to_owned()).await.unwrap(), "Hello, Ada!");
    node.stop().await;
}
