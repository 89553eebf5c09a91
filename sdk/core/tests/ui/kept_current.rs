extern crate abide_sdk as abide;

use abide::prelude::*;

#[object(version = 2)]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    async fn pay_out(&mut self, _cx: &mut Flow) {
        self.balance = 0;
    }
}

#[handlers(version = "2")]
impl Account {
    #[handler(name = "pay_out")]
    async fn pay_out_v2(&mut self, _cx: &mut Flow) {
        self.balance = 1;
    }
}

fn main() {
    let _ = abide::Registry::builder().keep::<Account>();
}
