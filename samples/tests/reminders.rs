//! The reminders ring in their order, and every morning there is a digest.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use abide::prelude::*;
use abide::testing::{World, WorldBuilder};
use abide::{CatchUp, Schedule};
use samples::reminders::{Reminder, ReminderError, Reminders};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 2026-03-27 00:00 UTC. In the night to the 29th the clocks of Berlin go from UTC+1 to UTC+2.
const MARCH_27: Millis = Millis(1_774_569_600_000);

fn reminder(text: &str, in_seconds: u64) -> Reminder {
    Reminder { text: text.to_owned(), in_seconds }
}

fn mornings(catch_up: CatchUp) -> WorldBuilder {
    let digest = Schedule::cron("digest", "0 7 * * *").zone("Europe/Berlin").call("Reminders", "digest").key("ada");
    World::builder().bind::<Reminders>().schedule(digest.catch_up(catch_up))
}

/// What has rung for Ada.
async fn rung(world: &World) -> Vec<String> {
    let rung = world.client().object::<Reminders>("ada").rung().await.unwrap();
    rung.into_iter().map(|reminder| reminder.text).collect()
}

async fn digests(world: &World) -> Vec<String> {
    world.client().object::<Reminders>("ada").digests().await.unwrap()
}

#[abide::test(bind(Reminders), crash_at_every_commit)]
async fn they_ring_in_the_order_of_their_times(world: World) {
    let ada = world.client().object::<Reminders>("ada");
    assert_eq!(ada.remind(reminder("tea", 300)).await.unwrap(), 1);
    assert_eq!(ada.remind(reminder("eggs", 240)).await.unwrap(), 2);
    assert_eq!(ada.remind(reminder("holidays", 90 * 86_400)).await.unwrap(), 3);
    let dropped = ada.remind(reminder("dentist", 60)).await.unwrap();
    ada.drop_reminder(dropped).await.unwrap();
    let unknown = ada.drop_reminder(dropped).await.unwrap_err();
    assert!(matches!(unknown, abide::CallError::Domain(ReminderError::Unknown(4))), "{unknown:?}");
    world.advance(Duration::from_secs(239)).await;
    assert!(rung(&world).await.is_empty());
    world.advance(Duration::from_secs(61)).await;
    assert_eq!(rung(&world).await, ["eggs", "tea"]);
    assert_eq!(ada.open().await.unwrap().into_values().collect::<Vec<_>>(), [reminder("holidays", 90 * 86_400)]);
    world.advance(90 * DAY).await;
    assert_eq!(rung(&world).await, ["eggs", "tea", "holidays"]);
}

#[abide::test(bind(Reminders))]
async fn nobody_has_more_than_a_hundred_open(world: World) {
    let ada = world.client().object::<Reminders>("ada");
    for _ in 0..100 {
        ada.remind(reminder("call", 60)).await.unwrap();
    }
    assert_eq!(ada.remind(reminder("call", 60)).await.unwrap_err().code(), 409);
    world.advance(Duration::from_secs(60)).await;
    assert_eq!(rung(&world).await.len(), 100);
    ada.remind(reminder("call", 60)).await.unwrap();
}

/// At 7 by the clocks of Berlin: at 6 UTC in winter, at 5 UTC in summer.
#[abide::test(world = mornings(CatchUp::Skip).starting_at(MARCH_27))]
async fn a_digest_comes_every_morning(world: World) {
    let ada = world.client().object::<Reminders>("ada");
    ada.remind(reminder("tax", 10 * 86_400)).await.unwrap();
    ada.remind(reminder("milk", 36 * 3_600)).await.unwrap();
    for (hours, count) in [(5, 0), (1, 1), (23, 1), (1, 2), (22, 2), (1, 3), (23, 3), (1, 4)] {
        world.advance(hours * HOUR).await;
        assert_eq!(digests(&world).await.len(), count, "after {:?}", world.elapsed());
    }
    assert_eq!(digests(&world).await, ["tax, milk", "tax, milk", "tax", "tax"]);
}

#[abide::test(world = mornings(CatchUp::One), crash_at_every_commit)]
async fn a_digest_comes_every_morning_whatever_crashes(world: World) {
    world.advance(3 * DAY).await;
    assert_eq!(digests(&world).await.len(), 3);
    assert_eq!(world.schedule("digest").unwrap().status(), "waiting");
}

/// How many digests there are after a downtime of four mornings, and after one morning more.
fn after_a_downtime(catch_up: CatchUp) -> (usize, usize) {
    mornings(catch_up).run(async |world| {
        world.advance(DAY).await;
        assert_eq!(digests(&world).await.len(), 1);
        world.down_for(4 * DAY).await;
        world.advance(HOUR).await;
        let caught_up = digests(&world).await.len() - 1;
        world.advance(DAY).await;
        (caught_up, digests(&world).await.len() - 1 - caught_up)
    })
}

#[test]
fn mornings_that_were_missed_are_made_up_for_as_the_schedule_says() {
    assert_eq!(after_a_downtime(CatchUp::Skip), (0, 1));
    assert_eq!(after_a_downtime(CatchUp::One), (1, 1));
    assert_eq!(after_a_downtime(CatchUp::All), (4, 1));
}
