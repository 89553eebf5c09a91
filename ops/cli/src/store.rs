//! The store of snapshots, asked without a node.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use abide_model::id::Millis;
use abide_restore::RestoreError;
use abide_snapshot::{Location, LocationError, ObjectStore, RetryPolicy, S3Credentials, SnapshotError};

use crate::error::CliError;

/// The key of a bucket, as nodes are told it; without it the provider chain decides.
const KEY: &str = "ABIDE_SNAPSHOT__ACCESS_KEY_ID";
/// Its secret.
const SECRET: &str = "ABIDE_SNAPSHOT__SECRET_ACCESS_KEY";

/// Where snapshots lie, in an argument.
pub(crate) fn location(text: &str) -> Result<Location, LocationError> {
    text.parse()
}

/// Opens the store.
pub(crate) async fn open(location: &Location) -> Result<Arc<dyn ObjectStore>, CliError> {
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let credentials = match (variable(KEY), variable(SECRET)) {
        (Some(access_key_id), Some(secret_access_key)) => {
            S3Credentials::Static { access_key_id, secret_access_key, session_token: None }
        }
        _ => S3Credentials::Chain,
    };
    let opened = abide_snapshot::open(location, credentials, RetryPolicy::default()).await;
    opened.map_err(|error| SnapshotError::from(error).into())
}

/// Does asynchronous work.
///
/// # Errors
/// As the work, and when the system has no room for a runtime.
pub(crate) fn wait_for<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::Local(format!("cannot start: {error}")))?.block_on(work)
}

/// The present time.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl From<SnapshotError> for CliError {
    fn from(error: SnapshotError) -> Self {
        let code = error.code();
        Self::Offline { message: error.to_string(), code }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        let code = error.code();
        Self::Offline { message: error.to_string(), code }
    }
}
