//! The way to the payment provider. The provider of this sample is a file that grows by a line for every charge and
//! refund: it stands outside of the node, so one can see there what was really done.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use abide::prelude::*;

/// Code of an error that says that nothing was charged.
pub(super) const DECLINED: u16 = 402;

/// Charges and refunds. Its handlers are private: only orders call them.
#[service]
pub struct Payments {
    book: PathBuf,
    limit: u64,
}

/// Money to take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Charge {
    /// The order it is for.
    pub order: String,
    /// Cents.
    pub amount: u64,
}

/// Proof of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The order it was for.
    pub order: String,
    /// Cents.
    pub amount: u64,
}

/// Why nothing was charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PaymentError {
    /// The provider said no.
    #[error("declined: {amount} cents are more than the limit of {limit}")]
    Declined {
        /// Cents asked for.
        amount: u64,
        /// Cents that would have been all right.
        limit: u64,
    },
    /// Something else ended the handler.
    #[error(transparent)]
    Terminal(#[from] Terminal),
}

impl HandlerError for PaymentError {
    fn code(&self) -> u16 {
        match self {
            Self::Declined { .. } => DECLINED,
            Self::Terminal(terminal) => terminal.code,
        }
    }
}

impl Payments {
    /// A provider that keeps its book in this file, and declines charges above `limit` cents.
    #[must_use]
    pub fn new(book: PathBuf, limit: u64) -> Self {
        Self { book, limit }
    }

    /// Adds a line to the book, unless it is there. Providers know a payment by a key that its sender chose, so that a
    /// request can be repeated when its answer was lost; here the line is the key.
    fn enter(&self, line: &str) -> io::Result<()> {
        let known = match fs::read_to_string(&self.book) {
            Ok(book) => book.lines().any(|known| known == line),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if known {
            return Ok(());
        }
        let mut book = OpenOptions::new().create(true).append(true).open(&self.book)?;
        book.write_all(format!("{line}\n").as_bytes())?;
        book.sync_data()
    }
}

#[handlers]
impl Payments {
    /// Takes money. Its result outlives a long downtime: an order that is undone has to find it.
    #[handler(private, retention = "30d")]
    async fn charge(&self, cx: &mut Flow, charge: Charge) -> Result<Receipt, PaymentError> {
        let Charge { order, amount } = charge;
        if amount > self.limit {
            return Err(PaymentError::Declined { amount, limit: self.limit });
        }
        // An I/O error is retried; the receipt is kept.
        let entered = cx.run("charge", || async { Ok(self.enter(&format!("charge {order} {amount}"))?) });
        entered.await?;
        Ok(Receipt { order, amount })
    }

    /// Gives money back.
    #[handler(private)]
    async fn refund(&self, cx: &mut Flow, receipt: Receipt) -> Result<(), Terminal> {
        let Receipt { order, amount } = receipt;
        cx.run("refund", || async { Ok(self.enter(&format!("refund {order} {amount}"))?) }).await
    }
}
