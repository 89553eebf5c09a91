extern crate abide_sdk as abide;

use abide::prelude::*;

#[object(retention = "a week")]
struct One {
    balance: i64,
}

#[object(rate = "100 a second")]
struct Two {
    balance: i64,
}

#[object(key_rate = "0/s")]
struct Three {
    balance: i64,
}

#[object(concurrency = 0)]
struct Four {
    balance: i64,
}

#[object(version = "2 beta")]
struct Five {
    balance: i64,
}

#[service(state_ttl = "1d")]
struct Six;

#[workflow(state_ttl = "1d")]
struct Seven {
    state: String,
}

#[object(retention = "1d", retention = "2d")]
struct Eight {
    balance: i64,
}

#[object]
struct Nine {
    balance: i64,
}

#[handlers]
impl Nine {
    #[handler(concurrency = 3)]
    fn balance(&self, _cx: &Read) -> i64 {
        self.balance
    }

    #[handler(state_ttl = "3d")]
    fn deposit(&mut self, _cx: &mut Turn) {
        self.balance += 1;
    }
}

#[object(priority = "urgent")]
struct Ten {
    balance: i64,
}

fn main() {}
