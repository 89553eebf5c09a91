extern crate abide_sdk as abide;

use abide::prelude::*;

#[workflow]
struct Signup {
    state: String,
}

#[handlers]
impl Signup {
    async fn run(&mut self, _cx: &mut Flow) -> String {
        self.state.clone()
    }
}

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn open(&mut self, cx: &mut Turn) {
        self.balance = 1;
        cx.object::<Signup>("a").run().send();
        cx.workflow::<Account>("a").open().send();
    }
}

fn main() {}
