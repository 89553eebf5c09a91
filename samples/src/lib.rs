//! Sample applications: [`bank`], [`chat`], [`checkout`], [`greeter`], [`reminders`] and [`signup`]. Each is a program in
//! `src/bin`.

pub mod bank;
pub mod chat;
pub mod checkout;
pub mod greeter;
pub mod reminders;
pub mod signup;
