//! An S3 server inside the test process.
//!
//! It speaks the real protocol over a real socket, with signatures (crate `s3s`), and keeps one bucket in memory. Conditional
//! writes are atomic. [`Fault`]s are switched on and off while it runs, and tests can look at and change objects behind
//! everybody's back.
//!
//! ```
//! # use test_s3::{Fault, TestS3};
//! let s3 = TestS3::start();
//! let location = s3.location("some/prefix"); // for `abide_snapshot::Location`
//! assert!(location.starts_with("s3://bucket/some/prefix?endpoint=http://127.0.0.1:"));
//! s3.set_fault(Some(Fault::Unavailable));
//! s3.put_object("some/prefix/key", "content");
//! ```

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::sync::oneshot;

mod bucket;
mod server;

use bucket::{Bucket, Memory};

/// Name of the one bucket.
pub const BUCKET: &str = "bucket";

/// Name of the one key that is let in.
pub const ACCESS_KEY_ID: &str = "test-access-key";

/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "test-secret-key";

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Connections are closed without an answer.
    Refused,
    /// 503 `SlowDown`.
    Unavailable,
    /// 403 `AccessDenied`.
    Denied,
    /// Every answer takes this long.
    Slow(Duration),
    /// One bit of what is read is another one.
    CorruptGets,
    /// Half of what is read is missing, and the answer declares only the half.
    TruncatedGets,
    /// Half of what is read is missing: the connection ends.
    BrokenGets,
    /// Writes take place, and the connection ends without an answer.
    LostPuts,
    /// Conditional writes are answered with 501 `NotImplemented`.
    NoConditions,
    /// Conditional writes take place whatever their condition.
    IgnoredConditions,
}

/// A running server. Ends when it is dropped.
#[derive(Debug)]
pub struct TestS3 {
    address: SocketAddr,
    bucket: Arc<Bucket>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestS3 {
    /// Starts a server with an empty bucket on a free port of the loopback interface, on a thread and a runtime of its own.
    ///
    /// # Panics
    /// If it cannot start.
    #[must_use]
    pub fn start() -> Self {
        let bucket = Arc::new(Bucket::default());
        let service = {
            let mut builder = S3ServiceBuilder::new(Memory(Arc::clone(&bucket)));
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
            builder.build()
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made not to block");
        let (stop, stopped) = oneshot::channel();
        let faults = Arc::clone(&bucket);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = server::serve(&listener, service, faults) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, bucket, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address, `http://127.0.0.1:…`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where snapshots lie in it under a prefix, in the form that configurations take.
    #[must_use]
    pub fn location(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&path_style=true&allow_http=true", self.endpoint())
    }

    /// Switches a fault on, or all off.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.bucket.set_fault(fault, usize::MAX);
    }

    /// Switches a fault on for the next `requests` only.
    pub fn set_fault_once(&self, fault: Fault, requests: usize) {
        self.bucket.set_fault(Some(fault), requests);
    }

    /// Number of requests since the start, those with faults included.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.bucket.requests()
    }

    /// Keys of all objects, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.bucket.keys()
    }

    /// Content of an object.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.bucket.object(key)
    }

    /// Writes an object behind everybody's back.
    pub fn put_object(&self, key: &str, bytes: impl Into<Bytes>) {
        self.bucket.put_object(key, bytes.into());
    }

    /// Removes an object behind everybody's back; tells whether there was one.
    pub fn remove_object(&self, key: &str) -> bool {
        self.bucket.remove_object(key)
    }
}

impl Drop for TestS3 {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; another one here would hide what the test says.
            let _ = thread.join();
        }
    }
}
