//! Which limits apply to a request, the strictest answer, and when refusals become a shed. No HTTP types.

mod config;

pub use config::{Config, Shed};
