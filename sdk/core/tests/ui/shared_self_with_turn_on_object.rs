extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn balance(&self, _cx: &mut Turn) -> i64 {
        self.balance
    }
}

fn main() {}
