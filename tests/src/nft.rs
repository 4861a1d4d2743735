//! The comparison that a network team knows: an nftables meter of a rate per source in the ingress
//! hook of an interface.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::netns::run;
use crate::wire::End;

const TABLE: &str = "weir_meter";

/// What a conforming packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conforming {
    Pass,
    /// For capacity runs: the stack's cost is in nobody's figure.
    Drop,
}

/// A ruleset in place; removed in Drop.
pub struct Meter<'a> {
    end: End<'a>,
}

impl<'a> Meter<'a> {
    /// Limits each source address of `end`'s interface, with a dynamic set of `size` elements.
    pub fn install(end: End<'a>, size: u32, per_second: u32, conforming: Conforming) -> Result<Self> {
        let sink = match conforming {
            Conforming::Pass => "",
            Conforming::Drop => "drop",
        };
        let device = end.interface;
        let limit =
            format!("limit rate over {per_second}/second burst {} packets", u64::from(per_second) * 2);
        let ruleset = format!(
            "table netdev {TABLE} {{
               counter over {{ }}
               set four {{ type ipv4_addr; size {size}; flags dynamic,timeout; timeout 60s; }}
               set six {{ type ipv6_addr; size {size}; flags dynamic,timeout; timeout 60s; }}
               chain ingress {{
                 type filter hook ingress device {device} priority 0; policy accept;
                 ip protocol {{ tcp, udp }} update @four {{ ip saddr {limit} }} counter name over drop
                 meta protocol ip6 ip6 nexthdr {{ tcp, udp }} update @six {{ ip6 saddr and ffff:ffff:ffff:ffff:: {limit} }} counter name over drop
                 ip protocol {{ tcp, udp }} {sink}
                 ip6 nexthdr {{ tcp, udp }} {sink}
               }}
             }}"
        );
        end.netns.run(|| nft(&ruleset))?;
        Ok(Self { end })
    }

    /// Packets that were over the limit. Reads the whole set first, as nft does: fine for a small one.
    pub fn dropped(&self) -> Result<u64> {
        let command = ["nft", "-j", "list", "counter", "netdev", TABLE, "over"];
        let text = self.end.netns.run(|| run(&command))?;
        let told: serde_json::Value = serde_json::from_str(&text).context("reading nft's counter")?;
        let rows = told.get("nftables").and_then(serde_json::Value::as_array);
        let packets = rows.into_iter().flatten().find_map(|row| row.pointer("/counter/packets")?.as_u64());
        packets.with_context(|| format!("no counter in {text}"))
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end.netns.run(|| nft(&format!("delete table netdev {TABLE}"))) {
            eprintln!("left behind until its namespace goes: nftables table {TABLE}: {error:#}");
        }
    }
}

fn nft(ruleset: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting nft: is nftables installed?")?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(ruleset.as_bytes())?;
    }
    let output = nft.wait_with_output()?;
    if !output.status.success() {
        bail!("nft refused the ruleset: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
