//! The handlers under load: as little user code as possible, so that what is measured is the platform.

use abide::ServerBuilder;
use abide::prelude::*;

/// A number behind a key.
#[object]
pub struct Counter {
    value: i64,
}

#[handlers]
impl Counter {
    /// Adds and answers the new value: one durable turn.
    fn add(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
        self.value = self.value.wrapping_add(amount);
        self.value
    }

    /// The value: a read of the object in memory, no record.
    fn get(&self, _cx: &Read) -> i64 {
        self.value
    }
}

/// Flows without a key.
#[service(name = "Flow")]
pub struct Steps;

#[handlers]
impl Steps {
    /// Answers its argument: the shortest flow.
    async fn echo(&self, _cx: &mut Flow, number: i64) -> Result<i64, Terminal> {
        Ok(number)
    }

    /// Adds 1 in each of three durable steps.
    async fn three(&self, cx: &mut Flow, number: i64) -> Result<i64, Terminal> {
        let one = cx.run("first", || async move { Ok(number + 1) }).await?;
        let two = cx.run("second", || async move { Ok(one + 1) }).await?;
        cx.run("third", || async move { Ok(two + 1) }).await
    }
}

/// Binds them all.
#[must_use]
pub fn bind(builder: ServerBuilder) -> ServerBuilder {
    builder.bind::<Counter>().bind::<Steps>()
}
