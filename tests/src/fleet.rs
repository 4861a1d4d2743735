//! The fleet on a simulated clock and network: Weir's own core on every node, and a twin of the store's
//! script, so that a thousand nodes and a thousand seeds take minutes and a seed gives the same run again.

mod cases;

mod nodes;

mod random;

mod sim;

mod twin;

mod witness;

pub use cases::{BURST, Case, Promise, RATE, cases};
pub use nodes::{Client, Nodes, Outcomes, Request, send, send_all};
pub use random::Random;
pub use sim::{Cut, Gaps, Played, Scenario, play};
pub use twin::Twin;
pub use witness::Witness;
