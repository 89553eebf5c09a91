extern crate abide_sdk as abide;

use abide::prelude::*;

#[derive(Default)]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn balance(&self, _cx: &Read) -> i64 {
        self.balance
    }
}

fn main() {}
