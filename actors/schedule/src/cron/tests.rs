use proptest::prelude::*;

use super::*;

fn at(time: &str) -> Millis {
    crate::timestamp(time).unwrap()
}

fn text(time: Millis, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(i64::try_from(time.0).unwrap()).unwrap();
    let local = zone.to_datetime(time).to_string().replace('T', " ");
    format!("{}{}", local.strip_suffix(":00").unwrap_or(&local), zone.to_offset(time))
}

/// The next `count` times as the clocks of the zone show them, with the offset.
fn times(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::new(expression, zone).unwrap();
    let mut time = at(after);
    let next = || {
        time = cron.next_after(time).unwrap();
        text(time, &cron.zone)
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn fields_and_their_words() {
    for (expression, expected) in [
        ("*/20 * * * *", ["2026-01-01 00:20+00", "2026-01-01 00:40+00", "2026-01-01 01:00+00"]),
        ("0 9 * * 1-5", ["2026-01-01 09:00+00", "2026-01-02 09:00+00", "2026-01-05 09:00+00"]),
        ("0 9 * * mon,FRI", ["2026-01-02 09:00+00", "2026-01-05 09:00+00", "2026-01-09 09:00+00"]),
        ("0 0 * * SAT-SUN", ["2026-01-03 00:00+00", "2026-01-04 00:00+00", "2026-01-10 00:00+00"]),
        ("0 0 * * 7", ["2026-01-04 00:00+00", "2026-01-11 00:00+00", "2026-01-18 00:00+00"]),
        ("0 0 1 JAN-MAR/2 ?", ["2026-03-01 00:00+00", "2027-01-01 00:00+00", "2027-03-01 00:00+00"]),
        ("0 0 L * *", ["2026-01-31 00:00+00", "2026-02-28 00:00+00", "2026-03-31 00:00+00"]),
        ("0 0 ? * 5L", ["2026-01-30 00:00+00", "2026-02-27 00:00+00", "2026-03-27 00:00+00"]),
        ("0 0 * * mon#2", ["2026-01-12 00:00+00", "2026-02-09 00:00+00", "2026-03-09 00:00+00"]),
        ("0 0 13 * 5", ["2026-01-02 00:00+00", "2026-01-09 00:00+00", "2026-01-13 00:00+00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00+00", "2032-02-29 00:00+00", "2036-02-29 00:00+00"]),
        ("50/5 1 * * *", ["2026-01-01 01:50+00", "2026-01-01 01:55+00", "2026-01-02 01:50+00"]),
        ("*/30 59 23 31 12 *", ["2026-12-31 23:59+00", "2026-12-31 23:59:30+00", "2027-12-31 23:59+00"]),
        ("@weekly", ["2026-01-04 00:00+00", "2026-01-11 00:00+00", "2026-01-18 00:00+00"]),
        ("@yearly", ["2027-01-01 00:00+00", "2028-01-01 00:00+00", "2029-01-01 00:00+00"]),
    ] {
        assert_eq!(times(expression, "UTC", "2026-01-01T00:00:00Z", 3), expected, "{expression}");
    }
}

/// Monday, the 29th of February: over the year 2100, which has none, forty years pass.
#[test]
fn rare_times_are_found() {
    assert_eq!(times("0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", 1), ["2104-02-29 00:00+00"]);
    let cron = Cron::new("0 0 29 2 *", "UTC").unwrap();
    assert_eq!(cron.next_after(at("9999-01-01T00:00:00Z")), None);
    assert_eq!(cron.next_after(Millis(u64::MAX)), None);
}

/// What does not exist runs when the clocks have been put forward, what occurs twice runs once.
#[test]
fn certain_hours_over_changes_of_the_clocks() {
    for (expression, zone, after, expected) in [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29 03:00+02", "2026-03-30 02:30+02", "2026-03-31 02:30+02"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25 02:30+02", "2026-10-26 02:30+01", "2026-10-27 02:30+01"],
        ),
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["2026-03-08 03:00-04", "2026-03-09 02:30-04", "2026-03-10 02:30-04"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            ["2026-11-01 01:30-04", "2026-11-02 01:30-05", "2026-11-03 01:30-05"],
        ),
        // Several that are skipped are one run, also with one that is due when the clocks have been put forward.
        (
            "*/20 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29 03:00+02", "2026-03-29 03:20+02", "2026-03-29 03:40+02"],
        ),
        // Asked within the hour that comes again.
        (
            "*/20 2 * * *",
            "Europe/Berlin",
            "2026-10-25T01:10:00Z",
            ["2026-10-26 02:00+01", "2026-10-26 02:20+01", "2026-10-26 02:40+01"],
        ),
        // A day that Samoa left out.
        (
            "0 9 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            ["2011-12-29 09:00-10", "2011-12-31 00:00+14", "2011-12-31 09:00+14"],
        ),
    ] {
        assert_eq!(times(expression, zone, after, 3), expected, "{expression} {zone} {after}");
    }
}

#[test]
fn every_hour_runs_by_elapsed_time() {
    for (expression, after, expected) in [
        (
            "*/30 * * * *",
            "2026-10-25T00:00:00Z",
            ["2026-10-25 02:30+02", "2026-10-25 02:00+01", "2026-10-25 02:30+01", "2026-10-25 03:00+01"],
        ),
        (
            "30 * * * *",
            "2026-03-29T00:00:00Z",
            ["2026-03-29 01:30+01", "2026-03-29 03:30+02", "2026-03-29 04:30+02", "2026-03-29 05:30+02"],
        ),
    ] {
        assert_eq!(times(expression, "Europe/Berlin", after, 4), expected, "{expression} {after}");
    }
}

