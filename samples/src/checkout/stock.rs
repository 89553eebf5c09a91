//! What is in the warehouse: an object per item, so that two orders never reserve the same piece.

use std::collections::BTreeMap;

use abide::prelude::*;

/// One item, by its name.
#[object]
pub struct Stock {
    /// Price of a piece in cents.
    price: u64,
    /// Pieces that nobody has reserved.
    available: u32,
    /// Pieces that wait for being shipped, by order.
    reserved: BTreeMap<String, u32>,
}

/// Pieces that arrive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// How many.
    pub quantity: u32,
    /// New price of a piece in cents.
    pub price: u64,
}

/// What an order wants of an item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// The order.
    pub order: String,
    /// How many pieces, at least 1.
    pub quantity: u32,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Pieces that nobody has reserved.
    pub available: u32,
    /// Pieces that are reserved and not shipped.
    pub reserved: u32,
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StockError {
    /// Nobody reserves nothing.
    #[error("the quantity must be at least 1")]
    NoQuantity,
    /// There are fewer pieces.
    #[error("only {available} of `{item}` are left, {wanted} are wanted")]
    SoldOut {
        /// The item.
        item: String,
        /// Pieces that nobody has reserved.
        available: u32,
        /// Pieces asked for.
        wanted: u32,
    },
    /// More than can be counted.
    #[error("that is more than can be counted")]
    TooMuch,
}

impl HandlerError for StockError {
    fn code(&self) -> u16 {
        match self {
            Self::NoQuantity | Self::TooMuch => 400,
            Self::SoldOut { .. } => 409,
        }
    }
}

#[handlers]
impl Stock {
    /// Puts pieces on the shelf; answers how many are available.
    fn restock(&mut self, _cx: &mut Turn, delivery: Delivery) -> Result<u32, StockError> {
        self.available = self.available.checked_add(delivery.quantity).ok_or(StockError::TooMuch)?;
        self.price = delivery.price;
        Ok(self.available)
    }

    /// Sets pieces aside for an order; answers what they cost in cents.
    fn reserve(&mut self, cx: &mut Turn, wanted: Reservation) -> Result<u64, StockError> {
        let Reservation { order, quantity } = wanted;
        if quantity == 0 {
            return Err(StockError::NoQuantity);
        }
        let left = self.available.checked_sub(quantity).ok_or_else(|| StockError::SoldOut {
            item: cx.key().to_owned(),
            available: self.available,
            wanted: quantity,
        })?;
        let cost = self.price.checked_mul(u64::from(quantity)).ok_or(StockError::TooMuch)?;
        self.available = left;
        *self.reserved.entry(order).or_default() += quantity;
        Ok(cost)
    }

    /// Puts back what an order has reserved. Without effect when that is nothing, so it can be repeated.
    fn release(&mut self, _cx: &mut Turn, order: String) {
        self.available += self.reserved.remove(&order).unwrap_or_default();
    }

    /// The order's pieces have left the warehouse.
    fn ship(&mut self, _cx: &mut Turn, order: String) {
        self.reserved.remove(&order);
    }

    /// What is there.
    fn levels(&self, _cx: &Read) -> Levels {
        Levels { available: self.available, reserved: self.reserved.values().sum() }
    }
}
