//! The settings of the cluster: they hold on all nodes, are changed while everything runs, and lie in
//! [`crate::table::Settings`].

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set; empty leaves it to the configuration of each node.
    pub default: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it is, in one line.
    pub what: &'static str,
}

/// What the values of a setting are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Number {
        /// The lowest.
        min: u64,
        /// The highest.
        max: u64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
}

/// How many replicas a partition has when there are enough nodes. The largest odd number of them decides; with an even
/// number the last one follows without a vote.
pub const REPLICATION_FACTOR: Setting = Setting {
    name: "replication_factor",
    default: "3",
    kind: Kind::Number { min: 1, max: 7 },
    what: "replicas of a partition when there are enough nodes; of an even number one has no vote",
};

/// How often the state of a partition is saved outside of the node, in ms; 0 is never by time.
pub const SNAPSHOT_INTERVAL: Setting = Setting {
    name: "snapshot_interval",
    default: "600000",
    kind: Kind::Number { min: 0, max: MONTH_MS },
    what: "ms between two snapshots of a partition; 0 takes none by time",
};

/// How many snapshots of a partition are kept.
pub const SNAPSHOT_KEEP: Setting = Setting {
    name: "snapshot_keep",
    default: "3",
    kind: Kind::Number { min: 1, max: 1_000 },
    what: "snapshots of a partition that are kept",
};

/// How long a node is silent before its replicas are replaced by others, in ms.
pub const REPLACE_AFTER: Setting = Setting {
    name: "replace_after",
    default: "600000",
    kind: Kind::Number { min: 10_000, max: MONTH_MS },
    what: "ms that a node is silent before its replicas are made anew on others",
};

/// How much the nodes log.
pub const LOG_LEVEL: Setting = Setting {
    name: "log_level",
    default: "",
    kind: Kind::Word(&["error", "warn", "info", "debug", "trace"]),
    what: "how much the nodes log; without it each does as its configuration says",
};

/// All settings.
pub const SETTINGS: &[Setting] = &[REPLICATION_FACTOR, SNAPSHOT_INTERVAL, SNAPSHOT_KEEP, REPLACE_AFTER, LOG_LEVEL];

const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1000;

impl Setting {
    /// The setting with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// What is wrong with `value`, as a sentence for whoever set it; `None` when nothing is.
    #[must_use]
    pub fn fault(&self, value: &str) -> Option<String> {
        let fits = match self.kind {
            // Digits only: what is kept is the one way to write a number.
            Kind::Number { min, max } => {
                value.parse::<u64>().is_ok_and(|number| (min..=max).contains(&number) && number.to_string() == value)
            }
            Kind::Word(words) => words.contains(&value),
        };
        let shown: String = value.chars().take(64).collect();
        (!fits).then(|| format!("`{}` is {}, not `{shown}`", self.name, self.expected()))
    }

    /// What its values are, for people.
    #[must_use]
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// The number that holds when `value` is what the table has. What does not fit counts as the default.
    #[must_use]
    pub fn number(&self, value: Option<&str>) -> u64 {
        let set = value.filter(|value| self.fault(value).is_none()).unwrap_or(self.default);
        set.parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_values() {
        for setting in SETTINGS {
            assert_eq!(Setting::named(setting.name), Some(setting));
            assert!(setting.default.is_empty() || setting.fault(setting.default).is_none(), "{}", setting.name);
        }
        assert_eq!(Setting::named("colour"), None);
        assert_eq!(REPLICATION_FACTOR.number(None), 3);
        assert_eq!(REPLACE_AFTER.number(Some("20000")), 20_000);
        assert_eq!(REPLACE_AFTER.number(Some("1")), 600_000, "below what may be");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for value in ["", "0", "8", "-1", "+3", "03", " 3", "3.0", "three", "99999999999999999999999"] {
            let fault = REPLICATION_FACTOR.fault(value).expect(value);
            assert_eq!(fault, format!("`replication_factor` is a number from 1 to 7, not `{value}`"));
        }
        assert_eq!(REPLICATION_FACTOR.fault("7"), None);
        assert_eq!(LOG_LEVEL.fault("debug"), None);
        assert!(LOG_LEVEL.fault("DEBUG").is_some() && LOG_LEVEL.fault("").is_some());
    }
}
