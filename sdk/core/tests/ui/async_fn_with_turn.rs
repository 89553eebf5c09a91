extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    async fn deposit(&mut self, cx: &mut Turn, amount: i64) -> i64 {
        self.balance + amount
    }
}

fn main() {}
