extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn deposit(&mut self, cx: &mut Flow, amount: i64) -> i64 {
        self.balance + amount
    }
}

fn main() {}
