//! The encoding of rows within a part, row by row: a part is never held twice.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint},
};

/// One row, as field 1 of a part's message.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Row {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

const ROW_FIELD: u32 = 1;

/// Bytes of a row within a part.
pub(super) fn framed_len(key: &[u8], value: &[u8]) -> u64 {
    let body = row_len(key, value);
    (1 + encoded_len_varint(body) + usize::try_from(body).expect("a length in memory fits a usize")) as u64
}

/// Bytes of a row's message. Like every protobuf encoder it leaves out an empty field.
fn row_len(key: &[u8], value: &[u8]) -> u64 {
    let field = |bytes: &[u8]| {
        let len = bytes.len() as u64;
        if len == 0 { 0 } else { 1 + encoded_len_varint(len) as u64 + len }
    };
    field(key) + field(value)
}

/// Appends a row as prost would encode it, without a message in between that holds it once more.
pub(super) fn put_row(raw: &mut BytesMut, key: &[u8], value: &[u8]) {
    encode_key(ROW_FIELD, WireType::LengthDelimited, raw);
    encode_varint(row_len(key, value), raw);
    for (field, bytes) in [(1, key), (2, value)] {
        if !bytes.is_empty() {
            encode_key(field, WireType::LengthDelimited, raw);
            encode_varint(bytes.len() as u64, raw);
            raw.put_slice(bytes);
        }
    }
}

/// Takes the next row off a part's message: one at a time, so that many tiny rows cost no memory.
pub(super) fn take_row(rest: &mut Bytes) -> Result<Row, String> {
    let text = |error: prost::DecodeError| error.to_string();
    let (field, wire_type) = decode_key(rest).map_err(text)?;
    if field != ROW_FIELD || wire_type != WireType::LengthDelimited {
        return Err(format!("field {field} of a part is unknown"));
    }
    let len = decode_varint(rest).map_err(text)?;
    let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or("a row is longer than the part")?;
    Row::decode(rest.split_to(len)).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [(&str, &str); 4] = [("", "x"), ("a", ""), ("b", "yz"), ("", "")];

    #[test]
    fn rows_are_encoded_as_a_message_would_be() {
        #[derive(Clone, PartialEq, Message)]
        struct Whole {
            #[prost(message, repeated, tag = "1")]
            rows: Vec<Row>,
        }
        let whole = Whole { rows: ROWS.map(|(key, value)| Row { key: key.into(), value: value.into() }).into() };
        let mut raw = BytesMut::new();
        for (key, value) in ROWS {
            let before = raw.len();
            put_row(&mut raw, key.as_bytes(), value.as_bytes());
            assert_eq!((raw.len() - before) as u64, framed_len(key.as_bytes(), value.as_bytes()));
        }
        assert_eq!(raw, whole.encode_to_vec());
    }
}
