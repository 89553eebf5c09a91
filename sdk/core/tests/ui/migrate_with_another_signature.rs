extern crate abide_sdk as abide;

use abide::prelude::*;

fn upgrade(_balance: i64) {}

#[object(migrate = upgrade)]
struct Account {
    balance: i64,
}

fn main() {}
