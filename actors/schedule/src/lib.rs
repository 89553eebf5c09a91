//! When a schedule is due.
//!
//! A [`Spec`] is a rule for points in time: a cron expression in a time zone, a period, or a single time. Its text is
//! what is persisted. [`plan`] says what a leader makes of a schedule that is due, perhaps after a long downtime. There
//! is no clock here: the present is an argument.
//!
//! Cron expressions are read here and not by a library, because the ones there are do not say where an expression is
//! wrong, and each has its own mind about the hours that a change of the clocks skips or repeats. The calendar and the
//! time zones are jiff's, with the IANA database that is compiled in: the same on every machine.

mod cron;
mod error;
mod period;
mod plan;
mod spec;

pub use cron::Cron;
pub use error::SpecError;
pub use plan::{Plan, plan};
pub use spec::{Every, Spec, timestamp};
