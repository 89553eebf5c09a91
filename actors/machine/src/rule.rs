//! What several commands share.

pub(crate) mod accept;
pub(crate) mod complete;
pub(crate) mod control;
pub(crate) mod edit;
pub(crate) mod expiry;
pub(crate) mod fresh;
pub(crate) mod letter;
pub(crate) mod mailbox;
pub(crate) mod notify;
pub(crate) mod promise;
pub(crate) mod refusal;
pub(crate) mod route;
pub(crate) mod schedule;
pub(crate) mod signal;
pub(crate) mod sleeps;
pub(crate) mod start;
pub(crate) mod state;
