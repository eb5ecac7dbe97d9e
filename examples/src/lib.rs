//! The Heartbeat server: the engine on embedded SQLite behind the HTTP surface, told about the world by flags,
//! environment variables and a TOML file. `heartbeat-server --help` says how.
//!
//! It is a library so that its tests and fuzzers reach it; the binary is [`main`] alone. [`crash`] is the harness that kills it.

mod arguments;
mod backup;
mod banner;
pub mod crash;
mod declare;
mod gate;
mod health;
mod logging;
mod migrate;
mod monitor_wish;
mod self_ping;
mod server;
mod settings;
mod settings_file;
mod shutdown;
mod storage;
mod storage_url;
mod systemd;
mod toml_document;
mod web_client;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use url::Url;

use crate::arguments::{Arguments, Command};
use crate::declare::{Declarations, Named};
use crate::server::Failure;
use crate::settings::{ConfigFault, Settings};
use crate::settings_file::FileSettings;
use crate::toml_document::TomlDocument;

const COULD_NOT_RUN: u8 = 1;
const CONFIGURATION_WRONG: u8 = 2;

/// How long tasks that are left over may take to notice that everything is over.
const LAST_TASKS: Duration = Duration::from_millis(500);

/// Runs `heartbeat-server` with the arguments of this process, and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(COULD_NOT_RUN, &error.to_string()),
    };
    let code = runtime.block_on(run(arguments));
    runtime.shutdown_timeout(LAST_TASKS);
    code
}

async fn run(arguments: Arguments) -> ExitCode {
    if let Some(Command::Health { url }) = &arguments.command {
        return health(&arguments, url.as_deref()).await;
    }
    if let Some(Command::Migrate { from, to, verify }) = &arguments.command {
        logging::start_quietly(arguments.log_format);
        return finish(migrate::run(from, to, *verify).await.map(|report| print!("{report}")));
    }
    let settings = match Settings::gather(&arguments, settings::environment) {
        Ok(settings) => settings,
        Err(fault) => return fail(CONFIGURATION_WRONG, &fault.to_string()),
    };
    if arguments.check {
        return check(&settings);
    }
    if let Some(Command::Backup { file, force }) = arguments.command {
        return finish(backup::run(&settings, file, force).await.map(|report| println!("{report}")));
    }
    logging::start(settings.log.clone(), arguments.log_format);
    finish(server::run(settings).await)
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(fault)) => fail(CONFIGURATION_WRONG, &fault.to_string()),
        Err(Failure::Run(message)) => fail(COULD_NOT_RUN, &message),
    }
}

/// What `heartbeat-server --check` says about a settings file with this name and text, the environment aside: the
/// summary of one that is right.
///
/// # Errors
/// When the file is wrong: its name, the line, the key and what would be right.
pub fn check_text(file: &str, text: &str) -> Result<String, String> {
    let file = TomlDocument::parse(file, text).and_then(FileSettings::read).map_err(|fault| fault.to_string())?;
    let settings = Settings::of(&Arguments::default(), |_| None, Some(file)).map_err(|fault| fault.to_string())?;
    let declarations = declare::check(&settings, &server::channel_kinds()).map_err(|fault| fault.to_string())?;
    Ok(summary(&settings, &declarations))
}

fn check(settings: &Settings) -> ExitCode {
    match declare::check(settings, &server::channel_kinds()) {
        Ok(declarations) => {
            for Named { path, kind, name } in &declarations.elsewhere {
                let message = format!("{} `{name}` is not declared; it must be in the store", kind.name());
                eprintln!("note: {}", settings.fault(path, message));
            }
            for (path, warning) in &declarations.warnings {
                eprintln!("warning: {}", settings.fault(path, warning));
            }
            println!("{}", summary(settings, &declarations));
            ExitCode::SUCCESS
        }
        Err(fault) => fail(CONFIGURATION_WRONG, &fault.to_string()),
    }
}

fn summary(settings: &Settings, declarations: &Declarations) -> String {
    let channels = counted(settings.channels.len(), "channel");
    let routes = counted(declarations.routes.len(), "route");
    let monitors = counted(declarations.monitors.len(), "monitor");
    let windows = counted(declarations.maintenance.len(), "maintenance window");
    format!("the configuration is right; it declares {channels}, {routes}, {monitors} and {windows}")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

async fn health(arguments: &Arguments, url: Option<&str>) -> ExitCode {
    let server = match url {
        Some(text) => Url::parse(text).map_err(|error| format!("--url: `{text}` is not a URL: {error}")),
        None => Settings::gather(arguments, settings::environment)
            .map_err(|fault: ConfigFault| fault.to_string())
            .and_then(|settings| health::local_url(&settings.listen)),
    };
    let server = match server {
        Ok(server) => server,
        Err(message) => return fail(CONFIGURATION_WRONG, &message),
    };
    match health::ask(&server).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(message) => fail(COULD_NOT_RUN, &message),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}
