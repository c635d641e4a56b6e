//! Ports over memory.
