//! Which limits apply to a request, the strictest answer, and when refusals become a shed. No HTTP types.

mod tally;

mod shares;

mod account;

mod config;

mod client;

mod row_words;

mod rows;

mod denied;

mod shed;

pub use account::{Account, Charged, Ledger};
pub use client::{ClientLimit, Held};
pub use config::{Aggregate, Config, Override, Shed, TABLE_ENTRIES};
pub use denied::Denied;
pub use row_words::{RowKeys, RowWords};
pub use rows::{Counted, Row, Rows, Who};
pub use shares::Shares;
pub use shed::{Offender, Shedder};
pub use tally::{Note, Tally};
