use abide::prelude::*;

/// What came in today, and on each day before.
#[object]
pub struct Till {
    today: u64,
    days: Vec<u64>,
}

#[handlers]
impl Till {
    /// Only other handlers may call it.
    #[handler(private)]
    fn take(&mut self, _cx: &mut Turn, cents: u64) {
        self.today += cents;
    }

    /// The day is over.
    fn close_day(&mut self, _cx: &mut Turn) {
        self.days.push(std::mem::take(&mut self.today));
    }

    /// What came in on each day.
    fn days(&self, _cx: &Read) -> Vec<u64> {
        self.days.clone()
    }
}
