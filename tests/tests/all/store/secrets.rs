//! Who is let in: passwords, users, certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use weir::model::UpstreamTls;
use weir::store::redis::{Config, State, Topology};
use weir_tests::pki::Authority;
use weir_tests::redis::Redis;

use super::linked::{Linked, config};

const SOON: Duration = Duration::from_secs(6);
const SECRET: &str = "correct horse";

fn with_password(redis: &Redis, user: Option<&str>, file: &Path) -> Config {
    let mut config = config(&[redis.url()], Topology::Standalone);
    config.user = user.map(str::to_owned);
    config.password_file = Some(file.to_owned());
    config
}

#[test]
fn a_wrong_password_at_start_and_one_that_is_changed() -> Result<()> {
    let mut redis = Redis::start_with(&["--save", "", "--requirepass", SECRET])?;
    redis.speak_with(&["-a", SECRET]);
    let file = redis.folder().join("password");
    std::fs::write(&file, "wrong\n")?;
    let linked = Linked::start(with_password(&redis, None, &file));
    linked.wait(State::Down, "password refused", SOON);
    let tried = redis.info("total_connections_received")?;
    assert!(tried < 20, "{tried} connections: a wrong password is tried seldom");
    std::fs::write(&file, format!("{SECRET}\n"))?;
    linked.wait_well(SOON);

    redis.ask(&["CONFIG", "SET", "requirepass", "other"])?;
    redis.speak_with(&["-a", "other"]);
    // Old connections live on in Redis until somebody ends them.
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"])?;
    linked.wait(State::Down, "password refused", SOON);
    std::fs::write(&file, "other")?;
    linked.wait_well(SOON);
    let said = format!("{:?} {:?}", linked.status(), linked.link.config());
    assert!(!said.contains(SECRET), "{said}");
    std::fs::remove_file(&file)?;
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"])?;
    linked.wait(State::Down, "the password file", SOON);
    Ok(())
}

/// The user of the manual is enough; one who may not run scripts is told so, and heals without a
/// connection of its own.
#[test]
fn a_user_of_least_rights() -> Result<()> {
    let redis = Redis::start()?;
    let rights =
        ["~weir:*", "+@read", "+@write", "+@scripting", "+@connection", "+role", "+time", "+info", "+ping"];
    redis.ask(&[["ACL", "SETUSER", "weir", "on", ">geheim"].as_slice(), &rights].concat())?;
    let file = redis.folder().join("password");
    std::fs::write(&file, "geheim")?;
    let linked = Linked::start(with_password(&redis, Some("weir"), &file));
    linked.wait_well(SOON);
    redis.ask(&["ACL", "SETUSER", "weir", "-@scripting"])?;
    let fault = linked.push(linked.first_tag()).unwrap_err();
    assert!(!fault.may_have_run(), "{fault:?}");
    linked.wait(State::Down, "NOPERM", SOON);
    redis.ask(&["ACL", "SETUSER", "weir", "+@scripting"])?;
    linked.wait_well(SOON);
    assert_eq!(linked.status().masters[0].connects, 1);
    // A user that is gone takes its connections along.
    redis.ask(&["ACL", "DELUSER", "weir"])?;
    linked.wait(State::Down, "password refused", SOON);
    Ok(())
}

#[test]
fn certificates_are_verified() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (own, strange) = (Authority::new("own")?, Authority::new("strange")?);
    own.write(folder.path(), "ca")?;
    strange.write(folder.path(), "strange")?;
    own.issue(&["redis.test"])?.write(folder.path(), "server")?;
    let redis = Redis::start_tls(folder.path(), &["--tls-auth-clients", "no"])?;
    let tls = |authority: &str, name: &str| {
        let pem = std::fs::read(folder.path().join(format!("{authority}.crt"))).unwrap();
        let authorities: Vec<_> = pem_certificates(&pem);
        let mut config = config(&[redis.url()], Topology::Standalone);
        let server_name = Some(name.into());
        config.tls = Some(Arc::new(UpstreamTls {
            authorities: authorities.into(),
            identity: None,
            server_name,
            pins: Vec::new(),
        }));
        config
    };
    Linked::start(tls("ca", "redis.test")).wait_well(SOON);
    Linked::start(tls("strange", "redis.test")).wait(State::Down, "certificate", SOON);
    Linked::start(tls("ca", "other.test")).wait(State::Down, "certificate", SOON);
    Linked::standalone(redis.url()).wait(State::Down, "", SOON);
    Ok(())
}

fn pem_certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(pem).map(|one| one.unwrap().to_vec()).collect()
}
