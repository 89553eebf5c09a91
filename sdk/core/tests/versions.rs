//! Versions: code of flows kept beside the current one, and state that outlives the struct it was stored by.

#![allow(clippy::unwrap_used)]

extern crate abide_sdk as abide;

mod machine;

use abide::prelude::*;
use abide::service::{Fields, Instance};
use abide::{Executor, Registry, TurnStart};
use abide_model::protocol::Failure;
use bytes::Bytes;
use machine::{Ended, World, id, json};

mod first {
    use super::*;

    #[object(name = "Account", version = 1)]
    pub(super) struct Account {
        pub(super) total: i64,
        pub(super) owner: String,
        pub(super) audited: bool,
        pub(super) price: u32,
    }

    #[handlers]
    impl Account {
        fn open(&mut self, _cx: &mut Turn, owner: String) {
            (self.total, self.owner, self.audited, self.price) = (100, owner, true, 7);
        }

        pub(super) async fn pay_out(&mut self, cx: &mut Flow, amount: i64) -> Result<i64, Terminal> {
            cx.run("old bank", || async { Ok(()) }).await?;
            cx.sleep(Duration::from_secs(1)).await?;
            self.total -= amount;
            Ok(self.total)
        }

        pub(super) async fn sell(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
            self.owner = "nobody".to_owned();
            cx.sleep(Duration::from_secs(1)).await?;
            self.owner = "bob".to_owned();
            cx.run("notify", || async { Ok(()) }).await?;
            cx.sleep(Duration::from_secs(1)).await
        }
    }
}

/// `total` has a new name, `audited` is gone, `currency` is new, and `price` is in cents.
fn upgrade(fields: &mut Fields) {
    if let Some(price) = fields.remove("price") {
        let price: u32 = serde_json::from_slice(&price).unwrap_or_default();
        fields.insert("cents".to_owned(), (price * 100).to_string().into());
    }
}

#[object(version = "2", migrate = "upgrade")]
struct Account {
    #[serde(alias = "total")]
    balance: i64,
    owner: String,
    currency: Option<String>,
    cents: u32,
}

#[handlers]
impl Account {
    fn deposit(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    async fn pay_out(&mut self, cx: &mut Flow, amount: i64) -> Result<i64, Terminal> {
        cx.run("new bank", || async { Ok(()) }).await?;
        self.balance -= amount;
        cx.sleep(Duration::from_secs(1)).await?;
        self.balance -= 1;
        Ok(self.balance)
    }

    async fn rename(&mut self, cx: &mut Flow, owner: String) -> Result<(), Terminal> {
        cx.run("register", || async { Ok(()) }).await?;
        self.owner = owner;
        cx.run("notify", || async { Ok(()) }).await
    }

    async fn wait(&mut self, cx: &mut Flow) -> Result<i64, Terminal> {
        cx.sleep(Duration::from_secs(1)).await?;
        Ok(self.balance)
    }
}

#[handlers(version = 1)]
impl Account {
    #[handler(name = "pay_out", retention = "1d")]
    async fn pay_out_v1(&mut self, cx: &mut Flow, amount: i64) -> Result<i64, Terminal> {
        cx.run("old bank", || async { Ok(()) }).await?;
        cx.sleep(Duration::from_secs(1)).await?;
        self.balance -= amount;
        Ok(self.balance)
    }

