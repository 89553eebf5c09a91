//! State of objects: every field of the struct is stored under its serde name, as JSON.

mod decode;
mod encode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::Fields;

/// What an object's struct has to be able to do: become fields, be made of fields, and exist before there are any.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the state of an object",
    note = "`#[object]` derives `Serialize`, `Deserialize` and `Default`; every field needs them too"
)]
pub trait State: Serialize + DeserializeOwned + Default {}

impl<T: Serialize + DeserializeOwned + Default> State for T {}

/// Stored fields that do not fit their struct, or a struct that does not become fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state of `{object}`{}: {reason}{}", in_field(.field), found_text(.found))]
pub struct StateError {
    /// Name of the object type.
    pub object: String,
    /// The field, if one is to blame.
    pub field: Option<String>,
    /// What was stored there, shortened.
    pub found: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

fn in_field(field: &Option<String>) -> String {
    field.as_ref().map(|field| format!(", field `{field}`")).unwrap_or_default()
}

fn found_text(found: &Option<String>) -> String {
    found.as_ref().map(|found| format!("; found `{found}`")).unwrap_or_default()
}

impl StateError {
    /// This error about the object type `name`.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Self { object: name.to_owned(), ..self }
    }

    fn new<S>(error: FieldError) -> Self {
        let name = std::any::type_name::<S>();
        let object = name.rsplit("::").next().unwrap_or(name).to_owned();
        Self { object, field: error.field, found: error.found, reason: error.reason }
    }
}

/// Fields of `state`: those serde serializes, so `rename`, `skip` and the like count. A unit struct has none.
///
/// # Errors
/// [`StateError`] when `state` is not a struct with named fields, or a field does not serialize to JSON.
pub fn encode_fields<S: Serialize>(state: &S) -> Result<Fields, StateError> {
    state.serialize(encode::FieldsSerializer).map_err(StateError::new::<S>)
}

/// The struct whose fields are `fields`; unknown fields are ignored, missing ones follow serde's `default`.
///
/// # Errors
/// [`StateError`] naming the field that does not fit.
pub fn decode_fields<S: DeserializeOwned>(fields: &Fields) -> Result<S, StateError> {
    S::deserialize(decode::FieldsDeserializer { fields }).map_err(StateError::new::<S>)
}

/// Error of the two serde implementations below.
#[derive(Debug)]
struct FieldError {
    field: Option<String>,
    found: Option<String>,
    reason: String,
}

impl FieldError {
    fn plain(reason: impl std::fmt::Display) -> Self {
        Self { field: None, found: None, reason: reason.to_string() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for FieldError {}

impl serde::ser::Error for FieldError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::plain(message)
    }
}

impl serde::de::Error for FieldError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::plain(message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Inner {
        city: String,
        zip: u32,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Account {
        balance: i64,
        #[serde(rename = "isClosed", alias = "closed")]
        closed: bool,
        #[serde(skip)]
        cache: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        home: Inner,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u32>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Empty;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Wrapper(u32);

    fn fields(pairs: &[(&str, &'static str)]) -> Fields {
        pairs.iter().map(|(name, json)| ((*name).to_owned(), bytes::Bytes::from_static(json.as_bytes()))).collect()
    }

    #[test]
    fn fields_are_stored_by_their_serde_name() {
        let account = Account { balance: -3, closed: true, cache: 9, ..Account::default() };
        let encoded = encode_fields(&account).unwrap();
        assert_eq!(encoded, fields(&[("balance", "-3"), ("isClosed", "true"), ("home", r#"{"city":"","zip":0}"#)]));
        assert_eq!(decode_fields::<Account>(&encoded).unwrap(), Account { cache: 0, ..account });
    }

    #[test]
    fn missing_fields_are_default_unknown_ones_ignored_and_aliases_read() {
        let stored = fields(&[("closed", "true"), ("retired", "[1]")]);
        assert_eq!(decode_fields::<Account>(&stored).unwrap(), Account { closed: true, ..Account::default() });
    }

    #[test]
    fn flattened_maps_and_unit_structs() {
        let flat = Flat { id: 1, rest: [("a".to_owned(), 2)].into() };
        let encoded = encode_fields(&flat).unwrap();
        assert_eq!(encoded, fields(&[("a", "2"), ("id", "1")]));
        assert_eq!(decode_fields::<Flat>(&encoded).unwrap(), flat);
        assert_eq!(encode_fields(&Empty).unwrap(), Fields::new());
        assert_eq!(decode_fields::<Empty>(&Fields::new()).unwrap(), Empty);
    }

    #[test]
    fn errors_name_the_field_and_what_was_found() {
        let error = decode_fields::<Account>(&fields(&[("balance", "\"much\"")])).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("balance"));
        let text = error.to_string();
        assert!(text.contains("`Account`, field `balance`") && text.contains("found `\"much\"`"), "{text}");
        let error = encode_fields(&Wrapper(1)).unwrap_err();
        assert!(error.to_string().contains("named fields"), "{error}");
    }
}
