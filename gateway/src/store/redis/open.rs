//! A connection: TCP, TLS, user and password. The password comes from its file each time, so that one
//! that was changed is taken, and stays nowhere in memory that outlives this.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Address, Config, Fault, Kind};
use crate::model::UpstreamTls;

/// Bytes of a password's file.
const PASSWORD_BYTES_MAX: u64 = 4_096;
/// Requests that the crate takes before it makes callers wait; ours are bounded before.
const BUFFER: usize = 64;

/// Moves the bytes of a connection; it ends when that does.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Opened {
    pub connection: MultiplexedConnection,
    pub driver: Driver,
}

/// Whom a connection is for: each has credentials of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Master,
    Sentinel,
}

/// What every connection of a store needs.
pub(super) struct Dialer {
    pub config: Config,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
}

impl Dialer {
    pub fn new(config: Config) -> Result<Self, String> {
        let tls = config.tls.as_deref().map(tls).transpose()?;
        Ok(Self { config, tls })
    }

    /// Whoever calls bounds its time.
    pub async fn open(&self, address: &Address, to: To) -> Result<Opened, Fault> {
        let info = self.credentials(to)?;
        let stream = self.connect(address).await?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(BUFFER);
        let Some((config, name)) = &self.tls else {
            let (connection, driver) =
                MultiplexedConnection::new_with_config(&info, stream, settings).await?;
            return Ok(Opened { connection, driver: Box::pin(driver) });
        };
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(address.host.clone())
                .map_err(|_| Fault::new(Kind::Denied, "its name can stand in no certificate"))?,
        };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| {
            let fault = Fault::of_io(&error);
            Fault::new(fault.kind, format!("TLS: {fault}"))
        })?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, settings).await?;
        Ok(Opened { connection, driver: Box::pin(driver) })
    }

    async fn connect(&self, address: &Address) -> Result<TcpStream, Fault> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await;
        let stream = stream.map_err(|error| Fault::of_io(&error))?;
        stream.set_nodelay(true).map_err(|error| Fault::of_io(&error))?;
        let socket = SockRef::from(&stream);
        let give_up = self.config.timeouts.give_up;
        let keepalive = TcpKeepalive::new().with_time(give_up.max(std::time::Duration::from_secs(1)));
        let set =
            socket.set_tcp_keepalive(&keepalive).and_then(|()| socket.set_tcp_user_timeout(Some(give_up)));
        set.map_err(|error| Fault::of_io(&error))?;
        Ok(stream)
    }

    fn credentials(&self, to: To) -> Result<RedisConnectionInfo, Fault> {
        let config = &self.config;
        let (user, file) = match to {
            To::Master => (&config.user, &config.password_file),
            To::Sentinel => (&config.sentinel_user, &config.sentinel_password_file),
        };
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if to == To::Master {
            info = info.set_db(config.database.into());
        }
        if let Some(user) = user {
            info = info.set_username(user);
        }
        if let Some(file) = file {
            info = info.set_password(read_password(file)?);
        }
        Ok(info)
    }

    /// What the password's file holds now, as a mark that says whether it changed and no more.
    pub fn password_mark(&self, to: To) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let file = match to {
            To::Master => &self.config.password_file,
            To::Sentinel => &self.config.sentinel_password_file,
        };
        let mut hasher = DefaultHasher::new();
        file.as_deref().map(|file| read_password(file).ok()).hash(&mut hasher);
        hasher.finish()
    }
}

/// The first line.
fn read_password(file: &Path) -> Result<String, Fault> {
    let denied =
        |why: String| Fault::new(Kind::Denied, format!("the password file {}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| denied(error.to_string()))?.len();
    if length > PASSWORD_BYTES_MAX {
        return Err(denied(format!("longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| denied(error.to_string()))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        Err(denied("its first line is empty".to_owned()))
    } else {
        Ok(password.to_owned())
    }
}

/// Whether TLS can be had with it; why not.
pub fn check_tls(wanted: &UpstreamTls) -> Result<(), String> {
    tls(wanted).map(drop)
}

fn tls(wanted: &UpstreamTls) -> Result<(Arc<ClientConfig>, Option<ServerName<'static>>), String> {
    let mut roots = RootCertStore::empty();
    let authorities = wanted.authorities.iter().map(|one| CertificateDer::from(one.clone()));
    let (n_added, _) = roots.add_parsable_certificates(authorities);
    if n_added == 0 {
        return Err("no certificate of an authority".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &wanted.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::try_from(identity.key.clone()).map_err(str::to_owned)?;
            let chain = identity.chain.iter().map(|one| CertificateDer::from(one.clone())).collect();
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    let name = wanted.server_name.as_deref().map(|name| ServerName::try_from(name.to_owned()));
    let name = name.transpose().map_err(|error| error.to_string())?;
    Ok((Arc::new(config), name))
}
