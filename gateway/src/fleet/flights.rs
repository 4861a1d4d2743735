//! Calls that are under way. They are polled by the task that made them, so none outlives it, and one
//! that is late holds up nobody else's.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::Wire;
use crate::store::redis::{Call, Fault, Link, Script, Tag, Value};

/// What a call was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Push,
    Learn,
    /// The order of that number.
    Order(u64),
}

/// One that has come down.
pub(super) struct Landed {
    pub tag: u16,
    pub purpose: Purpose,
    pub answer: Result<Wire, Fault>,
}

#[derive(Default)]
pub(super) struct Flights(Vec<Pin<Box<dyn Future<Output = Landed> + Send>>>);

/// A script, its keys behind `prefix:{s<tag>}:`, and its arguments.
pub(super) struct Called {
    pub tag: u16,
    pub purpose: Purpose,
    pub script: Arc<Script>,
    pub keys: Vec<String>,
    pub arguments: Vec<String>,
}

impl Flights {
    pub fn start(&mut self, link: &Link, called: Called) {
        let link = link.clone();
        let Called { tag, purpose, script, keys, arguments } = called;
        self.0.push(Box::pin(async move {
            let at = Tag::of(u64::from(tag), link.config().tags);
            let keys: Vec<_> = keys.iter().map(|key| link.key(at, key)).collect();
            let arguments: Vec<_> = arguments.into_iter().map(String::into_bytes).collect();
            let call = Call { script: &script, keys: &keys, arguments: &arguments };
            let answer = link.eval(at, call).await.map(wire);
            Landed { tag, purpose, answer }
        }));
    }

    /// Those that have come down; waits for the first. For ever where there is none.
    pub async fn landed(&mut self) -> Vec<Landed> {
        poll_fn(|context| {
            let mut landed = Vec::new();
            self.0.retain_mut(|flight| match flight.as_mut().poll(context) {
                Poll::Ready(down) => {
                    landed.push(down);
                    false
                }
                Poll::Pending => true,
            });
            if landed.is_empty() { Poll::Pending } else { Poll::Ready(landed) }
        })
        .await
    }
}

pub(super) fn wire(value: Value) -> Wire {
    match value {
        Value::Int(number) => Wire::Int(number),
        Value::BulkString(bytes) => Wire::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) => Wire::Text(text),
        Value::Array(values) => Wire::List(values.into_iter().map(wire).collect()),
        Value::Map(pairs) => {
            Wire::List(pairs.into_iter().flat_map(|(name, value)| [wire(name), wire(value)]).collect())
        }
        // Nothing that the scripts answer.
        _ => Wire::List(Vec::new()),
    }
}
