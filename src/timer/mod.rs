//! A hashed timing wheel over slot numbers: one timer per flow, preallocated, one millisecond a bucket.
//!
//! The wheel is lazy in three ways. A deadline beyond its horizon is entered at the horizon, and whoever takes the expired
//! slot enters it again. A timer that is armed for earlier than needed is best left alone: the owner keeps the true
//! deadline, sees at expiry that it lies later, and arms again. So a deadline that only moves away costs nothing. And a timer whose
//! owner ends is left armed: the slot's next owner takes it over, or it expires for nobody.
//!
//! What is deliberately not here: the deadlines' meaning, a clock, and more than one timer a slot.
#![forbid(unsafe_code)]

mod wheel;
pub use wheel::{HORIZON_MS, Wheel};
