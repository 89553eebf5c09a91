//! Properties of the machine as a whole.

mod arbitrary;
mod edges;
mod lives;
mod network;
mod repeat;
mod takeover;
mod total;
mod workflow;
