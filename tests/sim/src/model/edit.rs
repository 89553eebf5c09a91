//! State: who changes it, and operators' edits.

use abide_model::command::{FieldChange, Outcome, StateEdit};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::protocol::Failure;
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
        obj.is_now((obj.version.0.max(self.highest) + 1, 0), now, ttl);
        self.name(object);
    }

    /// Nothing is left of `object`.
    pub(super) fn forget_object(&mut self, object: &ObjectId) {
        if let Some(obj) = self.objects.remove(object) {
            self.highest = self.highest.max(obj.version.0);
        }
    }

    /// Remembers the state of `object` under its version, which never names another one: speculation and edits rely on
    /// that.
    pub(super) fn name(&mut self, object: &ObjectId) {
        let Some(obj) = self.objects.get(object) else { return };
        let known = self.states.entry((object.clone(), obj.version)).or_insert_with(|| obj.fields.clone());
        if *known != obj.fields {
            let text = format!("version {:?} of {object} is {known:?} and {:?}", obj.version, obj.fields);
            self.misnamed.get_or_insert(text);
        }
    }

    /// Nothing is before this edit.
    pub(super) fn edit_now(&mut self, id: InvocationId) {
        let Some(object) = self.invocations.get(&id).and_then(|inv| inv.target.object()) else { return };
        let (outcome, emptied) = self.edit(id, &object);
        if emptied {
            self.forget_object(&object);
        }
        self.complete(id, &outcome, By::Itself, true);
    }

    /// Carries out an edit. Says how it ended, and whether it left nothing behind.
    pub(super) fn edit(&mut self, id: InvocationId, object: &ObjectId) -> (Outcome, bool) {
        let Some(inv) = self.invocations.get(&id) else { return (Outcome::default(), false) };
        let ttl = inv.terms.ttl;
        let edit = StateEdit::decode(inv.input()).unwrap_or_default();
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
