//! Requests that wait while every address of their API is full: so many, for so long. Who leaves an
//! address wakes one of them; where nobody waits that is one load.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::model::Admit;
use crate::proxy::respond::Fault;

#[derive(Default)]
pub(super) struct Queue {
    waiting: AtomicU32,
    left: Notify,
}

/// One of those who wait.
struct Place<'a>(&'a Queue);

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    pub fn one_left(&self) {
        if !self.is_empty() {
            self.left.notify_one();
        }
    }

    /// Waits until `choose` finds somebody, behind those who wait already.
    pub async fn wait<T>(&self, admit: &Admit, mut choose: impl FnMut() -> Option<T>) -> Result<T, Fault> {
        let one_more = |waiting: u32| (waiting < admit.queue).then_some(waiting + 1);
        let others = self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        let others = others.map_err(|_| Fault::QueueFull)?;
        let _place = Place(self);
        let chosen = timeout(admit.wait, async {
            let mut is_behind = others > 0;
            loop {
                let mut left = pin!(self.left.notified());
                // Listen before looking: who leaves between the two is heard.
                left.as_mut().enable();
                if let Some(chosen) = (!is_behind).then(&mut choose).flatten() {
                    return chosen;
                }
                left.await;
                is_behind = false;
            }
        });
        chosen.await.map_err(|_| Fault::QueueTimeout)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
