extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn transfer(&mut self, cx: &mut Turn, to: String, amount: i64) -> i64 {
        self.balance
    }
}

fn main() {}
