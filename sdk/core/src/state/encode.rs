//! A serde serializer that catches the fields of the outermost struct as JSON each.

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{Impossible, SerializeMap, SerializeStruct, Serializer};

use super::FieldError;
use crate::service::Fields;

pub(super) struct FieldsSerializer;

/// The fields seen so far, and a map's key that waits for its value.
#[derive(Default)]
pub(super) struct Collector {
    fields: Fields,
    key: Option<String>,
}

impl Collector {
    fn put<T: Serialize + ?Sized>(&mut self, name: String, value: &T) -> Result<(), FieldError> {
        match serde_json::to_vec(value) {
            Ok(json) => {
                self.fields.insert(name, Bytes::from(json));
                Ok(())
            }
            Err(error) => Err(FieldError { field: Some(name), found: None, reason: error.to_string() }),
        }
    }
}

fn unsupported<T>(what: &str) -> Result<T, FieldError> {
    Err(FieldError::plain(format!("the state must be a struct with named fields, not {what}")))
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) $what:literal;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<Fields, FieldError> { unsupported($what) })*
    };
}

impl Serializer for FieldsSerializer {
    type Ok = Fields;
    type Error = FieldError;
    type SerializeSeq = Impossible<Fields, FieldError>;
    type SerializeTuple = Impossible<Fields, FieldError>;
    type SerializeTupleStruct = Impossible<Fields, FieldError>;
    type SerializeTupleVariant = Impossible<Fields, FieldError>;
    type SerializeMap = Collector;
    type SerializeStruct = Collector;
    type SerializeStructVariant = Impossible<Fields, FieldError>;

    refuse! {
        serialize_bool(bool) "a bool";
        serialize_i8(i8) "a number";
        serialize_i16(i16) "a number";
        serialize_i32(i32) "a number";
        serialize_i64(i64) "a number";
        serialize_u8(u8) "a number";
        serialize_u16(u16) "a number";
        serialize_u32(u32) "a number";
        serialize_u64(u64) "a number";
        serialize_f32(f32) "a number";
        serialize_f64(f64) "a number";
        serialize_char(char) "a character";
        serialize_str(&str) "a text";
        serialize_bytes(&[u8]) "bytes";
        serialize_none() "an option";
        serialize_unit_variant(&'static str, u32, &'static str) "an enum";
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Fields, FieldError> {
        unsupported("an option")
    }

    fn serialize_unit(self) -> Result<Fields, FieldError> {
        Ok(Fields::new())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Fields, FieldError> {
        Ok(Fields::new())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<Fields, FieldError> {
        unsupported("a tuple struct")
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Fields, FieldError> {
        unsupported("an enum")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, FieldError> {
        unsupported("a list")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, FieldError> {
        unsupported("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, FieldError> {
        unsupported("a tuple struct")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, FieldError> {
        unsupported("an enum")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Collector, FieldError> {
        Ok(Collector::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Collector, FieldError> {
        Ok(Collector::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, FieldError> {
        unsupported("an enum")
    }
}

impl SerializeStruct for Collector {
    type Ok = Fields;
    type Error = FieldError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), FieldError> {
        self.put(name.to_owned(), value)
    }

    fn end(self) -> Result<Fields, FieldError> {
        Ok(self.fields)
    }
}

/// Structs with flattened parts serialize as maps.
impl SerializeMap for Collector {
    type Ok = Fields;
    type Error = FieldError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), FieldError> {
        let name = match serde_json::to_value(key).map_err(FieldError::plain)? {
            serde_json::Value::String(name) => name,
            other => other.to_string(),
        };
        self.key = Some(name);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FieldError> {
        let name = self.key.take().ok_or_else(|| FieldError::plain("a map value without a key"))?;
        self.put(name, value)
    }

    fn end(self) -> Result<Fields, FieldError> {
        Ok(self.fields)
    }
}
