//! The demo's lines: on a terminal the last one is drawn again in place, with a sparkline of what went
//! before; elsewhere each look is a line.

use std::io::{IsTerminal as _, Write as _};

use super::Look;

pub struct Screen {
    redraws: bool,
    history: Vec<f64>,
}

const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Looks that the sparkline shows.
const WIDTH: usize = 30;

impl Screen {
    pub fn new() -> Self {
        Self { redraws: std::io::stdout().is_terminal(), history: Vec::new() }
    }

    pub fn title(&mut self, title: &str) {
        self.history.clear();
        println!("\n\n{title}");
        println!(
            "  {:>5}  {:<8} {:>10} {:>10} {:>10} {:>9} {:>14}",
            "s", "phase", "good/s", "p50 ms", "p99 ms", "failures", "XDP drops/s"
        );
    }

    pub fn look(&mut self, look: &Look) {
        self.history.push(look.good_per_second);
        let phase = if look.attacked { "ATTACK" } else { "quiet" };
        let dropped =
            look.dropped_per_second.map_or_else(|| "-".to_owned(), |dropped| format!("{dropped:.0}"));
        let line = format!(
            "  {:>5.1}  {phase:<8} {:>10.0} {:>10.2} {:>10.2} {:>9} {dropped:>14}",
            look.at_seconds, look.good_per_second, look.p50_ms, look.p99_ms, look.failures
        );
        if self.redraws {
            print!("\r\x1b[2K{line}  {}", self.sparkline());
            // A terminal that is gone shows nothing; the figures are kept all the same.
            std::io::stdout().flush().unwrap_or(());
        } else {
            println!("{line}");
        }
    }

    fn sparkline(&self) -> String {
        let highest = self.history.iter().copied().fold(1.0, f64::max);
        let recent = self.history.iter().rev().take(WIDTH).rev();
        recent
            .map(|value| {
                let step = (value / highest * (SPARKS.len() - 1) as f64).round();
                SPARKS.get(step as usize).copied().unwrap_or(' ')
            })
            .collect()
    }
}
