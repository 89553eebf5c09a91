//! Which of those that wait for a key comes first.

use crate::protocol::Header;

/// Class of an exclusive invocation in the mailbox of its object. The numbers are persisted.
///
/// Whatever waits is taken class by class, [`Priority::ORDER`], and in the order of acceptance within a class. The
/// invocation that holds the key goes on whatever comes. A class waits as long as there is something in those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Priority {
    /// Of everything that does not say otherwise.
    Normal = 0,
    /// Before everything else.
    High = 1,
    /// After everything else.
    Low = 2,
}

/// A priority is none of the words there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no priority: write `high`, `normal` or `low`")]
pub struct UnknownPriority(String);

impl Priority {
    /// The request header that names the priority of one invocation. It is part of what the handler sees.
    pub const HEADER: &'static str = "x-abide-priority";
    /// First to last.
    pub const ORDER: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Place in [`Priority::ORDER`].
    #[must_use]
    pub fn rank(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// The word for it in headers, options, the API and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// What the headers of a request say of it; of several the last one counts. `None` when they say nothing.
    ///
    /// # Errors
    /// [`UnknownPriority`] for any other word.
    pub fn of_headers(headers: &[Header]) -> Result<Option<Self>, UnknownPriority> {
        let header = headers.iter().rev().find(|header| header.key == Self::HEADER);
        header.map(|header| header.value.parse()).transpose()
    }
}

impl std::str::FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(word: &str) -> Result<Self, UnknownPriority> {
        let known = Self::ORDER.into_iter().find(|priority| priority.word() == word);
        known.ok_or_else(|| UnknownPriority(word.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::command::{Form, Target};

    /// Numbers and words of priorities are persisted.
    #[test]
    fn priorities_stay() {
        let of = |number| Priority::try_from(number).expect("three priorities");
        assert_eq!([of(0), of(1), of(2)], [Priority::Normal, Priority::High, Priority::Low]);
        let target = Target { priority: Priority::Low as i32, ..Target::default() };
        assert_eq!(target.encode_to_vec(), [56, 2]);
        let edit = Target { form: Form::Edit as i32, ..target.clone() };
        assert_eq!((target.class(), edit.class()), (Priority::Low, Priority::Normal));
        // Of a build to come: it queues with the normal ones.
        assert_eq!(Target { priority: 9, ..target }.class(), Priority::Normal);

        for (rank, priority) in Priority::ORDER.into_iter().enumerate() {
            assert_eq!((priority.rank(), priority.word().parse()), (rank, Ok(priority)));
        }
        let headers = |words: &[&str]| {
            let header = |word: &&str| Header { key: "x-abide-priority".into(), value: (*word).into() };
            words.iter().map(header).collect::<Vec<_>>()
        };
        assert_eq!(Priority::of_headers(&[Header { key: "a".into(), value: "high".into() }]), Ok(None));
        assert_eq!(Priority::of_headers(&headers(&["low", "high"])), Ok(Some(Priority::High)));
        for word in ["", "High", "urgent", "1"] {
            assert_eq!(Priority::of_headers(&headers(&[word])), Err(UnknownPriority(word.into())));
        }
    }
}
