//! Accepts an invocation from the ingress; the cases are those of [`crate::rule::accept`].

use abide_model::command::Invoke;
use abide_model::view::{ReadError, View};

use crate::rule::accept::{self, First};
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, invoke: Invoke) -> Result<(), ReadError> {
    accept::accept(txn, request, invoke, First::Due)
}

#[cfg(test)]
mod tests;
