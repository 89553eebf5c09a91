extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn close(self, cx: &mut Turn) -> i64 {
        self.balance
    }
}

fn main() {}
