//! What is invoked, as one word: `Service/handler` or `Object/key/handler`.

use serde_json::Value;

use crate::text::{clean, field};

/// What is invoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name of the service, object or workflow.
    pub(crate) service: String,
    /// Key of the object or workflow.
    pub(crate) key: Option<String>,
    /// Name of the handler.
    pub(crate) handler: String,
}

/// Reads a target. Names have no slash, so everything between the first and the last one is the key.
///
/// # Errors
/// When there is no slash, or a name is empty.
pub(crate) fn parse(text: &str) -> Result<Target, String> {
    let split = text.split_once('/').map(|(service, rest)| match rest.rsplit_once('/') {
        Some((key, handler)) => (service, Some(key), handler),
        None => (service, None, rest),
    });
    match split {
        Some((service, key, handler)) if !service.is_empty() && !handler.is_empty() => {
            Ok(Target { service: service.into(), key: key.map(str::to_owned), handler: handler.into() })
        }
        _ => Err("expected SERVICE/HANDLER or OBJECT/KEY/HANDLER".to_owned()),
    }
}

/// The target that a document tells: `target`, or what it is made of.
pub(crate) fn of(document: &Value) -> String {
    if let Some(target) = document["target"].as_str() {
        return clean(target);
    }
    let part = |names: [&str; 2]| names.iter().find_map(|name| field(document, name));
    let parts = [
        part(["target_service_name", "service"]),
        part(["target_service_key", "key"]),
        part(["target_handler_name", "handler"]),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_may_have_slashes() {
        let read = |text| parse(text).map(|target| (target.service, target.key, target.handler));
        assert_eq!(read("Mail/send").unwrap(), ("Mail".into(), None, "send".into()));
        assert_eq!(read("A/k/h").unwrap(), ("A".into(), Some("k".into()), "h".into()));
        assert_eq!(read("A/k/l/h").unwrap(), ("A".into(), Some("k/l".into()), "h".into()));
        assert_eq!(read("A//h").unwrap(), ("A".into(), Some(String::new()), "h".into()));
        for bad in ["", "A", "/h", "A/", "A/k/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn told_whole_or_in_parts() {
        assert_eq!(of(&json!({"target": "A/k/h"})), "A/k/h");
        assert_eq!(of(&json!({"service": "A", "key": "k", "handler": "h"})), "A/k/h");
        assert_eq!(of(&json!({"target_service_name": "S", "target_handler_name": "h"})), "S/h");
    }
}
