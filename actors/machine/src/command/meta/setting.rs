//! A setting gets a value or loses it.
//!
//! | case | answer |
//! |---|---|
//! | a known name with a value that fits | set |
//! | a known name without a value | back at its default |
//! | what holds already | done; nothing changes |
//! | an unknown name; a value that does not fit | 400 |

use abide_model::command::SetSetting;
use abide_model::effect::Answer;
use abide_model::setting::{SETTINGS, Setting};
use abide_model::table::{SettingRow, Settings};
use abide_model::view::{ReadError, View};

use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(txn: &mut Txn<'_, V>, order: SetSetting) -> Result<Answer, ReadError> {
    let Some(setting) = Setting::named(&order.name) else {
        let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let shown: String = order.name.chars().take(64).collect();
        return Ok(refusal::invalid(format!("there is no setting `{shown}`, only {}", names.join(", "))));
    };
    let before = txn.get::<Settings>(&order.name)?;
    match (order.value, before) {
        (None, None) => {}
        (None, Some(_)) => txn.delete::<Settings>(&order.name),
        (Some(value), before) => {
            if let Some(fault) = setting.fault(&value) {
                return Ok(refusal::invalid(fault));
            }
            if before.is_none_or(|before| before.value != value) {
                txn.put::<Settings>(&order.name, &SettingRow { value, changed_at: txn.now().0 });
            }
        }
    }
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::meta::words::*;

    #[test]
    fn settings_are_set_and_lose_their_values() {
        let mut world = cluster(2);
        assert_eq!(unchanged(&mut world, set("log_level", None)), Answer::Done);
        assert_eq!(ask(&mut world, set("replication_factor", Some("5"))), Answer::Done);
        assert_eq!(ask(&mut world, set("log_level", Some("debug"))), Answer::Done);
        world.at(2000);
        assert_eq!(unchanged(&mut world, set("replication_factor", Some("5"))), Answer::Done);
        assert_eq!(ask(&mut world, set("log_level", Some("info"))), Answer::Done);
        let row = |value: &str, changed_at| SettingRow { value: value.into(), changed_at };
        let rows = [("log_level".into(), row("info", 2000)), ("replication_factor".into(), row("5", 1000))];
        assert_eq!(world.rows.all::<Settings>(), rows);
        assert_eq!(ask(&mut world, set("log_level", None)), Answer::Done);
        assert_eq!(world.rows.all::<Settings>(), rows[1..]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut world = cluster(2);
        for (name, value) in [
            ("", None),
            ("colour", Some("red")),
            ("replication_factor", Some("0")),
            ("replication_factor", Some("8")),
            ("replace_after", Some("ten minutes")),
            ("log_level", Some("loud")),
        ] {
            assert_eq!(code(unchanged(&mut world, set(name, value))), 400, "{name} {value:?}");
        }
    }
}
