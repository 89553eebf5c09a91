//! A serde deserializer whose outermost struct is a map of fields, each of them JSON.

use std::collections::btree_map;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::FieldError;
use crate::service::Fields;

pub(super) struct FieldsDeserializer<'de> {
    pub(super) fields: &'de Fields,
}

impl<'de> Deserializer<'de> for FieldsDeserializer<'de> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_map(Entries { rest: self.fields.iter(), current: None })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries<'de> {
    rest: btree_map::Iter<'de, String, Bytes>,
    current: Option<(&'de str, &'de Bytes)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.current = Some((name, value));
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let (name, value) = self.current.take().ok_or_else(|| FieldError::plain("a value without a key"))?;
        let mut json = serde_json::Deserializer::from_slice(value);
        seed.deserialize(&mut json).and_then(|read| json.end().map(|()| read)).map_err(|error| FieldError {
            field: Some(name.to_owned()),
            found: Some(shortened(value)),
            reason: error.to_string(),
        })
    }
}

fn shortened(value: &Bytes) -> String {
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
