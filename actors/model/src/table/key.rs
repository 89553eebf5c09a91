//! Order-preserving key parts: numbers big endian, texts escaped and terminated.

use crate::id::InvocationId;

/// Builds a key part by part.
#[derive(Debug)]
pub struct KeyWriter(Vec<u8>);

impl KeyWriter {
    /// A key of the table with this tag.
    #[must_use]
    pub fn new(tag: u8) -> Self {
        let mut bytes = Vec::with_capacity(48);
        bytes.push(tag);
        Self(bytes)
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Four bytes, big endian.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight bytes, big endian.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// A text: `00` becomes `00 FF`, and `00 00` ends it, so that a prefix sorts before its extensions.
    pub fn text(&mut self, value: &str) {
        for byte in value.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xFF);
            }
        }
        self.0.extend_from_slice(&[0, 0]);
    }

    /// The 24 bytes of an invocation id.
    pub fn invocation(&mut self, value: InvocationId) {
        self.0.extend_from_slice(&value.to_bytes());
    }

    /// The key.
    #[must_use]
    pub fn finish(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }

    /// Bounds `[from, to)` of all keys that begin with the parts so far.
    #[must_use]
    pub fn prefix_bounds(self) -> (Box<[u8]>, Box<[u8]>) {
        let mut to = self.0.clone();
        while let Some(last) = to.last_mut() {
            if let Some(next) = last.checked_add(1) {
                *last = next;
                break;
            }
            to.pop();
        }
        (self.finish(), to.into_boxed_slice())
    }
}

/// Takes a key apart; every method returns `None` when the bytes do not hold the part.
#[derive(Debug)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// A reader behind `tag`; `None` when `bytes` begins with another one.
    #[must_use]
    pub fn new(bytes: &'a [u8], tag: u8) -> Option<Self> {
        bytes.split_first().filter(|(first, _)| **first == tag).map(|(_, rest)| Self(rest))
    }

    /// Whether all parts are read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Four bytes, big endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// Eight bytes, big endian.
    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// The inverse of [`KeyWriter::text`].
    pub fn text(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            match self.u8()? {
                0 => match self.u8()? {
                    0 => return String::from_utf8(text).ok(),
                    0xFF => text.push(0),
                    _ => return None,
                },
                byte => text.push(byte),
            }
        }
    }

    /// The 24 bytes of an invocation id.
    pub fn invocation(&mut self) -> Option<InvocationId> {
        self.take::<{ InvocationId::LEN }>().and_then(|bytes| InvocationId::from_bytes(&bytes))
    }
}
