//! The fleet on a simulated clock and network: Weir's own core on every node, and a twin of the store's
//! script, so that a thousand nodes and a thousand seeds take minutes and a seed gives the same run again.

mod cases;

mod random;

mod server;

mod sim;

mod twin;

pub use cases::{BURST, Case, Promise, RATE, cases};
pub use random::Random;
pub use server::{Connection, Server};
pub use sim::{Cut, Gaps, Played, Scenario, play};
pub use twin::Twin;
