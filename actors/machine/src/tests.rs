//! Properties of the machine as a whole.

mod arbitrary;
mod network;
mod repeat;
mod takeover;
mod total;
