//! A change of a schedule, or its firing; the cases are those of [`crate::rule::schedule`].

use abide_model::command::ScheduleOrder;
use abide_model::effect::Effect;
use abide_model::view::{ReadError, View};

use crate::rule;
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, order: ScheduleOrder) -> Result<(), ReadError> {
    let answer = rule::schedule::carry_out(txn, order)?;
    txn.emit(Effect::Answered { request, answer });
    Ok(())
}
