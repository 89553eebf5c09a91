//! Where a look for due rows begins.
//!
//! *Problem.* What is due is at the front of its table, and is removed there. A store that writes removals as tombstones
//! has to read all of them again at each look from the beginning, until it compacts.
//!
//! *Idea.* The machine remembers below which time there is nothing, and looks from there. That is a fact about the tables,
//! so it is the same on every replica; a machine that was just opened knows nothing and looks from the beginning.

use abide_model::id::Millis;
use abide_model::table::key::KeyWriter;
use abide_model::table::{Expiries, Table, Timers};

/// For each table that is ordered by time: nothing is due before this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floors {
    timers: u64,
    expiries: u64,
}

impl Floors {
    fn of(&mut self, tag: u8) -> Option<&mut u64> {
        match tag {
            Timers::TAG => Some(&mut self.timers),
            Expiries::TAG => Some(&mut self.expiries),
            _ => None,
        }
    }

    /// A row with this encoded key is written.
    pub(crate) fn note(&mut self, key: &[u8]) {
        let Some((tag, parts)) = key.split_first() else { return };
        let Some(floor) = self.of(*tag) else { return };
        if let Some(due) = parts.first_chunk() {
            *floor = (*floor).min(u64::from_be_bytes(*due));
        }
    }

    /// A look found nothing of `T` before `due`.
    pub(crate) fn raise<T: Table>(&mut self, due: Millis) {
        if let Some(floor) = self.of(T::TAG) {
            *floor = (*floor).max(due.0);
        }
    }

    /// The time before which there is nothing of `T`.
    pub(crate) fn get<T: Table>(mut self) -> Millis {
        Millis(self.of(T::TAG).map_or(0, |floor| *floor))
    }

    /// Bounds of a look for all rows of `T` that are due at `now`.
    pub(crate) fn due<T: Table>(self, now: Millis) -> (Box<[u8]>, Box<[u8]>) {
        let end = now.plus(1);
        let bound = |due: Millis| {
            let mut key = KeyWriter::new(T::TAG);
            key.u64(due.0);
            key.finish()
        };
        (bound(self.get::<T>().min(end)), bound(end))
    }
}

#[cfg(test)]
mod tests {
    use abide_model::id::{InvocationId, PartitionKey};
    use abide_model::table::{Completions, Expiry, ExpiryKey, TimerKey, TimerKind};

    use super::*;

    #[test]
    fn what_is_written_is_above_the_floor() {
        let id = InvocationId { partition_key: PartitionKey(1), unique: 1 };
        let mut floors = Floors::default();
        floors.raise::<Timers>(Millis(50));
        floors.raise::<Timers>(Millis(40));
        assert_eq!(floors.get::<Timers>(), Millis(50));
        let timer = TimerKey { due: Millis(60), kind: TimerKind::Wake, invocation: id, completion: 1 };
        floors.note(&Timers::encode_key(&timer));
        assert_eq!(floors.get::<Timers>(), Millis(50));
        floors.note(&Timers::encode_key(&TimerKey { due: Millis(7), ..timer }));
        assert_eq!(floors.get::<Timers>(), Millis(7));
        let (from, to) = floors.due::<Timers>(Millis(7));
        let key = Timers::encode_key(&TimerKey { due: Millis(7), ..timer });
        assert!(from <= key && key < to);
        let (from, to) = floors.due::<Timers>(Millis(5));
        assert!(from <= to, "a look before the floor finds nothing");
        // Each table has its own, and others none.
        floors.raise::<Expiries>(Millis(9));
        floors.note(&Expiries::encode_key(&ExpiryKey { due: Millis(8), what: Expiry::Journal(id) }));
        floors.note(&Completions::encode_key(&id));
        assert_eq!((floors.get::<Expiries>(), floors.get::<Timers>()), (Millis(8), Millis(7)));
    }
}
