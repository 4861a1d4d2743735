//! `cargo xtask bench`: what Weir costs, beside what others cost, in one run on one machine.

fn main() -> anyhow::Result<()> {
    weir_tests::bench::main()
}
