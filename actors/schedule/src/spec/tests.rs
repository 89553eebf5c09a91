use proptest::prelude::*;

use super::*;

#[test]
fn the_text_is_persisted() {
    for (text, canonical) in [
        ("cron 0 9 * * 1-5 Europe/Berlin", "cron 0 9 * * 1-5 Europe/Berlin"),
        ("cron  */5 0 9 * *  ?  utc ", "cron */5 0 9 * * ? UTC"),
        ("cron @daily America/New_York", "cron @daily America/New_York"),
        ("every 90s from 2026-11-23T06:47:12.191Z", "every 1m30s from 2026-11-23T06:47:12.191Z"),
        ("every 90000 from 1795416432191", "every 1m30s from 2026-11-23T06:47:12.191Z"),
        ("every 1h 30m from 0", "every 1h30m from 1970-01-01T00:00:00Z"),
        ("at 2026-11-23T07:47:12+01:00", "at 2026-11-23T06:47:12Z"),
        ("at 1795416432191", "at 2026-11-23T06:47:12.191Z"),
    ] {
        assert_eq!(text.parse::<Spec>().unwrap().to_string(), canonical);
    }
}

#[test]
fn faults_are_pointed_at() {
    for (text, message) in [
        ("", "schedule: a schedule begins with `cron`, `every` or `at`"),
        ("daily", "schedule `daily`: a schedule begins with"),
        ("cron", "schedule `cron`, at its end: write an expression and a time zone"),
        ("cron @daily", "at its end: write an expression and a time zone"),
        ("cron 0 9 * * 1-5", "at character 14 (`1-5`): it is not in the IANA database"),
        ("cron 0 25 * * * UTC", "schedule `cron 0 25 * * * UTC`, at character 8 (`25`): the hour is"),
        ("every 90s", "schedule `every 90s`, at its end: write from when"),
        ("every 5x from 0", "at character 7 (`5x`): the units are"),
        ("every 10ms from 0", "the shortest period of a schedule is 1s"),
        ("every 1s from soon", "at character 15 (`soon`): write a date, a time and an offset"),
        ("at 2026-03-29T09:00:00", "write a date, a time and an offset"),
        ("at 1969-12-31T23:59:59Z", "it is not between the years 1970 and 9999"),
        ("at 99999999999999999", "it is not between the years 1970 and 9999"),
    ] {
        let error = text.parse::<Spec>().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!("at ".repeat(1_000).parse::<Spec>().is_err());
}

#[test]
fn periods_count_from_their_anchor() {
    let spec = Spec::every("10s", Millis(5_000)).unwrap();
    let after = |after| spec.next_after(Millis(after)).map(|next| next.0);
    assert_eq!(
        [after(0), after(4_999), after(5_000), after(14_999)],
        [Some(5_000), Some(5_000), Some(15_000), Some(15_000)]
    );
    assert_eq!(spec.upcoming(Millis(0)).take(3).collect::<Vec<_>>(), [Millis(5_000), Millis(15_000), Millis(25_000)]);
    assert_eq!(spec.next_after(Millis(last_ms())), None);
    assert_eq!(spec.next_after(Millis(u64::MAX)), None);
    let huge = Spec::every(&u64::MAX.to_string(), Millis(1)).unwrap();
    assert_eq!(huge.upcoming(Millis(0)).collect::<Vec<_>>(), [Millis(1)]);
}

#[test]
fn a_single_time_is_due_once() {
    let spec = Spec::at("1970-01-01T00:00:01Z").unwrap();
    assert_eq!(spec.upcoming(Millis(999)).collect::<Vec<_>>(), [Millis(1_000)]);
    assert_eq!(spec.next_after(Millis(1_000)), None);
}

pub(crate) fn any_spec() -> impl Strategy<Value = Spec> {
    let expressions = vec![
        "* * * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "0 9 * * 1-5",
        "* * 2 1 1 *",
        "0 0 29 2 *",
        "@hourly",
        "@monthly",
    ];
    let zones = vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"];
    let cron = (prop::sample::select(expressions), prop::sample::select(zones))
        .prop_map(|(expression, zone)| Spec::cron(expression, zone).unwrap());
    let every = (1_000..100_000_000u64, 0..4_000_000_000_000u64)
        .prop_map(|(period, anchor)| Spec::Every(Every::new(period, Millis(anchor)).unwrap()));
    prop_oneof![cron, every, (0..=last_ms()).prop_map(|ms| Spec::At(Millis(ms)))]
}

proptest! {
    #[test]
    fn what_is_written_is_read(spec in any_spec()) {
        prop_assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec));
    }

    #[test]
    fn the_next_time_is_later(spec in any_spec(), after in 0..4_000_000_000_000u64) {
        let next: Vec<Millis> = spec.upcoming(Millis(after)).take(5).collect();
        prop_assert!(next.first().is_none_or(|first| first.0 > after) && next.is_sorted_by(|a, b| a < b), "{next:?}");
        if let Some(first) = next.first() {
            prop_assert_eq!(spec.next_after(Millis(first.0 - 1)), Some(*first));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(cron|every|at|) ?\\PC{0,30}|every [0-9]{0,25}[smhdw]? from [0-9T:Z-]{0,30}") {
        if let Ok(spec) = text.parse::<Spec>() {
            prop_assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec));
        }
    }
}
