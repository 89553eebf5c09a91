extern crate abide_sdk as abide;

use abide::prelude::*;

struct Socket;

#[object]
struct Account {
    balance: i64,
    socket: Socket,
}

fn main() {}
