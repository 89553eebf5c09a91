extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    #[handler(private)]
    fn audit(&self, _cx: &Read) -> i64 {
        self.balance
    }
}

async fn outside(client: Client) {
    let _ = client.object::<Account>("alice").audit().await;
}

fn main() {}
