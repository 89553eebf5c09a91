use abide::prelude::*;

/// What a table has ordered and not paid. There is one for every key: here, the number of the table.
#[object]
struct Tab {
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
}

fn main() -> std::process::ExitCode {
    abide::Server::builder().bind::<Tab>().serve()
}