#[test]
fn faults_are_pointed_at() {
    for (expression, message) in [
        ("", "cron expression: there are 0 fields; write five"),
        ("0 9 * *", "cron expression `0 9 * *`, at its end: there are 4 fields; write five"),
        ("0 0 9 * * 1 2027", "at character 13 (`2027`): there are at most six fields"),
        ("0 25 * * *", "cron expression `0 25 * * *`, at character 3 (`25`): the hour is a number from 0 to 23"),
        ("0  9 * Okt *", "at character 8 (`Okt`): the month is a number from 1 to 12 or a name from JAN to DEC"),
        ("0 9 * * 1-8", "at character 11 (`8`): the day of week is a number from 0 to 7 or a name from SUN to SAT"),
        ("0 18-9 * * *", "at character 3 (`18-9`): the range of the hour runs backwards"),
        ("*/0 * * * *", "at character 3 (`0`): the step of the minute is a number from 1 to 59"),
        ("1,,2 * * * *", "at character 3 (``): the minute is a number from 0 to 59"),
        ("+1 * * * *", "at character 1 (`+1`): the minute is a number"),
        ("0 9 * * 5#6", "at character 11 (`6`): a number from 1 to 5 follows `#`"),
        ("0 9 15W * *", "at character 5 (`15W`): the day of month is a number from 1 to 31"),
        ("@nightly", "cron expression `@nightly`: the macros are"),
        ("@daily 5", "at character 8 (`5`): nothing may follow a macro"),
        ("0 0 30 2 *", "cron expression `0 0 30 2 *`: it never comes: no month has such a day"),
        ("0 0 31 2,4,6 *", "it never comes"),
        ("ä 9 * * *", "cron expression `ä 9 * * *`, at character 1 (`ä`)"),
    ] {
        let error = Cron::new(expression, "UTC").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    for zone in ["", "Europe/Berln", "CEST+2", "Etc/Unknown", "*"] {
        let error = Cron::new("@daily", zone).unwrap_err().to_string();
        assert!(error.starts_with("time zone") && error.contains("IANA"), "{zone}: {error}");
    }
    assert!(Cron::new(&"1,".repeat(200), "UTC").unwrap_err().to_string().contains("longer than 256 bytes"));
}

#[test]
fn zones_have_one_name() {
    assert_eq!(Cron::new("@daily", "europe/berlin").unwrap().to_string(), "@daily Europe/Berlin");
    assert_eq!(Cron::new(" 0  9 * * * ", "utc").unwrap().to_string(), "0 9 * * * UTC");
}

/// What the rules say, by looking at every second between `after` and `until`.
fn by_looking(cron: &Cron, after: i64, until: i64) -> Option<i64> {
    let local = |second: i64| cron.zone.to_datetime(Timestamp::from_second(second).unwrap());
    let matches = |local: DateTime| cron.fields.next(local) == Some(local);
    (after + 1..=until).find(|second| {
        let shown = local(*second);
        let before = local(*second - 1).checked_add(SignedDuration::from_secs(1)).unwrap();
        if cron.fields.is_every_hour() {
            return matches(shown);
        }
        let skipped = before < shown && cron.fields.next(before).is_some_and(|next| next < shown);
        // No change is more than a day.
        let first = cron.zone.to_ambiguous_timestamp(shown).earlier().unwrap().as_second() == *second;
        skipped || (first && matches(shown))
    })
}

fn item(min: u32, max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("*".to_owned()),
        2 => (min..=max).prop_map(|value| value.to_string()),
        1 => (1..=max).prop_map(|step| format!("*/{step}")),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Near changes of the clocks.
    #[test]
    fn the_next_time_is_the_one_found_by_looking(
        second in item(0, 59),
        minute in item(0, 59),
        hour in item(0, 4),
        place in prop::sample::select(vec![
            ("Europe/Berlin", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "2026-10-25T01:00:00Z"),
            ("America/New_York", "2026-03-08T07:00:00Z"),
            ("America/New_York", "2026-11-01T06:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
            ("UTC", "2026-06-01T00:00:00Z"),
        ]),
        offset in -7200i64..7200,
    ) {
        let (zone, change) = place;
        let cron = Cron::new(&format!("{second} {minute} {hour} * * *"), zone).unwrap();
        let after = i64::try_from(at(change).0 / 1000).unwrap() + offset;
        let until = after + 4 * 3600;
        let next = cron.next_after(Millis(u64::try_from(after * 1000).unwrap())).unwrap();
        let next = Some(i64::try_from(next.0 / 1000).unwrap()).filter(|next| *next <= until);
        prop_assert_eq!(next, by_looking(&cron, after, until));
    }

    #[test]
    fn any_text_is_read_or_refused(expression in "\\PC{0,20}|[0-9*/,L#? -]{5,20}|@[a-z]{0,8}", zone in "\\PC{0,10}") {
        let _ = Cron::new(&expression, "UTC").map_err(|error| error.to_string());
        let _ = Cron::new("@daily", &zone).map_err(|error| error.to_string());
    }
}
