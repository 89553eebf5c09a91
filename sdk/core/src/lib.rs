//! abide-sdk
