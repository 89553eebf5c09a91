//! Any rows come back, and a change makes new parts only around it.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::{BTreeMap, BTreeSet};

use abide_snapshot::{Part, PartBuilder, PartHash, PartReader, PartSequence, PartSizes};
use bytes::Bytes;
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn cut(state: &State, sizes: PartSizes) -> Vec<Part> {
    let mut builder = PartBuilder::with_sizes(sizes);
    let mut parts = Vec::new();
    for (key, value) in state {
        parts.extend(builder.push(Bytes::copy_from_slice(key), value).unwrap());
    }
    parts.extend(builder.finish().unwrap());
    parts
}

fn join(parts: &[Part]) -> State {
    let mut sequence = PartSequence::new();
    let mut state = State::new();
    for part in parts {
        let reader = PartReader::open(&part.descriptor, &part.bytes).unwrap();
        sequence.accept(&reader).unwrap();
        state.extend(reader.map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    state
}

fn states() -> impl Strategy<Value = State> {
    btree_map(vec(any::<u8>(), 0..12), vec(any::<u8>(), 0..200), 0..300)
}

fn sizes() -> impl Strategy<Value = PartSizes> {
    (0u64..2000, 0u64..2000, 1u64..5000).prop_map(|(min, spread, max)| PartSizes { min, spread, max })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_rows_come_back(state in states(), sizes in sizes()) {
        let parts = cut(&state, sizes);
        prop_assert_eq!(&join(&parts), &state);
        prop_assert_eq!(&cut(&state, sizes), &parts, "the same rows make the same parts");
        for part in &parts {
            let larger_than_max = part.descriptor.raw_bytes > sizes.max.max(1);
            prop_assert!(!larger_than_max || part.descriptor.rows == 1);
        }
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found(state in states(), at in any::<prop::sample::Index>(), bit in 0..8) {
        for part in cut(&state, PartSizes { min: 500, spread: 500, max: 2000 }) {
            let at = at.index(part.bytes.len());
            let mut damaged = part.bytes.to_vec();
            damaged[at] ^= 1u8 << bit;
            prop_assert_eq!(PartReader::open(&part.descriptor, &damaged).unwrap_err().code(), "SN011");
            // As if the name had been forged with the content.
            let mut descriptor = part.descriptor.clone();
            descriptor.hash = PartHash::of(&damaged);
            if let Ok(reader) = PartReader::open(&descriptor, &damaged) {
                prop_assert_eq!(reader.count() as u64, descriptor.rows);
            }
            prop_assert!(PartReader::open(&part.descriptor, &part.bytes[..at]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(stored in vec(any::<u8>(), 0..200), raw_bytes in 0u64..100_000, rows in 0u64..10) {
        let mut descriptor = cut(&State::from([(vec![1], vec![2])]), PartSizes::default())[0].descriptor.clone();
        descriptor.hash = PartHash::of(&stored);
        descriptor.stored_bytes = stored.len() as u64;
        (descriptor.raw_bytes, descriptor.rows) = (raw_bytes, rows);
        if let Ok(reader) = PartReader::open(&descriptor, &stored) {
            prop_assert_eq!(reader.count() as u64, rows);
        }
    }
}

/// A number that looks like any other, from its place in a sequence.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 8
}

fn large_state() -> State {
    let value =
        |number: u64| vec![u8::try_from(number % 251).unwrap(); usize::try_from(scatter(number) % 200).unwrap()];
    (0..20_000u64).map(|number| (scatter(number).to_be_bytes().to_vec(), value(number))).collect()
}

fn names(parts: &[Part]) -> BTreeSet<PartHash> {
    parts.iter().map(|part| part.descriptor.hash).collect()
}

/// Boundaries depend on nearby rows only, so behind a change they fall back into step.
#[test]
fn a_change_makes_few_new_parts() {
    let sizes = PartSizes { min: 8 << 10, spread: 8 << 10, max: 64 << 10 };
    let before = large_state();
    let parts = cut(&before, sizes);
    assert!((100..400).contains(&parts.len()), "{} parts", parts.len());
    let old = names(&parts);
    let keys: Vec<_> = before.keys().cloned().collect();
    let mut new_parts = Vec::new();
    for change in 0..120u64 {
        let key = &keys[usize::try_from(scatter(change + 1_000_000)).unwrap() % keys.len()];
        let mut after = before.clone();
        match change % 4 {
            0 => drop(after.remove(key)),
            1 => drop(after.insert(key.clone(), vec![9; 150])),
            2 => drop(after.insert([&key[..], b"new"].concat(), vec![9; 100])),
            _ => after.get_mut(key).unwrap().iter_mut().for_each(|byte| *byte ^= 1),
        }
        let after_names = names(&cut(&after, sizes));
        new_parts.push(after_names.difference(&old).count());
    }
    let most = new_parts.iter().max().unwrap();
    let sum: usize = new_parts.iter().sum();
    assert!(*most <= 12, "a change made {most} new parts");
    assert!(sum <= 2 * new_parts.len(), "{sum} new parts by {} changes", new_parts.len());
}

/// Whatever the size of rows, parts have the size that is meant.
#[test]
fn parts_have_their_size() {
    for value_bytes in [0, 10, 1000, 100_000, 1_000_000] {
        let bytes_of_all = 40 << 20;
        let count = bytes_of_all / (value_bytes + 20);
        let mut builder = PartBuilder::new();
        let mut sizes = Vec::new();
        for number in 0..u32::try_from(count).unwrap() {
            let part = builder.push(Bytes::from(format!("key {number:010}")), &vec![0; value_bytes]).unwrap();
            sizes.extend(part.map(|part| part.descriptor.raw_bytes));
        }
        let average = sizes.iter().sum::<u64>() / sizes.len() as u64;
        assert!(sizes.iter().all(|size| *size <= 8 << 20));
        assert!((1 << 20..4 << 20).contains(&average), "{value_bytes}: {average}");
    }
}
