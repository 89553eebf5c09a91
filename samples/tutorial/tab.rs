use abide::prelude::*;

use super::card::Card;
use super::till::Till;

/// What a table has ordered and not paid. There is one for every key: here, the number of the table.
#[object]
pub struct Tab {
    cents: u64,
}

#[handlers]
impl Tab {
    /// Puts something on the tab; answers what is on it.
    fn order(&mut self, _cx: &mut Turn, cents: u64) -> u64 {
        self.cents += cents;
        self.cents
    }

    /// What is on it.
    fn total(&self, _cx: &Read) -> u64 {
        self.cents
    }

    /// Pays by card; answers the number of the receipt.
    async fn pay(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let cents = self.cents;
        let receipt = cx.service::<Card>().charge(cents).await.or_terminal()?;
        self.cents = 0;
        cx.object::<Till>("main").take(cents).send();
        // The printer is slow.
        cx.sleep(Duration::from_secs(5)).await?;
        Ok(receipt)
    }
}
