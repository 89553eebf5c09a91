//! The second build of the application of `e2e-build-1`: another struct, other flows, and the mistake is mended. With
//! `E2E_KEEP` it is a third build, which has kept the flows of the first.

use std::process::ExitCode;

use abide::prelude::*;
use abide::service::Fields;
use e2e::ledger;

/// An order. `total` has a new name, `audited` is gone, `currency` is new, and the price is in cents.
#[object(version = 2, migrate = upgrade)]
struct Order {
    #[serde(alias = "total")]
    balance: i64,
    owner: String,
    currency: Option<String>,
    cents: u32,
}

fn upgrade(fields: &mut Fields) {
    if let Some(price) = fields.remove("price") {
        let price: u32 = serde_json::from_slice(&price).unwrap_or_default();
        fields.insert("cents".to_owned(), (price * 100).to_string().into());
    }
}

/// All that is stored.
#[derive(Serialize, Deserialize)]
struct Looks {
    balance: i64,
    owner: String,
    currency: Option<String>,
    cents: u32,
}

#[handlers]
impl Order {
    fn look(&self, _cx: &Read) -> Looks {
        let Self { balance, owner, currency, cents } = self;
        Looks { balance: *balance, owner: owner.clone(), currency: currency.clone(), cents: *cents }
    }

    fn pay(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
        self.balance -= amount;
        self.balance
    }

    async fn ship(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, parcel) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("ask the new warehouse", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        let parcel = parcel.await?;
        Ok(format!("new code, {parcel}"))
    }

    async fn settle(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, payment) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("ask the bank", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        let payment = payment.await?;
        Ok(format!("new code, {payment}"))
    }
}

#[handlers(version = 1)]
impl Order {
    #[handler(name = "ship")]
    async fn ship_v1(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, parcel) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("ask the old warehouse", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        let parcel = parcel.await?;
        Ok(format!("old code, {parcel}"))
    }
}

/// Delivers messages.
#[service(version = 2)]
struct Mail;

#[handlers]
impl Mail {
    fn deliver(&self, _cx: &mut Turn, letter: String) -> Result<(), Terminal> {
        ledger::write(&format!("mail {letter}")).map_err(|error| Terminal::new(500, error.to_string()))
    }
}

fn main() -> ExitCode {
    let server = abide::Server::builder().bind::<Order>().bind::<Mail>();
    let kept = std::env::var_os("E2E_KEEP").is_some();
    if kept { server.keep::<OrderV1>() } else { server }.serve()
}
