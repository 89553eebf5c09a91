//! Sample applications: [`bank`], [`checkout`] and [`greeter`]. Each is a program in `src/bin`.

pub mod bank;
pub mod checkout;
pub mod greeter;
