extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn deposit<T: Into<i64>>(&mut self, cx: &mut Turn, amount: T) -> i64 {
        self.balance + amount.into()
    }
}

fn main() {}
