//! abide-host
