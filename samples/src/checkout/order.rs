//! The saga.

use abide::Sent;
use abide::prelude::*;

use super::payments::{Charge, DECLINED, Payments, Receipt};
use super::stock::{Reservation, Stock, StockError};

/// How long the warehouse has for packing before the order is undone.
const PACKING_TIME: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// An order, by its number.
#[object]
pub struct Order {
    status: Status,
}

/// How far an order is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing has happened.
    #[default]
    New,
    /// Paid. The warehouse completes `ticket` with a tracking number when the parcel is on its way, or rejects it.
    Packing {
        /// Id of an awakeable.
        ticket: String,
    },
    /// On its way.
    Shipped {
        /// Tracking number of the parcel.
        tracking: String,
    },
    /// Everything that was done for it has been or is being undone.
    Undone {
        /// Why.
        reason: String,
    },
}

/// What a customer wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cart {
    /// Items, in the order in which they are reserved.
    pub lines: Vec<Line>,
}

/// Some pieces of one item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The item.
    pub item: String,
    /// How many.
    pub quantity: u32,
}

/// The answer to a customer whose order went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Cents charged.
    pub charged: u64,
    /// Tracking number of the parcel.
    pub tracking: String,
}

/// Why an order did not go through. Nothing of it is left then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CheckoutError {
    /// There is nothing in the cart.
    #[error("the cart is empty")]
    EmptyCart,
    /// The number was used.
    #[error("this order was placed before")]
    PlacedBefore,
    /// An item cannot be had.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// The warehouse took too long.
    #[error("the order could not be packed in time")]
    NotPacked,
    /// Something else ended the handler, for example a cancellation, or that the payment was declined (402).
    #[error(transparent)]
    Terminal(#[from] Terminal),
}

impl HandlerError for CheckoutError {
    fn code(&self) -> u16 {
        match self {
            Self::EmptyCart => 400,
            Self::PlacedBefore => 409,
            Self::Stock(error) => error.code(),
            Self::NotPacked => 504,
            Self::Terminal(terminal) => terminal.code,
        }
    }
}

#[handlers]
impl Order {
    /// Reserves, charges and ships; answers when the parcel is on its way. When it fails or is cancelled, it answers
    /// after everything has been undone.
    async fn place(&mut self, cx: &mut Flow, cart: Cart) -> Result<Confirmation, CheckoutError> {
        if self.status != Status::New {
            return Err(CheckoutError::PlacedBefore);
        }
        if cart.lines.is_empty() {
            return Err(CheckoutError::EmptyCart);
        }
        let mut done = Vec::new();
        let mut result = reserve(cx, &cart, &mut done).await;
        if let Ok(cost) = result {
            result = charge(cx, cost, &mut done).await;
        }
        let result = match result {
            Ok(charged) => {
                let (ticket, packed) = cx.awakeable::<String>();
                self.status = Status::Packing { ticket: ticket.to_string() };
                match cx.timeout(PACKING_TIME, packed).await {
                    Ok(tracking) => tracking.map(|tracking| Confirmation { charged, tracking }).map_err(Into::into),
                    Err(_elapsed) => Err(CheckoutError::NotPacked),
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(confirmation) => {
                self.status = Status::Shipped { tracking: confirmation.tracking.clone() };
                for line in &cart.lines {
                    cx.object::<Stock>(&line.item).ship(cx.key()).send();
                }
                Ok(confirmation)
            }
            Err(error) => {
                // Journaled together with the first thing that is undone; there is one, as no cart is empty.
                self.status = Status::Undone { reason: error.to_string() };
                for step in done.into_iter().rev() {
                    step.undo(cx).await?;
                }
                Err(error)
            }
        }
    }

    /// How far it is.
    fn status(&self, _cx: &Read) -> Status {
        self.status.clone()
    }
}

/// Reserves all items; answers what they cost together.
async fn reserve(cx: &Flow, cart: &Cart, done: &mut Vec<Done>) -> Result<u64, CheckoutError> {
    let mut total = 0u64;
    for Line { item, quantity } in &cart.lines {
        // Entered before the call: a cancellation leaves open whether the item got the message.
        done.push(Done::Reserved { item: item.clone() });
        let wanted = Reservation { order: cx.key(), quantity: *quantity };
        let cost = cx.object::<Stock>(item).reserve(wanted).await.map_err(|error| match error {
            CallError::Domain(refused) => CheckoutError::Stock(refused),
            other => CheckoutError::Terminal(other.into()),
        })?;
        total = total.checked_add(cost).ok_or(StockError::TooMuch)?;
    }
    Ok(total)
}

/// Takes the money; answers how much.
async fn charge(cx: &Flow, amount: u64, done: &mut Vec<Done>) -> Result<u64, CheckoutError> {
    let charge = Charge { order: cx.key(), amount };
    // Sent, not called: a cancelled call cancels its callee, and it would stay open whether the money was taken.
    let payment = cx.service::<Payments>().charge(charge).idempotency_key(cx.key()).send();
    done.push(Done::Charged { payment: payment.clone() });
    let receipt: Receipt = cx.attach(payment.invocation_id().await?).await?;
    let amount = receipt.amount;
    // The payment's own result is forgotten before a slow warehouse gives up.
    done.pop();
    done.push(Done::Paid { receipt });
    Ok(amount)
}

/// Something that was begun and can be undone.
enum Done {
    Reserved { item: String },
    Charged { payment: Sent },
    Paid { receipt: Receipt },
}

impl Done {
    /// Undoes it. Undoing is not optional: a further cancellation does not stop it.
    async fn undo(self, cx: &Flow) -> Result<(), Terminal> {
        loop {
            let undone = match &self {
                Self::Reserved { item } => cx.object::<Stock>(item).release(cx.key()).await.or_terminal(),
                Self::Charged { payment } => refund(cx, payment).await,
                Self::Paid { receipt } => cx.service::<Payments>().refund(receipt.clone()).await.or_terminal(),
            };
            match undone {
                Err(terminal) if terminal.is_cancelled() => {}
                undone => return undone,
            }
        }
    }
}

/// Gives back what the payment took, once it is known what that is.
async fn refund(cx: &Flow, payment: &Sent) -> Result<(), Terminal> {
    let payment = payment.invocation_id().await?;
    match cx.attach::<Receipt>(payment).await {
        Ok(receipt) => cx.service::<Payments>().refund(receipt).await.or_terminal(),
        Err(declined) if declined.code == DECLINED => Ok(()),
        // Not known to have taken nothing: whoever looks at the order has to see it.
        Err(terminal) => Err(terminal),
    }
}
