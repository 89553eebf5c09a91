extern crate abide_sdk as abide;

use abide::prelude::*;

#[workflow]
struct Signup {
    state: String,
}

#[handlers]
impl Signup {
    fn state(&self, _cx: &Read) -> String {
        self.state.clone()
    }
}

fn main() {}
