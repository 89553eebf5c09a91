//! Kill: the end, now, without compensation, of an invocation and of all that it called.

use abide_model::command::{Control, ParcelBody, Verb};
use abide_model::effect::Answer;
use abide_model::id::InvocationId;
use abide_model::protocol::{Code, Failure, Notification, NotificationResult};
use abide_model::table::{InvocationRow, Journals};
use abide_model::view::{ReadError, View};

use super::has_started;
use crate::rule::complete::{self, By};
use crate::rule::route;
use crate::txn::Txn;

/// What killed invocations answer with.
const KILLED: u32 = 409;

pub(super) fn kill<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: InvocationRow) -> Result<Answer, ReadError> {
    for child in children(txn, id, &row)? {
        route::send(txn, ParcelBody::Control(Control::new(child, Verb::Kill)))?;
    }
    let outcome = complete::failed(Failure::new(KILLED, "killed"));
    complete::complete(txn, id, &row, outcome, By::Order, has_started(&row))?;
    Ok(Answer::Done)
}

/// The invocations that this one created, as its journal names them.
fn children<V: View>(txn: &Txn<'_, V>, id: InvocationId, row: &InvocationRow) -> Result<Vec<InvocationId>, ReadError> {
    let mut children = Vec::new();
    for index in 1..row.journal_len {
        let Some(entry) = txn.get::<Journals>(&(id, index))? else { continue };
        let message = entry.message();
        if message.code == Code::CALL_INVOCATION_ID {
            let notification: Notification = message.decode()?;
            if let Some(NotificationResult::InvocationId(text)) = notification.result {
                children.extend(text.parse::<InvocationId>().ok());
            }
        }
    }
    Ok(children)
}
