//! to come
#[derive(Debug, clap::Args)]
pub struct Arguments {}
pub fn run(_: &Arguments, _: &super::report::Folder) -> anyhow::Result<()> {
    Ok(())
}
