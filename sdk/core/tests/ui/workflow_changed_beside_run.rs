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

    fn confirm(&mut self, _cx: &mut Turn) {
        self.state = "confirmed".to_owned();
    }

    async fn reject(&mut self, _cx: &mut Flow) {
        self.state = "rejected".to_owned();
    }

    fn look(&self, _cx: &mut Turn) {}
}

fn main() {}
