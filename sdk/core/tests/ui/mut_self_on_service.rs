extern crate abide_sdk as abide;

use abide::prelude::*;

#[service]
struct Mailer;

#[handlers]
impl Mailer {
    fn mail(&mut self, _cx: &mut Turn, _to: String) {}
}

fn main() {}
