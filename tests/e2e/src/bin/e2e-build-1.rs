//! The first build of an application, with the mistake that the second one mends.

use std::process::ExitCode;

use abide::prelude::*;
use e2e::ledger;

/// An order, as it was stored at first.
#[object(version = 1)]
struct Order {
    total: i64,
    owner: String,
    audited: bool,
    price: u32,
}

#[handlers]
impl Order {
    fn open(&mut self, _cx: &mut Turn, owner: String) {
        (self.total, self.owner, self.audited, self.price) = (100, owner, true, 7);
    }

    fn audited(&self, _cx: &Read) -> bool {
        self.audited
    }

    /// Waits for a parcel. The second build does something else before.
    async fn ship(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, parcel) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("ask the old warehouse", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        let parcel = parcel.await?;
        Ok(format!("old code, {parcel}"))
    }

    /// Waits for a payment. The second build does the same up to there.
    async fn settle(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, payment) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("ask the bank", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        let payment = payment.await?;
        Ok(format!("old code, {payment}"))
    }
}

/// Delivers messages.
#[service(version = 1)]
struct Mail;

#[handlers]
impl Mail {
    fn deliver(&self, _cx: &mut Turn, letter: String) -> Result<(), Terminal> {
        Err(Terminal::new(500, format!("no stamp on `{letter}`")))
    }
}

fn main() -> ExitCode {
    abide::Server::builder().bind::<Order>().bind::<Mail>().serve()
}
