//! A bank: every account is an object, money moves in exactly-once messages.

pub mod check;

use abide::prelude::*;

/// How long a payment takes to settle.
const SETTLING_TIME: Duration = Duration::from_millis(100);

/// An account in the smallest unit of its currency. Its balance never goes below zero.
#[object]
pub struct Account {
    balance: i64,
}

/// Why a bank says no. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BankError {
    /// Amounts are positive.
    #[error("the amount must be positive, not {0}")]
    NotPositive(i64),
    /// There is less in the account.
    #[error("the balance is {balance}, less than {amount}")]
    InsufficientFunds {
        /// What is there.
        balance: i64,
        /// What was asked for.
        amount: i64,
    },
    /// The account cannot hold that much.
    #[error("the balance would be too large")]
    TooMuch,
    /// Something else ended the handler.
    #[error(transparent)]
    Terminal(#[from] Terminal),
}

impl HandlerError for BankError {
    fn code(&self) -> u16 {
        match self {
            Self::NotPositive(_) | Self::TooMuch => 400,
            Self::InsufficientFunds { .. } => 409,
            Self::Terminal(terminal) => terminal.code,
        }
    }
}

/// Where to and how much.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// Key of the receiving account.
    pub to: String,
    /// How much.
    pub amount: i64,
}

/// Proof of a payment by the outside world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// How much was paid.
    pub amount: i64,
    /// The payment's number there.
    pub reference: String,
}

#[handlers]
impl Account {
    /// Puts money in; answers the new balance.
    fn deposit(&mut self, _cx: &mut Turn, amount: i64) -> Result<i64, BankError> {
        check_positive(amount)?;
        self.balance = self.balance.checked_add(amount).ok_or(BankError::TooMuch)?;
        Ok(self.balance)
    }

    /// The balance.
    fn balance(&self, _cx: &Read) -> i64 {
        self.balance
    }

    /// Moves money to another account; answers the new balance of this one. The deposit there is a message that commits
    /// with the withdrawal here: both happen, or neither.
    fn transfer(&mut self, cx: &mut Turn, transfer: Transfer) -> Result<i64, BankError> {
        self.withdraw(transfer.amount)?;
        cx.object::<Account>(&transfer.to).deposit(transfer.amount).send();
        Ok(self.balance)
    }

    /// Pays money out to the world: withdraw, order the payment, wait for it to settle, confirm. Every step runs once,
    /// whatever crashes in between. Cancelled before the payment is ordered, it puts the money back.
    async fn pay_out(&mut self, cx: &mut Flow, amount: i64) -> Result<Receipt, BankError> {
        self.withdraw(amount)?;
        // The withdrawal is journaled with the step: from here on the money is reserved.
        let number = cx.id();
        let reference = match cx.run("order payment", || async { Ok(format!("payment {number}")) }).await {
            Ok(reference) => reference,
            Err(refused) => {
                self.balance += amount;
                cx.run("take back the order", || async { Ok(()) }).await?;
                return Err(refused.into());
            }
        };
        // It settles whether or not someone gives up waiting for it.
        let _ = cx.sleep(SETTLING_TIME).await;
        cx.run("confirm payment", || async { Ok(()) }).await?;
        Ok(Receipt { amount, reference })
    }
}

impl Account {
    fn withdraw(&mut self, amount: i64) -> Result<(), BankError> {
        check_positive(amount)?;
        if amount > self.balance {
            return Err(BankError::InsufficientFunds { balance: self.balance, amount });
        }
        self.balance -= amount;
        Ok(())
    }
}

fn check_positive(amount: i64) -> Result<(), BankError> {
    if amount > 0 { Ok(()) } else { Err(BankError::NotPositive(amount)) }
}
