//! State: who changes it, and operators' edits.

use abide_model::command::{FieldChange, Outcome, StateEdit};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::protocol::{Failure, Input};
use bytes::Bytes;
use prost::Message as _;

use super::end::By;
use super::{Obj, Part};

impl Obj {
    pub(super) fn change(&mut self, changes: &[FieldChange]) {
        for change in changes {
            match &change.value {
                Some(value) => self.fields.insert(change.field.clone(), value.clone()),
                None => self.fields.remove(&change.field),
            };
        }
    }

    /// The state was changed at `now` by somebody whose service has this TTL.
    pub(super) fn is_now(&mut self, version: (u64, u64), now: u64, ttl: u64) {
        self.version = version;
        self.ttl = ttl;
        self.expires = if ttl == 0 { 0 } else { now + ttl };
    }
}

impl Part {
    /// The state of `object` was changed by a flow or an operator.
    pub(super) fn publish(&mut self, object: &ObjectId, ttl: u64) {
        let now = self.log_time;
        let obj = self.objects.entry(object.clone()).or_default();
        obj.is_now((obj.version.0 + 1, 0), now, ttl);
    }

    /// Nothing is before this edit.
    pub(super) fn edit_now(&mut self, id: InvocationId) {
        let Some(object) = self.invocations.get(&id).and_then(|inv| inv.target.object()) else { return };
        let (outcome, emptied) = self.edit(id, &object);
        if emptied {
            self.objects.remove(&object);
        }
        self.complete(id, &outcome, By::Itself, true);
    }

    /// Carries out an edit. Says how it ended, and whether it left nothing behind.
    pub(super) fn edit(&mut self, id: InvocationId, object: &ObjectId) -> (Outcome, bool) {
        let Some(inv) = self.invocations.get(&id) else { return (Outcome::default(), false) };
        let ttl = inv.terms.ttl;
        let input = inv.journal.first().and_then(|(_, input)| Input::decode(input.clone()).ok()).unwrap_or_default();
        let edit = StateEdit::decode(input.value.unwrap_or_default().content).unwrap_or_default();
        let obj = self.objects.entry(object.clone()).or_default();
        let is = obj.version;
        if let Some(wanted) = edit.expected
            && (wanted.version, wanted.writer) != is
        {
            let text = format!(
                "the state of {object} has version {} by writer {}, not the expected version {} by writer {}; read it \
                 again",
                is.0, is.1, wanted.version, wanted.writer
            );
            return (Outcome::failure(Failure::new(409, text)), false);
        }
        if edit.replace {
            obj.fields.clear();
        }
        obj.change(&edit.changes);
        let emptied = edit.replace && obj.fields.is_empty();
        self.publish(object, ttl);
        self.edits += 1;
        (Outcome::success(Bytes::new()), emptied)
    }
}
