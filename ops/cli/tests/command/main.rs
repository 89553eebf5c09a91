//! The command as a process, against a server that answers as it is told to.

mod control;
mod fake;
mod manage;
mod outcome;
