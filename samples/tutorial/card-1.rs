use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use abide::prelude::*;

/// The card terminal. It stands outside: what it takes is a line in a file, which no crash undoes.
#[service]
pub struct Card {
    file: PathBuf,
}

impl Card {
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// Takes money. A receipt that is known is not charged again.
    fn take(&self, receipt: &str, cents: u64) -> io::Result<()> {
        if fs::read_to_string(&self.file).unwrap_or_default().contains(receipt) {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.file)?;
        writeln!(file, "{receipt} {cents}")
    }
}

#[handlers]
impl Card {
    /// Takes money; answers the number of the receipt.
    #[handler(private)]
    async fn charge(&self, cx: &mut Flow, cents: u64) -> Result<String, Terminal> {
        cx.run("charge", || async {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            let receipt = format!("receipt-{}", now.as_nanos());
            self.take(&receipt, cents)?;
            Ok(receipt)
        })
        .await
    }
}
