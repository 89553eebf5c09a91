//! abide-macros
