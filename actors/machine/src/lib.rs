//! abide-machine
