//! Properties of the machine as a whole.

mod arbitrary;
mod network;
mod takeover;
mod total;
