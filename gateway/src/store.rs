//! Values that outlive a request and that nodes share. No request waits for anything here: whoever
//! asks is a task of the control side, and has an answer of its own when there is none.

mod backend;

mod memory;

mod clock;

pub mod redis;

pub use backend::{Backend, Counted, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use memory::Memory;