    #[handler(name = "sell")]
    async fn sell_v1(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        self.owner = "nobody".to_owned();
        cx.sleep(Duration::from_secs(1)).await?;
        self.owner = "bob".to_owned();
        cx.run("notify", || async { Ok(()) }).await?;
        cx.sleep(Duration::from_secs(1)).await
    }
}

#[service]
struct Unversioned;

#[handlers]
impl Unversioned {
    fn nothing(&self, _cx: &mut Turn) {}
}

fn fields(pairs: &[(&str, &'static str)]) -> Fields {
    pairs.iter().map(|(name, json)| ((*name).to_owned(), Bytes::from_static(json.as_bytes()))).collect()
}

fn stored() -> Fields {
    fields(&[("total", "100"), ("owner", "\"alice\""), ("audited", "true"), ("price", "7")])
}

fn renewed(balance: &'static str) -> Fields {
    fields(&[("balance", balance), ("owner", "\"alice\""), ("currency", "null"), ("cents", "700")])
}

fn turn(instance: &mut dyn Instance, handler: usize, input: Bytes) -> Result<Bytes, Failure> {
    let seed = id().seed();
    let start = TurnStart { id: id(), key: Some("a".to_owned()), headers: vec![], now: Millis(1), seed };
    instance.turn(handler, &mut Turn::new(start), input)
}

#[test]
fn the_version_is_the_crates_unless_it_is_said() {
    let registry = Registry::builder().bind::<Account>().bind::<Unversioned>().build();
    assert_eq!(registry.get("Unversioned").unwrap().descriptor().version, env!("CARGO_PKG_VERSION"));
    assert_eq!(registry.get("Account").unwrap().descriptor().version, "2");
}

#[test]
fn earlier_code_is_kept_beside_the_current_one() {
    let registry = Registry::builder().bind::<Account>().keep::<AccountV1>().build();
    let kept = registry.version("Account", "1").unwrap().descriptor().clone();
    assert_eq!((kept.name.as_str(), kept.version.as_str(), kept.handlers.len()), ("Account", "1", 2));
    assert_eq!(kept.handlers[0].name, "pay_out");
    assert_eq!(kept.handlers[0].options.retention, Some(Duration::from_secs(86_400)));
    assert_eq!(registry.version("Account", "2").unwrap().descriptor().handlers.len(), 4);
    assert!(registry.version("Account", "3").is_none());
    assert_eq!((registry.services().count(), registry.kept().count()), (1, 1));
    // By hand, for services whose instances are made by a function.
    let made = Executor::with(|fields| Ok(AccountV1(Account::load_state(fields)?)));
    assert!(Registry::builder().keep_with(std::sync::Arc::new(made)).build().version("Account", "1").is_some());
}

impl Account {
    fn load_state(fields: &Fields) -> Result<Self, abide::StateError> {
        <Self as abide::Entity>::load(fields)
    }
}

#[test]
fn a_flow_finishes_on_the_code_it_started_on() {
    let mut world = World::new::<first::Account>("pay_out", json(30));
    world.state = stored();
    assert_eq!(world.run_crashing(1), Ended::Crashed);
    let mut other = World::new::<first::Account>("pay_out", json(30));
    other.state = stored();
    assert_eq!(other.run_crashing(1), Ended::Crashed);
    other.deploy::<Account>("pay_out");
    assert!(matches!(other.run(), Ended::Failed(Failure { code: 570, .. }, _)));

    world.deploy::<AccountV1>("pay_out");
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok("70".to_owned())));
    assert_eq!(world.state, renewed("70"));
}

#[test]
fn a_turn_brings_state_up_to_date() {
    let registry = Registry::builder().bind::<first::Account>().build();
    let mut old = registry.get("Account").unwrap().instantiate(&Fields::new()).unwrap();
    assert_eq!(turn(old.as_mut(), 0, json("alice")), Ok(Bytes::new()));
    assert_eq!(old.fields().unwrap(), stored());

    let registry = Registry::builder().bind::<Account>().build();
    let mut new = registry.get("Account").unwrap().instantiate(&old.fields().unwrap()).unwrap();
    assert_eq!(turn(new.as_mut(), 0, json(1)), Ok(json(101)));
    assert_eq!(new.fields().unwrap(), renewed("101"));
    // What is up to date is left alone.
    let again = registry.get("Account").unwrap().instantiate(&new.fields().unwrap()).unwrap();
    assert_eq!(again.fields().unwrap(), renewed("101"));
}

#[test]
fn a_flow_brings_state_up_to_date_with_its_first_change() {
    for crash in 0..8 {
        let mut world = World::new::<Account>("pay_out", json(30));
        world.state = stored();
        if world.run_crashing(crash) == Ended::Crashed {
            assert_eq!(world.run(), Ended::Done);
        }
        assert_eq!(world.outcome, Some(Ok("69".to_owned())), "crash at {crash}");
        assert_eq!(world.state, renewed("69"), "crash at {crash}");

        let mut world = World::new::<Account>("rename", json("bob"));
        world.state = stored();
        if world.run_crashing(crash) == Ended::Crashed {
            assert_eq!(world.run(), Ended::Done);
        }
        assert_eq!((world.field("balance"), world.field("total")), (Some("100"), None), "crash at {crash}");
        assert_eq!(world.field("owner"), Some("\"bob\""));
    }
}

#[test]
fn a_flow_that_began_on_the_former_struct_goes_on_with_the_new_one() {
    for (before, after) in (1..6).flat_map(|before| (0..6).map(move |after| (before, after))) {
        let mut world = World::new::<first::Account>("sell", Bytes::new());
        world.state = stored();
        if world.run_crashing(before) != Ended::Crashed {
            continue;
        }
        world.deploy::<AccountV1>("sell");
        if world.run_crashing(after) == Ended::Crashed {
            assert_eq!(world.run(), Ended::Done, "crashes at {before} and {after}: {:#?}", world.entries());
        }
        assert_eq!(world.outcome, Some(Ok(String::new())), "crashes at {before} and {after}");
        assert_eq!(world.field("owner"), Some("\"bob\""));
        // Brought up to date, unless there was nothing left to change.
        let renewed = world.field("total").is_none();
        assert_eq!(renewed, world.field("balance") == Some("100"), "crashes at {before} and {after}");
    }
}

#[test]
fn a_flow_that_changes_nothing_leaves_stored_state_alone() {
    let mut world = World::new::<Account>("wait", Bytes::new());
    world.state = stored();
    assert_eq!(world.run(), Ended::Done);
    assert_eq!((world.outcome, world.state), (Some(Ok("100".to_owned())), stored()));
}

#[test]
fn new_fields_alone_are_no_reason_to_write() {
    let mut world = World::new::<Account>("rename", json("bob"));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.state, fields(&[("owner", "\"bob\"")]));
}
