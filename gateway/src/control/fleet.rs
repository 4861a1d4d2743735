//! What the fleet decides on clients, done on this node; and what this node decides, told to the fleet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::message::{FleetNodeView, FleetView, News as Told};
use super::{Parts, bans};
use crate::fleet::{BanWord, News, NodeCharge, Order, What};
use crate::model::ClientKey;
use crate::plane::{BanReason, now_ns};

/// For the store, when somebody asks of a client.
const PATIENCE: Duration = Duration::from_millis(500);

/// Bans and lifts as other nodes say, and bans flagrant clients for all.
pub async fn follow_fleet(parts: Arc<Parts>, mut news: mpsc::Receiver<News>) {
    while let Some(news) = news.recv().await {
        match news {
            News::Ban(word) => take(&parts, &word),
            News::Flagrant(client) => ban_flagrant(&parts, client),
            News::Lost => tell_again(&parts),
        }
    }
}

/// What all nodes know of a client. Asked of the store, and not for long.
pub(super) async fn view(parts: &Parts, client: ClientKey) -> Option<FleetView> {
    let fleet = parts.fleet.as_ref()?;
    let ledger = parts.shared.rows.ledger.as_ref();
    let share = ledger.and_then(|ledger| ledger.clients.shares().of(client.0, now_ns()));
    let share = share.map(|limit| 65_536e9 / limit.interval.max(1) as f64);
    let (charges, fault) = match timeout(PATIENCE, fleet.charged_by(client)).await {
        Ok(Ok(charges)) => (charges, None),
        Ok(Err(fault)) => (Vec::new(), Some(fault.to_string())),
        Err(_) => (Vec::new(), Some(format!("no answer within {PATIENCE:?}"))),
    };
    let node = |charge: NodeCharge| FleetNodeView {
        here: charge.node == fleet.node(),
        node: charge.node,
        offered: charge.offered,
        admitted: charge.admitted,
    };
    Some(FleetView { share, nodes: charges.into_iter().map(node).collect(), fault })
}

/// Tells all nodes; nothing to do without a fleet.
pub(super) fn order(parts: &Parts, order: Order) {
    let Some(fleet) = &parts.fleet else { return };
    if !fleet.order(order) {
        tracing::error!(client = %order.client, "too much waits for the store: other nodes do not hear of this");
    }
}

fn take(parts: &Parts, word: &BanWord) {
    let (client, now_ns) = (word.client, now_ns());
    match word.what {
        What::Ban { left, .. } if left.is_some_and(|left| left.is_zero()) => {}
        What::Ban { left, reason, level } => {
            if let Some(why) = bans::protected(parts, client.address()) {
                tracing::warn!(%client, why, "the fleet's ban is not for this node");
                return;
            }
            let held = parts.shared.bans.find(client, now_ns);
            let is_news = held.is_none();
            match parts.shared.bans.add(client, reason, level, left, now_ns) {
                Ok(()) if is_news => bans::tell(parts, banned(client, reason, level, left)),
                Ok(()) => {}
                Err(error) => tracing::warn!(%client, %error, "the fleet's ban does not hold here"),
            }
        }
        What::Unban { grace } => {
            if let Err(error) = bans::lift(parts, client, grace) {
                tracing::warn!(%client, error, "the fleet lifted a ban, and it holds here");
            }
        }
    }
}

/// Who is offered many times its limit is banned on every node, also where it has not been.
fn ban_flagrant(parts: &Parts, client: ClientKey) {
    let now_ns = now_ns();
    if let Some(why) = bans::protected(parts, client.address()) {
        tracing::debug!(%client, why, "flagrant, and never banned");
        return;
    }
    let Some(offender) = parts.shared.shedder.flagrant(client, now_ns) else { return };
    let (level, length) = (offender.level, Some(offender.length));
    match parts.shared.bans.add(client, BanReason::Shed, level, length, now_ns) {
        Ok(()) => {
            bans::tell(parts, banned(client, BanReason::Shed, level, length));
            order(parts, Order::ban(client, length, BanReason::Shed, level));
        }
        Err(error) => tracing::warn!(%client, %error, "a flagrant client could not be banned"),
    }
}

/// The store began anew: an operator's bans are told once more, by each node that has them.
fn tell_again(parts: &Parts) {
    let now_ns = now_ns();
    let rows = match parts.shared.bans.list(now_ns) {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(%error, "the store lost its bans, and those of this node cannot be read");
            return;
        }
    };
    let mut n = 0;
    for row in rows.iter().filter(|row| row.reason == BanReason::Operator) {
        let left = row.until_ns.map(|until_ns| Duration::from_nanos(until_ns.saturating_sub(now_ns)));
        let again = Order::ban(row.key, left, row.reason, row.level);
        order(parts, Order { again: true, ..again });
        n += 1;
    }
    tracing::info!(bans = n, "the store has lost its bans: those of operators are told again");
}

fn banned(client: ClientKey, reason: BanReason, level: u32, left: Option<Duration>) -> Told {
    let reason = match reason {
        BanReason::Operator => "operator",
        BanReason::Shed => "shed",
    };
    let seconds = left.map(|left| left.as_secs());
    Told::Banned { client: client.to_string(), reason: reason.to_owned(), level, seconds }
}
