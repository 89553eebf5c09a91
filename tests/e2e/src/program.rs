//! A program under test, and its processes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::Http;
use crate::ledger::LEDGER;
use crate::wait::PATIENCE;

/// A program with a folder of its own: its data, its ledger, what it prints. Any number of processes can be started on
/// it, usually one after another.
pub struct Program {
    exe: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    /// Shell text before the program, for limits of the process.
    prelude: Option<String>,
}

/// A running process of a [`Program`]. Dropping it kills it.
pub struct Process {
    child: Child,
    stderr: PathBuf,
    /// The door for requests.
    pub ingress: Http,
    /// The door for operators.
    pub admin: Http,
    /// When it was started.
    pub started: Instant,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it said.
    pub stderr: String,
}

impl Program {
    /// The program `exe`: `env!("CARGO_BIN_EXE_…")` in a test.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[must_use]
    pub fn new(exe: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { exe: PathBuf::from(exe), folder, environment: Vec::new(), prelude: None }
    }

    /// Sets an environment variable of its processes, for example a setting: `ABIDE_SECTION__KEY`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_env(name, value);
        self
    }

    /// As [`Program::env`], for the processes that are started from now on.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Its further processes are another build of it.
    pub fn set_exe(&mut self, exe: &str) {
        self.exe = PathBuf::from(exe);
    }

    /// Shell commands that its further processes run before they become the program, for example `ulimit`.
    pub fn set_prelude(&mut self, prelude: Option<&str>) {
        self.prelude = prelude.map(str::to_owned);
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        let told = self.environment.iter().find(|(name, _)| name == "ABIDE_DATA");
        told.map_or_else(|| self.folder.path().join("data"), |(_, path)| PathBuf::from(path))
    }

    /// Where its handlers write what they do.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a process and waits until it says that it serves.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(&self) -> Process {
        let started = Instant::now();
        let (mut child, stderr) = self.spawn();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        // The pipe is read to its end, so that the process never waits for its reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut surface = |name: &str| {
            let left = PATIENCE.saturating_sub(started.elapsed());
            let line = receiver.recv_timeout(left).unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("no line about the {name}: {:?}\n{}", child.wait(), read(&stderr));
            });
            let url = line.strip_prefix(name).unwrap_or_else(|| panic!("`{line}` is not about the {name}"));
            Http::new(url.trim().to_owned())
        };
        let (ingress, admin) = (surface("ingress"), surface("admin"));
        Process { child, stderr, ingress, admin, started }
    }

    /// Starts a process that is expected to end by itself.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn run(&self) -> Ended {
        let (mut child, stderr) = self.spawn();
        let status = wait(&mut child);
        Ended::new(status, &stderr)
    }

    fn spawn(&self) -> (Child, PathBuf) {
        let stderr = self.folder.path().join("stderr");
        let mut command = match &self.prelude {
            None => Command::new(&self.exe),
            Some(prelude) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{prelude}; exec \"$0\"")]).arg(&self.exe);
                shell
            }
        };
        command
            .current_dir(self.folder.path())
            .env("ABIDE_DATA", self.data())
            .env("ABIDE_INGRESS", "127.0.0.1:0")
            .env("ABIDE_ADMIN", "127.0.0.1:0")
            .env(LEDGER, self.ledger())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap());
        (command.spawn().unwrap(), stderr)
    }
}

impl Process {
    /// Its number in the operating system.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`. Returns when it is gone.
    ///
    /// # Panics
    /// When it had ended before: then it did not survive until it was killed.
    pub fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended before it was killed: {status}\n{}", read(&self.stderr));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn ended(mut self) -> Ended {
        let status = wait(&mut self.child);
        Ended::new(status, &self.stderr)
    }

    /// SIGTERM, and a clean end.
    ///
    /// # Panics
    /// When the exit code is not 0.
    pub fn stop(self) {
        self.terminate();
        let ended = self.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the process said ---\n{}", read(&self.stderr));
        }
    }
}

impl Ended {
    fn new(status: ExitStatus, stderr: &Path) -> Self {
        Self { code: status.code(), signal: status.signal(), stderr: read(stderr) }
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the process does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
