//! Every store passes the same cases.

use std::time::Duration;

use anyhow::Result;
use weir::store::redis::{Fault, Kind, Topology};
use weir::store::{Backend, Counted, Memory, VALUE_BYTES_MAX};
use weir_tests::redis::{Cluster, Redis};
use weir_tests::wait::wait_for;

use super::linked::{Linked, config};

const SOON: Duration = Duration::from_secs(8);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    check(&Backend::Memory(Memory::new(100)), &runtime);
    let small = Backend::Memory(Memory::new(2));
    let set = |key: &str, length| runtime.block_on(small.set(key, b"", length));
    set("a", None).unwrap();
    set("b", Some(Duration::from_millis(1))).unwrap();
    wait_for("an end", SOON, || runtime.block_on(small.get("b")).unwrap().is_none().then_some(())).unwrap();
    // What has ended makes room.
    set("c", None).unwrap();
    assert_eq!(set("d", None).unwrap_err().kind, Kind::Full);
    set("a", None).unwrap();
}

#[test]
fn redis() -> Result<()> {
    let redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    linked.wait_well(SOON);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    check(&Backend::Redis(linked.link.clone()), &runtime);
    Ok(())
}

#[test]
fn redis_cluster() -> Result<()> {
    let cluster = Cluster::start()?;
    let linked = Linked::start(config(&cluster.urls(), Topology::Cluster));
    linked.wait_well(SOON);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    check(&Backend::Redis(linked.link.clone()), &runtime);
    Ok(())
}

fn check(store: &Backend, runtime: &tokio::runtime::Runtime) {
    runtime.block_on(async {
        records(store).await.unwrap();
        counters(store).await.unwrap();
    });
    let short = Duration::from_millis(150);
    runtime.block_on(store.set("short", b"x", Some(short))).unwrap();
    let gone = || runtime.block_on(store.get("short")).unwrap().is_none().then_some(());
    wait_for("a record ends", SOON, gone).unwrap();
    let count = || runtime.block_on(store.count("period", 1, 1, short)).unwrap();
    assert!(count().added && !count().added);
    wait_for("a counter begins anew", SOON, || count().added.then_some(())).unwrap();
}

async fn records(store: &Backend) -> Result<(), Fault> {
    assert_eq!(store.get("k:1").await?, None);
    store.set("k:1", b"one", None).await?;
    store.set("k:1", b"\0binary\r\n", Some(HOUR)).await?;
    assert_eq!(store.get("k:1").await?.as_deref(), Some(b"\0binary\r\n".as_slice()));
    for n in 2..40 {
        store.set(&format!("k:{n}"), b"", None).await?;
    }
    for other in ["k*x", "kx", "other"] {
        store.set(other, b"", None).await?;
    }
    let mut found = store.scan("k:", 100).await?;
    found.sort();
    let mut expected: Vec<_> = (1..40).map(|n| format!("k:{n}")).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(store.scan("k*", 100).await?, ["k*x"]);
    assert_eq!(store.scan("k:", 7).await?.len(), 7);
    assert!(store.remove("k:1").await? && !store.remove("k:1").await?);
    let long = store.set("k:1", &vec![0; VALUE_BYTES_MAX + 1], None).await;
    assert_eq!(long.unwrap_err().kind, Kind::Refused);
    Ok(())
}

async fn counters(store: &Backend) -> Result<(), Fault> {
    let seen = |counted: Counted| (counted.added, counted.count);
    assert_eq!(seen(store.count("q", 0, 10, HOUR).await?), (false, 0));
    assert_eq!(seen(store.count("q", 4, 10, HOUR).await?), (true, 4));
    assert_eq!(seen(store.count("q", 6, 10, HOUR).await?), (true, 10));
    let full = store.count("q", 1, 10, HOUR).await?;
    assert_eq!(seen(full), (false, 10));
    assert!(full.left > HOUR - Duration::from_secs(30) && full.left <= HOUR, "{full:?}");
    // A name is a record's or a counter's.
    assert_eq!(store.get("q").await?, None);
    Ok(())
}
