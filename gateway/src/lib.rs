//! Weir: an API gateway whose per-client limit lives in the kernel. Modules stand in the order of
//! the arrows: a file may name anything below it, never above (`cargo xtask lint` holds this).
//! `telemetry` may be called from all but `store` and `model`.

#![deny(unsafe_code)]

pub mod cli;
pub mod run;

pub mod control;

pub mod config;

#[expect(unsafe_code, reason = "loads programs and passes file descriptors")]
pub mod kernel;

pub mod fleet;

pub mod proxy;

pub mod limit;

#[expect(unsafe_code, reason = "opens pinned maps and the charge program")]
pub mod plane;

pub mod store;

pub mod model;

pub mod telemetry;
