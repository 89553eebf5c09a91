//! The journal format of fjall 3.1, read without writing.
//!
//! ```text
//! journal = batch* zero*                          file `N.jnl`, preallocated with zeros
//! batch   = 1 count:u32 seqno:u64  item{count}  3 xxh3(items):u64 "FJL" 3
//! item    = 2 type:u8 compression:u8 keyspace:u64 key_len:u16 value_len:u32 stored_len:u32 key value
//!         | 4 keyspace:u64                        all numbers little endian
//! ```
//!
//! The checksum covers the items only: a batch start can be wrong without notice, except that sequence numbers increase.

use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
const START_LEN: usize = 13;

/// A complete batch whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) seqno: u64,
    /// Offset after the batch.
    pub(crate) end: usize,
}

/// Why there is no complete batch at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw(pub(crate) &'static str);

/// Reads the batch at `at`.
pub(crate) fn batch(bytes: &[u8], at: usize) -> Result<Batch, Flaw> {
    let mut reader = Reader { bytes, at };
    if reader.u8()? != START {
        return Err(Flaw("no batch starts here"));
    }
    let count = reader.u32()?;
    let seqno = reader.u64()?;
    if count == 0 {
        return Err(Flaw("the batch is empty"));
    }
    let items = reader.at;
    for _ in 0..count {
        reader.item()?;
    }
    let checked = &bytes[items..reader.at];
    if reader.u8()? != END {
        return Err(Flaw("the batch does not end after its last item"));
    }
    if reader.u64()? != xxh3_64(checked) {
        return Err(Flaw("the checksum of the batch is wrong"));
    }
    if reader.array::<4>()? != TRAILER {
        return Err(Flaw("the batch has no trailer"));
    }
    Ok(Batch { seqno, end: reader.at })
}

/// The first complete batch after `from` with a sequence number above `seqno`, as offset and batch.
pub(crate) fn find_later(bytes: &[u8], from: usize, seqno: Option<u64>) -> Option<(usize, Batch)> {
    let candidates = from + 1..bytes.len().saturating_sub(START_LEN);
    candidates
        .filter(|&at| bytes[at] == START && matches!(bytes[at + START_LEN], ITEM | CLEAR))
        .find_map(|at| batch(bytes, at).ok().filter(|found| Some(found.seqno) > seqno).map(|found| (at, found)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn item(&mut self) -> Result<(), Flaw> {
        match self.u8()? {
            ITEM => {
                if self.u8()? > 2 {
                    return Err(Flaw("an item has an unknown type"));
                }
                if self.u8()? != 0 {
                    return Err(Flaw("an item is compressed, which this store never does"));
                }
                let _keyspace = self.u64()?;
                let key_len = u16::from_le_bytes(self.array()?);
                let value_len = self.u32()?;
                let stored_len = self.u32()?;
                if value_len != stored_len {
                    return Err(Flaw("the two lengths of a value differ"));
                }
                self.skip(usize::from(key_len))?;
                self.skip(stored_len as usize)
            }
            CLEAR => self.u64().map(|_| ()),
            _ => Err(Flaw("an item starts with an unknown tag")),
        }
    }

    fn u8(&mut self) -> Result<u8, Flaw> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let array = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).copied();
        self.at += N;
        array.ok_or(CUT)
    }

    fn skip(&mut self, len: usize) -> Result<(), Flaw> {
        self.at = self.at.checked_add(len).filter(|&at| at <= self.bytes.len()).ok_or(CUT)?;
        Ok(())
    }
}

const CUT: Flaw = Flaw("the file ends within a batch");

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Encodes a batch of one item.
    pub(crate) fn encode(seqno: u64, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut item = vec![ITEM, 0, 0];
        item.extend(1_u64.to_le_bytes());
        item.extend(u16::try_from(key.len()).unwrap().to_le_bytes());
        let value_len = u32::try_from(value.len()).unwrap().to_le_bytes();
        item.extend([value_len, value_len].concat());
        item.extend([key, value].concat());
        let mut bytes = vec![START];
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(seqno.to_le_bytes());
        bytes.extend(&item);
        bytes.push(END);
        bytes.extend(xxh3_64(&item).to_le_bytes());
        bytes.extend(TRAILER);
        bytes
    }

    #[test]
    fn a_batch_is_read_back() {
        let bytes = encode(7, b"key", b"value");
        assert_eq!(batch(&bytes, 0), Ok(Batch { seqno: 7, end: bytes.len() }));
    }

    #[test]
    fn every_flip_is_noticed_except_in_the_sequence_number() {
        let bytes = encode(7, b"key", b"value");
        for at in (0..bytes.len()).filter(|at| !(5..13).contains(at)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(batch(&damaged, 0).is_err(), "byte {at}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = encode(7, b"key", b"value");
        for len in 0..bytes.len() {
            assert!(batch(&bytes[..len], 0).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_later_batch_is_found_behind_damage() {
        let mut bytes = encode(7, b"a", b"a");
        let second = bytes.len();
        bytes.extend(encode(8, b"b", b"b"));
        bytes[20] ^= 1;
        assert_eq!(find_later(&bytes, 0, Some(6)).map(|(at, found)| (at, found.seqno)), Some((second, 8)));
        assert_eq!(find_later(&bytes, 0, Some(8)), None);
    }
}
