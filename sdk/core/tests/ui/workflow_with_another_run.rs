extern crate abide_sdk as abide;

use abide::prelude::*;

#[workflow]
struct Signup {
    state: String,
}

#[handlers]
impl Signup {
    async fn run(&self, _cx: &mut Flow) -> String {
        self.state.clone()
    }
}

fn main() {}
