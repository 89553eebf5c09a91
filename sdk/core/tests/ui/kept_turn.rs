extern crate abide_sdk as abide;

use abide::prelude::*;

#[object(version = 2)]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn deposit(&mut self, _cx: &mut Turn) {
        self.balance += 1;
    }
}

#[handlers(version = 1)]
impl Account {
    #[handler(name = "deposit")]
    fn deposit_v1(&mut self, _cx: &mut Turn) {
        self.balance += 2;
    }
}

fn main() {}
