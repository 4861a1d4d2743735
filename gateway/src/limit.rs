//! Which limits apply to a request, the strictest answer, and when refusals become a shed. No HTTP types.

mod config;

mod client;

mod rows;

mod denied;

mod shed;

pub use client::ClientLimit;
pub use config::{Aggregate, Config, Override, Shed, TABLE_ENTRIES};
pub use denied::Denied;
pub use rows::{Counted, Row, Rows, Who};
pub use shed::{Offender, Shedder};
