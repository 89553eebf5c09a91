//! An operator's order; the cases are those of [`crate::rule::control`].

use abide_model::command::Control;
use abide_model::effect::Effect;
use abide_model::view::{ReadError, View};

use crate::rule;
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, control: &Control) -> Result<(), ReadError> {
    let answer = rule::control::carry_out(txn, control)?;
    txn.emit(Effect::Answered { request, answer });
    Ok(())
}

#[cfg(test)]
mod tests;
