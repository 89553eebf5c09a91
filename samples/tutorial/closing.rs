use abide::{CatchUp, Schedule};

/// Every evening at eleven, by the clocks of Berlin.
pub fn closing() -> Schedule {
    Schedule::cron("closing", "0 23 * * *")
        .zone("Europe/Berlin")
        .call("Till", "close_day")
        .key("main")
        .catch_up(CatchUp::One)
}

#[cfg(test)]
mod tests {
    use abide::prelude::*;
    use abide::testing::World;

    use super::super::till::Till;
    use super::closing;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[abide::test(world = World::builder().bind::<Till>().schedule(closing()))]
    async fn every_day_is_closed(world: World) {
        let till = world.client().object::<Till>("main");
        world.advance(2 * DAY).await;
        assert_eq!(till.days().await.unwrap().len(), 2);
        // Two evenings without electricity: one closing makes up for both.
        world.down_for(2 * DAY).await;
        world.settle().await;
        assert_eq!(till.days().await.unwrap().len(), 3);
    }
}
