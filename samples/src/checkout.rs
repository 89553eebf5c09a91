//! A checkout: a saga. Reserve every item, charge, ship; when one of these fails for good, or the order is cancelled, what
//! was done is undone in reverse.

mod order;
mod payments;
mod stock;

pub use order::{Cart, CheckoutError, Confirmation, Line, Order, Status};
pub use payments::{Charge, PaymentError, Payments, Receipt};
pub use stock::{Delivery, Levels, Reservation, Stock, StockError};
