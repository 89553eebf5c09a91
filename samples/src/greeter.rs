//! The greeter: the smallest possible program.

use abide::prelude::*;

/// Greets. A service has no key and no state.
#[service]
#[derive(Default)]
pub struct Greeter;

#[handlers]
impl Greeter {
    /// Answers a greeting.
    fn greet(&self, _cx: &mut Turn, name: String) -> String {
        format!("Hello, {name}!")
    }
}
