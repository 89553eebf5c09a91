//! A program under test, and its processes.

use std::ffi::OsString;
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

/// So many lines of a log are shown when a test fails.
const TAIL_LINES: usize = 200;

/// A program with a folder of its own: its data, its ledger, what it prints. Any number of processes can be started on
/// it, usually one after another.
pub struct Program {
    exe: PathBuf,
    folder: PathBuf,
    /// Goes with the program, when the folder was made for it.
    _temporary: Option<TempDir>,
    environment: Vec<(String, String)>,
    /// Shell text before the program, for limits of the process.
    prelude: Option<String>,
    /// Command that becomes the program, which is its last argument.
    wrapper: Vec<String>,
    log: String,
}

/// A running process of a [`Program`]. Dropping it kills it.
pub struct Process {
    child: Child,
    stderr: PathBuf,
    /// The door for requests.
    pub ingress: Http,
    /// The door for operators.
    pub admin: Http,
    /// The address for other nodes.
    pub peer: String,
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
        let path = folder.path().to_path_buf();
        Self { _temporary: Some(folder), ..Self::at(exe, path) }
    }

    /// The program `exe` in a folder that somebody else made and removes.
    #[must_use]
    pub fn at(exe: &str, folder: PathBuf) -> Self {
        Self {
            exe: PathBuf::from(exe),
            folder,
            _temporary: None,
            environment: Vec::new(),
            prelude: None,
            wrapper: Vec::new(),
            log: "stderr".to_owned(),
        }
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

    /// As [`Program::set_prelude`], with a command that becomes the program: `ip netns exec n1`.
    pub fn set_wrapper(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// Name of the file in its folder for what its further processes say.
    pub fn set_log(&mut self, name: String) {
        self.log = name;
    }

    /// Name of the file for what its processes say.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        let told = self.environment.iter().find(|(name, _)| name == "ABIDE_DATA");
        told.map_or_else(|| self.folder.join("data"), |(_, path)| PathBuf::from(path))
    }

    /// Where its handlers write what they do.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        let told = self.environment.iter().find(|(name, _)| name == LEDGER);
        told.map_or_else(|| self.folder.join("ledger"), |(_, path)| PathBuf::from(path))
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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
        let mut next = || {
            let left = PATIENCE.saturating_sub(started.elapsed());
            receiver.recv_timeout(left).unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("it does not say where it serves: {:?}\n{}", child.wait(), tail(&stderr));
            })
        };
        let mut surfaces = ["ingress", "admin", "peer"].map(|name| (name, None));
        while surfaces.iter().any(|(_, address)| address.is_none()) {
            let line = next();
            let (name, address) = line.split_once(' ').unwrap_or((&line, ""));
            if let Some(surface) = surfaces.iter_mut().find(|(known, _)| *known == name) {
                surface.1 = Some(address.trim().to_owned());
            }
        }
        let [ingress, admin, peer] = surfaces.map(|(_, address)| address.unwrap_or_default());
        Process { child, stderr, ingress: Http::new(ingress), admin: Http::new(admin), peer, started }
    }

    /// Starts a process of which nobody knows whether it will ever serve; its doors are not known.
    #[must_use]
    pub fn begin(&self) -> Process {
        let started = Instant::now();
        let (child, stderr) = self.spawn();
        let nowhere = || Http::new(String::new());
        Process { child, stderr, ingress: nowhere(), admin: nowhere(), peer: String::new(), started }
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
        let stderr = self.folder.join(&self.log);
        let mut words: Vec<OsString> = self.wrapper.iter().map(OsString::from).collect();
        if let Some(prelude) = &self.prelude {
            words.extend(["sh", "-c", &format!("{prelude}; exec \"$0\"")].map(OsString::from));
        }
        words.push(self.exe.clone().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.folder)
            .env("ABIDE_DATA", self.data())
            .env("ABIDE_INGRESS", "127.0.0.1:0")
            .env("ABIDE_ADMIN", "127.0.0.1:0")
            .env("ABIDE_PEER", "127.0.0.1:0")
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

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        read(&self.stderr)
    }

    /// `kill -9`. Returns when it is gone.
    ///
    /// # Panics
    /// When it had ended before: then it did not survive until it was killed.
    pub fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended before it was killed: {status}\n{}", tail(&self.stderr));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal: `STOP`, `CONT`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "signal {name} was not sent");
    }

    /// How it ended, when it has.
    ///
    /// # Panics
    /// When the operating system does not know it.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().unwrap()?;
        Some(format!("{status}\n{}", tail(&self.stderr)))
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
            eprintln!("--- what the process said ---\n{}", tail(&self.stderr));
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

/// The last of what it said: enough to see why something went wrong.
fn tail(path: &Path) -> String {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
