//! abide-partition
