extern crate abide_sdk as abide;

use abide::prelude::*;

#[object]
struct Account {
    balance: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct BankError;

#[handlers]
impl Account {
    fn deposit(&mut self, _cx: &mut Turn, amount: i64) -> Result<i64, BankError> {
        self.balance += amount;
        Ok(self.balance)
    }
}

fn main() {}
