//! The turns of the simulated application: plain functions of input and state.

use std::collections::BTreeMap;

use abide_model::command::{FieldChange, Invoke, Outcome, Target};
use abide_model::protocol::Failure;
use bytes::Bytes;

use crate::names::{self, Callee};
use crate::rng::Rng;

/// A poke with a multiple of this fails.
const POKE_FAILS: u8 = 7;
/// Pokes that a flood sends.
const FLOOD: usize = 450;

/// State by field.
pub(crate) type Fields = BTreeMap<String, Bytes>;

/// What a turn did.
pub(crate) struct End {
    pub(crate) changes: Vec<FieldChange>,
    pub(crate) sends: Vec<Invoke>,
    pub(crate) outcome: Outcome,
}

/// Runs a turn. Ids of what it sends come from `entropy`.
pub(crate) fn turn(target: &Target, input: &[u8], fields: &Fields, entropy: &mut Rng, now: u64) -> End {
    let mut end = End { changes: Vec::new(), sends: Vec::new(), outcome: Outcome::success(Bytes::new()) };
    match (target.service.as_str(), target.handler.as_str()) {
        (names::COUNTER, _) => {
            let sum = number(fields, "n", 0) + 1;
            end.set("n", sum);
            end.outcome = Outcome::success(Bytes::from(sum.to_string()));
        }
        (names::ACCOUNT, "pay") => {
            let (to, amount) = (input[0], i64::from(input[1]));
            let balance = number(fields, "balance", names::OPENING_BALANCE);
            if balance < amount {
                end.outcome = Outcome::failure(Failure::new(402, "not enough money"));
                return end;
            }
            end.set("balance", balance - amount);
            let take = Callee::turn(names::ACCOUNT, "take", names::account(u64::from(to)), vec![input[1]]);
            end.sends.push(Invoke { one_way: true, ..take.invoke(entropy, now) });
        }
        (names::ACCOUNT, _) => {
            let balance = number(fields, "balance", names::OPENING_BALANCE);
            end.set("balance", balance + i64::from(input[0]));
        }
        (names::CART, _) if input.first().is_some_and(|byte| byte % POKE_FAILS == 0) => {
            end.outcome = Outcome::failure(Failure::new(400, "refused by the handler"));
        }
        (names::CART, _) => match fields.get("a") {
            // Nothing changes, or one field goes, or one comes: turns without changes must not void anything.
            Some(_) if input.first().is_some_and(|byte| byte % 3 == 0) => {
                end.changes.push(FieldChange { field: "a".into(), value: None });
            }
            Some(value) => end.outcome = Outcome::success(value.clone()),
            None => end.changes.push(FieldChange { field: "a".into(), value: Some(Bytes::from_static(b"p")) }),
        },
        (_, "flood") => {
            let poke = Callee::turn(names::CART, "poke", String::from_utf8_lossy(input).into_owned(), vec![POKE_FAILS]);
            let sends = (0..FLOOD).map(|_| Invoke { one_way: true, ..poke.invoke(entropy, now) });
            end.sends.extend(sends);
        }
        _ => {
            let key = String::from_utf8_lossy(input).into_owned();
            let add = Callee::turn(names::COUNTER, "add", key, Vec::new());
            end.sends.push(Invoke { one_way: true, ..add.invoke(entropy, now) });
        }
    }
    end
}

impl End {
    fn set(&mut self, field: &str, value: i64) {
        self.changes.push(FieldChange { field: field.into(), value: Some(Bytes::from(value.to_string())) });
    }
}

/// A number in a field.
pub(crate) fn number(fields: &Fields, field: &str, absent: i64) -> i64 {
    fields
        .get(field)
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(absent)
}
