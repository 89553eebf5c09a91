//! A signal or an awakeable's completion from the ingress; the cases are those of [`crate::rule::signal`].

use abide_model::command::Signal;
use abide_model::effect::Effect;
use abide_model::view::{ReadError, View};

use crate::rule;
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, signal: Signal) -> Result<(), ReadError> {
    let answer = rule::signal::deliver(txn, &signal)?;
    txn.emit(Effect::Answered { request, answer });
    Ok(())
}

#[cfg(test)]
mod tests;
