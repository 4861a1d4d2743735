//! The link to Redis on its bad days, with real servers: it notices, says why, waits for nobody, keeps
//! what waits bounded, and heals by itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails in a test ends it where it stands")]

mod backend;
mod cluster;
mod faults;
mod gateway;
mod linked;
mod secrets;
mod sentinel;
