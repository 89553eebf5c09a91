use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::spec::tests::any_spec;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;
const YEAR: u64 = 365 * DAY;

fn millis(times: &[u64]) -> Vec<Millis> {
    times.iter().copied().map(Millis).collect()
}

#[test]
fn a_time_that_is_due_runs_and_the_next_one_follows() {
    let spec = Spec::every("1m", Millis(0)).unwrap();
    for catch_up in [CatchUp::Skip, CatchUp::One, CatchUp::All] {
        for late in [0, 1, SCHEDULE_LATE_MS] {
            let plan = plan(&spec, Millis(60_000), Millis(60_000 + late), catch_up);
            let expected = Plan { runs: millis(&[60_000]), skipped: 0, next: Some(Millis(120_000)) };
            assert_eq!(plan, expected, "{catch_up:?} {late}");
        }
    }
}

#[test]
fn a_clock_that_is_behind_does_not_matter() {
    let spec = Spec::every("1m", Millis(0)).unwrap();
    let plan = plan(&spec, Millis(60_000), Millis(5), CatchUp::Skip);
    assert_eq!(plan, Plan { runs: millis(&[60_000]), skipped: 0, next: Some(Millis(120_000)) });
}

#[test]
fn missed_times_follow_the_policy() {
    let spec = Spec::every("1m", Millis(0)).unwrap();
    // Five were missed, and 360 s is on time.
    let made = |catch_up| plan(&spec, Millis(60_000), Millis(365_000), catch_up);
    let next = Some(Millis(420_000));
    assert_eq!(made(CatchUp::Skip), Plan { runs: millis(&[360_000]), skipped: 5, next });
    assert_eq!(made(CatchUp::One), Plan { runs: millis(&[300_000, 360_000]), skipped: 4, next });
    let all = millis(&[60_000, 120_000, 180_000, 240_000, 300_000, 360_000]);
    assert_eq!(made(CatchUp::All), Plan { runs: all, skipped: 0, next });
}

#[test]
fn a_single_time_that_was_missed() {
    let spec = Spec::At(Millis(60_000));
    let made = |catch_up| plan(&spec, Millis(60_000), Millis(DAY), catch_up);
    assert_eq!(made(CatchUp::Skip), Plan { runs: vec![], skipped: 1, next: None });
    assert_eq!(made(CatchUp::One), Plan { runs: millis(&[60_000]), skipped: 0, next: None });
    assert_eq!(made(CatchUp::All), Plan { runs: millis(&[60_000]), skipped: 0, next: None });
}

/// The time that was due counts although the rule does not have it (any more).
#[test]
fn a_time_that_the_rule_does_not_have() {
    let spec = Spec::every("1m", Millis(0)).unwrap();
    let plan = plan(&spec, Millis(61_000), Millis(200_000), CatchUp::All);
    assert_eq!(plan, Plan { runs: millis(&[61_000, 120_000, 180_000]), skipped: 0, next: Some(Millis(240_000)) });
}

#[test]
fn a_year_of_seconds_is_little_work() {
    let now = 56 * YEAR;
    for (spec, exact) in [
        (Spec::every("1s", Millis(0)).unwrap(), true),
        (Spec::cron("* * * * * *", "Europe/Berlin").unwrap(), false),
        // All of its times are at the beginning of the stretch.
        (Spec::cron("* * * 1 1 *", "Europe/Berlin").unwrap(), false),
    ] {
        let due = spec.next_after(Millis(now - YEAR)).unwrap();
        let made = plan(&spec, due, Millis(now), CatchUp::All);
        assert_eq!(made.runs.len(), SCHEDULE_CATCH_UP_MAX);
        assert!(made.skipped >= COUNTED_MAX as u64 - 100);
        if exact {
            assert_eq!(made.skipped + made.runs.len() as u64, (now - due.0) / SECOND + 1);
        }
        let upcoming = spec.next_after(*made.runs.last().unwrap());
        assert_eq!(upcoming, made.next, "the runs are the latest ones");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn plans_keep_their_promises(
        spec in any_spec(),
        start in 0..4_000_000_000_000u64,
        later in prop_oneof![0..20 * SECOND, 0..3 * DAY, 0..2 * YEAR],
        catch_up in prop::sample::select(vec![CatchUp::Skip, CatchUp::One, CatchUp::All]),
    ) {
        let Some(due) = spec.next_after(Millis(start)) else { return Ok(()) };
        let now = due.plus(later);
        let made = plan(&spec, due, now, catch_up);
        prop_assert!(made.runs.is_sorted_by(|a, b| a < b), "not ascending: {:?}", made.runs);
        prop_assert!(made.runs.iter().all(|time| (due..=now).contains(time)));
        prop_assert!(made.next.is_none_or(|next| next > now));
        prop_assert_eq!(made.next, spec.next_after(now));
        prop_assert!(made.runs.len() <= SCHEDULE_CATCH_UP_MAX);

        // Against all times, one by one, where they are not too many.
        let all: Vec<Millis> =
            std::iter::once(due).chain(spec.upcoming(due)).take_while(|time| *time <= now).take(5_000).collect();
        if all.len() < 5_000 {
            prop_assert_eq!(made.runs.len() as u64 + made.skipped, all.len() as u64);
            let (missed, on_time): (Vec<Millis>, Vec<Millis>) =
                all.into_iter().partition(|time| now.0 - time.0 > SCHEDULE_LATE_MS);
            let caught_up = match catch_up {
                CatchUp::Skip => 0,
                CatchUp::One => 1,
                CatchUp::All => SCHEDULE_CATCH_UP_MAX - on_time.len(),
            };
            let expected: BTreeSet<Millis> =
                missed.iter().rev().take(caught_up).chain(&on_time).copied().collect();
            prop_assert_eq!(made.runs, Vec::from_iter(expected));
        }
    }
}
