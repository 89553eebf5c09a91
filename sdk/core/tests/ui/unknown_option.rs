extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    #[handler(privat, retry(exhausted = "give up"))]
    fn audit(&self, _cx: &Read) -> i64 {
        self.balance
    }
}

fn main() {}
