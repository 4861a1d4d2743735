//! `cargo xtask demo`: a good client, an attacker and a server, first without and then with Weir.

fn main() -> anyhow::Result<()> {
    weir_tests::demo::main()
}
