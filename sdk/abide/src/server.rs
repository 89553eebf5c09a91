//! The node inside a program.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use abide_node::config::{Parsed, usage};
use abide_node::schedule::Schedule;
use abide_node::{Node, shutdown};
use abide_sdk::service::Executable;
use abide_sdk::{Client, Handlers, KeptHandlers, Registry, RegistryBuilder, Service};

use crate::logging;
use crate::schedules::Schedules;

pub use abide_node::StartError;
pub use abide_node::config::Config;

/// Exit code for a command line or configuration that cannot be used.
const EXIT_USAGE: u8 = 2;

/// The entrance: `Server::builder()`.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A node without handlers yet.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder { registry: Registry::builder(), schedules: Vec::new(), config: Config::default(), hint: None }
    }
}

/// What a node is to run.
pub struct ServerBuilder {
    registry: RegistryBuilder,
    schedules: Vec<Schedule>,
    config: Config,
    hint: Option<Hint>,
}

type Hint = Box<dyn FnOnce(&Running) -> String>;

impl ServerBuilder {
    /// Binds an object, a service or a workflow. A later one replaces an earlier one of the same name.
    #[must_use]
    pub fn bind<T: Handlers>(mut self) -> Self {
        self.registry = self.registry.bind::<T>();
        self
    }

    /// Binds a service that `make` constructs, for handlers that need clients or pools of their own.
    #[must_use]
    pub fn bind_with<T: Handlers + Service>(mut self, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.registry = self.registry.bind_with(make);
        self
    }

    /// Keeps code of an earlier version beside the current one, for flows that started on it: what
    /// `#[handlers(version = 1)]` makes of `Account` is `AccountV1`.
    #[must_use]
    pub fn keep<T: KeptHandlers>(mut self) -> Self {
        self.registry = self.registry.keep::<T>();
        self
    }

    /// As [`ServerBuilder::keep`], for code that is made by hand: of a service with `#[service(bound_with)]`, an
    /// [`abide_sdk::Executor::with`].
    #[must_use]
    pub fn keep_with(mut self, service: Arc<dyn Executable>) -> Self {
        self.registry = self.registry.keep_with(service);
        self
    }

    /// Declares a schedule: the node sees to it at every start that it is there as described. One that is there already is not
    /// touched, so that what it missed is made up for, and it stays paused if an operator paused it. One that is no longer
    /// declared stays until it is deleted. A later one replaces an earlier one of the same name.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.retain(|known| known.name != schedule.name);
        self.schedules.push(schedule);
        self
    }

    /// The settings; the default keeps its data in `./abide-data`. [`ServerBuilder::serve`] reads them from the command
    /// line and the environment instead.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Text that [`ServerBuilder::serve`] prints once the node is ready, for example requests to try.
    #[must_use]
    pub fn hint(mut self, hint: impl FnOnce(&Running) -> String + 'static) -> Self {
        self.hint = Some(Box::new(hint));
        self
    }

    /// Starts the node inside this process and returns when it serves.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Running, StartError> {
        let Self { registry, schedules, config, .. } = self;
        // Opening databases blocks.
        blocking(move || Running::start(&config, &registry.build(), schedules)).await
    }

    /// The `main` of a program that is a node: reads flags, environment and file, prints one line per surface when it is
    /// ready, runs until SIGTERM or Ctrl-C, and stops cleanly. Run it with `--help` for the settings.
    #[must_use]
    pub fn serve(self) -> ExitCode {
        let config = match Config::parse(std::env::args_os().skip(1), std::env::vars_os()) {
            Ok(Parsed::Run(config)) => *config,
            Ok(Parsed::Help) => {
                println_line(&usage());
                return ExitCode::SUCCESS;
            }
            Ok(Parsed::Version) => {
                println_line(concat!("abide ", env!("CARGO_PKG_VERSION")));
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(EXIT_USAGE);
            }
        };
        let logging = logging::init();
        let running = match Running::start(&config, &self.registry.build(), self.schedules) {
            Ok(running) => running,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        };
        if let Some(logging) = logging {
            running.0.on_log_level(move |level| logging.set(level));
        }
        // Before anyone is told that the node is ready: a service manager may stop it at once.
        let signalled = {
            let _context = running.0.runtime().enter();
            shutdown::listen()
        };
        let signalled = match signalled {
            Ok(signalled) => signalled,
            Err(error) => {
                eprintln!("error: cannot wait for signals: {error}");
                return ExitCode::FAILURE;
            }
        };
        println_line(&format!("ingress  http://{}", running.ingress()));
        println_line(&format!("admin    http://{}", running.admin()));
        println_line(&format!("peer     {}", running.0.peer()));
        println_line(&format!("data     {}", config.data.display()));
        if let Some(hint) = self.hint {
            println_line(&hint(&running));
        }
        running.0.runtime().block_on(signalled);
        running.0.stop();
        ExitCode::SUCCESS
    }
}

/// A node that serves.
pub struct Running(Node);

impl Running {
    /// Blocks.
    fn start(config: &Config, registry: &Registry, schedules: Vec<Schedule>) -> Result<Self, StartError> {
        let node = Node::start(config, registry)?;
        for schedule in schedules {
            let name = schedule.name.clone();
            if let Err(source) = node.runtime().block_on(node.engine().schedules_declare(schedule)) {
                node.stop();
                return Err(StartError::Schedule { name, source });
            }
        }
        Ok(Self(node))
    }

    /// Typed clients inside the process, without HTTP.
    #[must_use]
    pub fn client(&self) -> Client {
        self.0.client()
    }

    /// The schedules of the node, those that were declared and all others.
    #[must_use]
    pub fn schedules(&self) -> Schedules {
        Schedules::new(self.0.engine().clone())
    }

    /// Where requests are taken.
    #[must_use]
    pub fn ingress(&self) -> SocketAddr {
        self.0.ingress()
    }

    /// Where operators are served.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.0.admin()
    }

    /// Stops the node: requests in flight finish, everything is written out.
    pub async fn stop(self) {
        blocking(move || self.0.stop()).await;
    }
}

/// Runs something that blocks on a thread of its own, whatever runtime the caller has.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = sender.send(work());
    });
    receiver.await.expect("the thread sends before it ends")
}

/// The program's output. A reader that went away is no reason to stop.
fn println_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
