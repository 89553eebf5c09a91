extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn rename(&mut self, cx: &mut Turn, name: &str) {}
}

fn main() {}
