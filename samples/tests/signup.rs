//! The signup: a link is followed once, in time, or not at all.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use abide::prelude::*;
use abide::testing::World;
use samples::signup::{Letterbox, Signup, SignupStatus};

const EMAIL: &str = "ada@example.org";
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn letters(client: &Client) -> Vec<String> {
    client.object::<Letterbox>(EMAIL).letters().await.unwrap()
}

/// Lets Ada sign up; answers the secret in the letter that she gets.
async fn sign_up(world: &World) -> String {
    world.client().workflow::<Signup>("ada").run(EMAIL.to_owned()).send().await.unwrap();
    world.advance(HOUR).await;
    let letters = letters(&world.client()).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    letters[0].split('"').nth(1).unwrap().to_owned()
}

async fn end(client: &Client) -> SignupStatus {
    client.workflow_handle::<Signup>("ada").attach().await.unwrap()
}

#[abide::test(bind(Signup, Letterbox), crash_at_every_commit)]
async fn who_follows_the_link_is_in(world: World) {
    let client = world.client();
    let ada = client.workflow::<Signup>("ada");
    assert_eq!(ada.status().await.unwrap(), SignupStatus::New);
    let secret = sign_up(&world).await;
    assert_eq!(ada.status().await.unwrap(), SignupStatus::Mailed { email: EMAIL.to_owned() });
    assert_eq!(ada.confirm("0123456789abcdef".to_owned()).await.unwrap_err().code(), 403);
    assert_eq!(ada.confirm(secret.clone()).await.unwrap(), "confirmed");
    assert_eq!(end(&client).await, SignupStatus::Done);
    assert_eq!(ada.confirm(secret).await.unwrap(), "confirmed before");
    world.advance(HOUR).await;
    assert_eq!(letters(&client).await.len(), 2);
    assert_eq!(letters(&client).await[1], "You are in, ada.");
    assert!(world.unfinished().is_empty(), "{:?}", world.unfinished());
}

#[abide::test(bind(Signup, Letterbox), crash_at_every_commit)]
async fn a_link_expires_after_a_day(world: World) {
    let client = world.client();
    let secret = sign_up(&world).await;
    assert_eq!(end(&client).await, SignupStatus::Expired);
    assert_eq!(world.elapsed().as_secs(), 24 * HOUR.as_secs());
    let late = client.workflow::<Signup>("ada").confirm(secret).await.unwrap_err();
    assert_eq!((late.code(), late.to_string().contains("the link has expired")), (410, true), "{late}");
    assert_eq!(letters(&client).await.len(), 1);
}

/// The day goes on while nothing runs.
#[abide::test(bind(Signup, Letterbox))]
async fn a_link_expires_also_while_the_node_is_down(world: World) {
    sign_up(&world).await;
    world.down_for(30 * HOUR).await;
    assert_eq!(world.client().workflow::<Signup>("ada").status().await.unwrap(), SignupStatus::Expired);
}

#[abide::test(bind(Signup, Letterbox), crash_at_every_commit)]
async fn a_name_is_taken_once(world: World) {
    let client = world.client();
    let secret = sign_up(&world).await;
    let refused = client.workflow::<Signup>("ada").run("eve@example.org".to_owned()).await.unwrap_err();
    assert_eq!(refused.code(), 409, "{refused}");
    client.workflow::<Signup>("ada").confirm(secret).await.unwrap();
    let refused = client.workflow::<Signup>("ada").run("eve@example.org".to_owned()).await.unwrap_err();
    assert_eq!(refused.code(), 409, "{refused}");
    assert_eq!(client.object::<Letterbox>("eve@example.org").letters().await.unwrap(), Vec::<String>::new());
}

/// A week after the end the name is free again.
#[abide::test(bind(Signup, Letterbox))]
async fn a_name_is_free_when_its_signup_is_forgotten(world: World) {
    let client = world.client();
    sign_up(&world).await;
    assert_eq!(end(&client).await, SignupStatus::Expired);
    world.advance(8 * 24 * HOUR).await;
    assert_eq!(client.workflow::<Signup>("ada").status().await.unwrap(), SignupStatus::New);
    client.workflow::<Signup>("ada").run(EMAIL.to_owned()).send().await.unwrap();
    world.advance(HOUR).await;
    assert_eq!(letters(&client).await.len(), 2);
}
