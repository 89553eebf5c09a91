extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn balance(&self, _cx: &Read) -> i64 {
        self.balance
    }

    async fn ask(&self, cx: &mut Flow) -> Result<i64, Terminal> {
        cx.service::<Account>().balance().await.or_terminal()
    }
}

fn main() {}
