//! Which invocations are meant: the server's filter text, composed from flags.

use clap::Args;
use serde_json::Value;

/// Conditions that all have to hold.
#[derive(Args, Clone, Default)]
pub(crate) struct Selection {
    /// Which ones, such as `status=paused,backing-off service=Account key=alice older=1h`. Names: status, service,
    /// handler, key, id, idempotency-key, schedule, version, result, older, newer.
    #[arg(short, long, value_name = "FILTER")]
    filter: Option<String>,
    /// Short for `status=…`: scheduled, pending, running, backing-off, suspended, paused, completed.
    #[arg(long, value_name = "STATUS,…")]
    status: Option<String>,
    /// Short for `service=…`.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Short for `key=…`.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Short for `handler=…`.
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
}

impl Selection {
    /// The filter, unless nothing was said.
    pub(crate) fn compose(&self) -> Option<String> {
        let mut words: Vec<String> = self.filter.iter().cloned().collect();
        for (name, value) in
            [("status", &self.status), ("service", &self.service), ("key", &self.key), ("handler", &self.handler)]
        {
            words.extend(value.as_ref().map(|value| format!("{name}={}", quote(value))));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// The filter for those of the object of `invocation` that have begun and not ended, when it waits for its key.
pub(super) fn ahead_of(invocation: &Value) -> Option<String> {
    let text = |name: &str| invocation[name].as_str();
    let (service, key) = (text("target_service_name")?, text("target_service_key")?);
    // A filter cannot ask for the empty key.
    (text("status") == Some("pending") && !key.is_empty())
        .then(|| format!("status=running,backing-off,suspended,paused service={} key={}", quote(service), quote(key)))
}

/// `value` as the server reads it: quoted when it has to be.
fn quote(value: &str) -> String {
    if value.is_empty() || value.contains(|char: char| char.is_whitespace() || char == '"') {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_become_words() {
        let selection = Selection {
            filter: Some("older=1h".into()),
            key: Some("a \"b\\".into()),
            status: Some("paused,running".into()),
            ..Selection::default()
        };
        assert_eq!(selection.compose().unwrap(), r#"older=1h status=paused,running key="a \"b\\""#);
        assert_eq!(Selection::default().compose(), None);
    }

    #[test]
    fn only_who_waits_for_a_key_asks_who_has_it() {
        let mut invocation = json!({"status": "pending", "target_service_name": "A", "target_service_key": "a b", "target_handler_name": "h"});
        let filter = r#"status=running,backing-off,suspended,paused service=A key="a b""#;
        assert_eq!(ahead_of(&invocation).unwrap(), filter);
        invocation["status"] = "running".into();
        assert_eq!(ahead_of(&invocation), None);
        assert_eq!(ahead_of(&json!({"status": "pending", "target_service_name": "S"})), None);
    }
}
