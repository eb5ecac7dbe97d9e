//! The way to Redis: connects when something is asked, and again when a connection broke.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisError, RedisFuture, RedisResult, ServerErrorKind, TlsMode, Value,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::options::RedisOptions;
use crate::script::Script;
use crate::url::Kind;

/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Copy)]
enum Question<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
}

/// A connection of either kind; clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Direct(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Direct(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Direct(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Direct(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

enum Target {
    Single(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

/// The connection that is used now; `number` counts them.
struct Current {
    target: Target,
    connection: Option<Connection>,
    number: u64,
}

/// One connection, made again when it breaks.
pub(crate) struct Link {
    current: Mutex<Current>,
    timeout: Duration,
}

impl Link {
    /// Connects to nothing yet.
    pub(crate) fn new(options: &RedisOptions) -> RedisResult<Self> {
        let current = Mutex::new(Current { target: target(options)?, connection: None, number: 0 });
        Ok(Self { current, timeout: options.timeout })
    }

    /// Asks once; whether the question may have reached the server is told by [`Failure`].
    async fn ask(&self, question: Question<'_>) -> Result<Value, Failure> {
        let (connection, number) = self.connection().await.map_err(Failure::Unsent)?;
        self.ask_on(connection, number, question).await
    }

    async fn ask_on(&self, mut connection: Connection, number: u64, question: Question<'_>) -> Result<Value, Failure> {
        let answer = match question {
            Question::Command(command) => connection.req_packed_command(command).await,
            Question::Pipeline(pipeline) => pipeline.query_async(&mut connection).await,
        };
        // An error that stands in for an answer is one, too.
        match answer.and_then(Value::extract_error) {
            Ok(value) => Ok(value),
            Err(error) => {
                if is_broken(&error) {
                    self.give_up(number).await;
                }
                Err(if is_refusal(&error) { Failure::Unsent(error) } else { Failure::Sent(error) })
            }
        }
    }

    /// Asks until there is an answer, for as long as an answer may take; only what may be asked twice.
    async fn insist(&self, question: Question<'_>) -> Result<Value, Failure> {
        let until = Instant::now() + self.timeout;
        let mut pause = PAUSE_MIN;
        let mut sent = false;
        loop {
            let error = match self.ask(question).await {
                Ok(value) => return Ok(value),
                Err(Failure::Sent(error)) => {
                    sent = true;
                    error
                }
                Err(Failure::Unsent(error)) => error,
            };
            if !may_pass(&error) || Instant::now() + pause >= until {
                return Err(if sent { Failure::Sent(error) } else { Failure::Unsent(error) });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A command that only reads, or that may be carried out twice.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let value = self.insist(Question::Command(command)).await?;
        T::from_redis_value(value).map_err(|error| Failure::Sent(error.into()))
    }

    /// The same for several commands, all in one slot.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Failure> {
        let value = self.insist(Question::Pipeline(pipeline)).await?;
        T::from_redis_value(value).map_err(|error| Failure::Sent(error.into()))
    }

    /// The number of the connection that is used now.
    pub(crate) async fn number(&self) -> Result<u64, Failure> {
        self.connection().await.map(|(_, number)| number).map_err(Failure::Unsent)
    }

    /// A command that is of use only behind what was asked before on the connection of this number; `None` where another one
    /// is used by now.
    pub(crate) async fn command_on<T: FromRedisValue>(&self, wanted: u64, command: &Cmd) -> Result<Option<T>, Failure> {
        let (connection, number) = self.connection().await.map_err(Failure::Unsent)?;
        if number != wanted {
            return Ok(None);
        }
        let value = self.ask_on(connection, number, Question::Command(command)).await?;
        T::from_redis_value(value).map(Some).map_err(|error| Failure::Sent(error.into()))
    }

    /// A command that each primary is asked; their addresses, empty where there is one alone, and answers.
    pub(crate) async fn ask_all(&self, command: &Cmd) -> Result<Vec<(String, Value)>, Failure> {
        let (connection, _) = self.connection().await.map_err(Failure::Unsent)?;
        match connection {
            Connection::Direct(_) => {
                let value = self.insist(Question::Command(command)).await?;
                Ok(vec![(String::new(), value)])
            }
            Connection::Cluster(mut cluster) => {
                let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answers = cluster.route_command(command.clone(), everywhere).await.map_err(Failure::Sent)?;
                let answers = HashMap::<String, Value>::from_redis_value(answers);
                answers.map(|answers| answers.into_iter().collect()).map_err(|error| Failure::Sent(error.into()))
            }
        }
    }

    /// A script that may be carried out twice, with what `arguments` adds behind its keys.
    pub(crate) async fn script<T: FromRedisValue>(&self, script: &Script, call: &Cmd) -> Result<T, Failure> {
        match self.command(call).await {
            Err(failure) if failure.error().kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let () = self.command(&script.load()).await?;
                self.command(call).await
            }
            answer => answer,
        }
    }

    async fn connection(&self) -> RedisResult<(Connection, u64)> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((connection.clone(), current.number));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connecting = async {
            Ok(match &mut current.target {
                Target::Single(client) => {
                    Connection::Direct(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Target::Sentinel(client) => Connection::Direct(client.get_async_connection_with_config(&config).await?),
                Target::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            })
        };
        let connected: RedisResult<Connection> = tokio::time::timeout(self.timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        let connection = connected?;
        current.number += 1;
        current.connection = Some(connection.clone());
        Ok((connection, current.number))
    }

    /// Connects anew next time, unless that was done meanwhile.
    async fn give_up(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.connection = None;
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server did not carry it out.
    Unsent(RedisError),
    /// It may have.
    Sent(RedisError),
}

impl Failure {
    pub(crate) const fn error(&self) -> &RedisError {
        match self {
            Self::Unsent(error) | Self::Sent(error) => error,
        }
    }
}

/// Whether the connection is of no use any more. One whose answer did not come in time may still be one to a server that is
/// gone; to connect anew costs little.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || error.is_timeout()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

/// Whether the server said that it did not do it.
fn is_refusal(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) && error.code() != Some("ERR")
}

/// Whether it may be different in a moment.
fn may_pass(error: &RedisError) -> bool {
    let passing = [ServerErrorKind::BusyLoading, ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    let passing_in_cluster = [ServerErrorKind::ClusterDown, ServerErrorKind::TryAgain, ServerErrorKind::Moved];
    match error.kind() {
        ErrorKind::Server(kind) => passing.contains(&kind) || passing_in_cluster.contains(&kind),
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound | ErrorKind::MasterNameNotFoundBySentinel => true,
        _ => error.is_connection_dropped() || error.is_timeout(),
    }
}

fn target(options: &RedisOptions) -> RedisResult<Target> {
    let url = &options.url;
    if url.tls {
        // The process may have chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let tls = if url.tls { Some(TlsMode::Secure) } else { None };
    let mut addresses = url.addresses();
    Ok(match &url.kind {
        Kind::Single => {
            let info: ConnectionInfo = addresses.swap_remove(0).into_connection_info()?;
            Target::Single(Box::new(Client::open(info.set_redis_settings(url.login()))?))
        }
        Kind::Sentinel { primary, username, password } => {
            let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?
                .set_client_to_redis_db(url.database);
            if let Some(tls) = tls {
                builder = builder.set_client_to_redis_tls_mode(tls).set_client_to_sentinel_tls_mode(tls);
            }
            builder = match &url.username {
                Some(username) => builder.set_client_to_redis_username(username),
                None => builder,
            };
            builder = match &url.password {
                Some(password) => builder.set_client_to_redis_password(password),
                None => builder,
            };
            builder = match username {
                Some(username) => builder.set_client_to_sentinel_username(username),
                None => builder,
            };
            builder = match password {
                Some(password) => builder.set_client_to_sentinel_password(password),
                None => builder,
            };
            Target::Sentinel(Box::new(builder.build()?))
        }
        Kind::Cluster => {
            let nodes = addresses.into_iter().map(IntoConnectionInfo::into_connection_info);
            let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
            let mut builder = ClusterClient::builder(nodes)
                .connection_timeout(options.timeout)
                .response_timeout(options.timeout)
                .overall_response_timeout(Some(options.timeout * 2));
            if let Some(tls) = tls {
                builder = builder.tls(tls);
            }
            if let Some(username) = &url.username {
                builder = builder.username(username);
            }
            if let Some(password) = &url.password {
                builder = builder.password(password);
            }
            Target::Cluster(Box::new(builder.build()?))
        }
    })
}
