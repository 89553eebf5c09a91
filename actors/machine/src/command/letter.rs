//! An operator's order about a dead letter; the cases are those of [`crate::rule::letter`].

use abide_model::command::LetterOrder;
use abide_model::effect::Effect;
use abide_model::view::{ReadError, View};

use crate::rule;
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, order: &LetterOrder) -> Result<(), ReadError> {
    let answer = rule::letter::carry_out(txn, order)?;
    txn.emit(Effect::Answered { request, answer });
    Ok(())
}
