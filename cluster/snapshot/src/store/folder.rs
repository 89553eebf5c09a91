//! A folder as a store: for one machine, for a network file system, and for tests.
//!
//! ```text
//! <root>/<key>    objects, a file each
//! <root>/.tmp/    files that are being written; locked by who writes them
//! <root>/.lock    locked while a name changes, so that conditions hold between processes
//! ```
//!
//! A file is written and synced under another name, then renamed. Keys never begin with a dot, so an object can be neither
//! of the two helpers.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::{
    StoreError,
    store::{
        Answer, Depth, Object, ObjectInfo, ObjectStore, Page, Tag, check_key, check_prefix,
        memory::{check_size, page, tag},
    },
};

/// Entries of a page of a listing.
const PAGE_ENTRIES: usize = 1000;

/// The lock is held for a rename; who does not get it in this time finds a stuck process or file system.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Pause between two attempts at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Objects in a folder. Several processes may use it at a time.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: Arc<PathBuf>,
}

impl FolderStore {
    /// Opens the folder, which is created if it does not exist, and removes what interrupted writes left.
    ///
    /// # Errors
    /// [`StoreError::Denied`] or [`StoreError::Unavailable`].
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: Arc::new(root.to_path_buf()) };
        let place = root.display().to_string();
        store
            .blocking("open", &place, |root, place| {
                create_dir(&root.join(".tmp"))
                    .and_then(|()| remove_leftovers(root))
                    .map_err(|error| failed("open", place, &error))
            })
            .await?;
        Ok(store)
    }

    /// Runs file operations where they may block.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Path, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = Arc::clone(&self.root);
        let owned = key.to_owned();
        tokio::task::spawn_blocking(move || work(&root, &owned)).await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { action, key: key.to_owned(), reason: error.to_string() })
        })
    }

    async fn write(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Tag, StoreError> {
        check_key("write", key)?;
        self.blocking("write", key, move |root, key| write(root, key, &bytes, &condition)).await
    }
}

enum Condition {
    None,
    Absent,
    Match(Tag),
}

impl ObjectStore for FolderStore {
    fn describe(&self) -> String {
        format!("folder `{}`", self.root.display())
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        Box::pin(async move {
            check_key("read", key)?;
            self.blocking("read", key, move |root, key| {
                let bytes = read(root, key, bytes_max)?;
                Ok(Object { tag: tag(&bytes), bytes })
            })
            .await
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(self.write(key, bytes, Condition::None))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(self.write(key, bytes, Condition::Absent))
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        Box::pin(self.write(key, bytes, Condition::Match(tag.clone())))
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        Box::pin(async move {
            check_key("look at", key)?;
            self.blocking("look at", key, |root, key| {
                let metadata = fs::metadata(root.join(key)).map_err(|error| failed("look at", key, &error))?;
                if !metadata.is_file() {
                    return Err(StoreError::NotFound { key: key.to_owned() });
                }
                Ok(info(key.to_owned(), &metadata))
            })
            .await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move {
            check_prefix(prefix)?;
            let next = next.map(str::to_owned);
            self.blocking("list", prefix, move |root, prefix| {
                let mut objects = Vec::new();
                let most = if depth == Depth::All { usize::MAX } else { 1 };
                let entries = entries(root, prefix).map_err(|error| failed("list", prefix, &error))?;
                for entry in entries {
                    let before = objects.len();
                    collect(root, entry, most, before, &mut objects).map_err(|error| failed("list", prefix, &error))?;
                }
                objects.sort_by(|left, right| left.key.cmp(&right.key));
                Ok(page(objects.into_iter(), prefix, depth, next.as_deref(), PAGE_ENTRIES))
            })
            .await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            check_key("delete", key)?;
            self.blocking("delete", key, |root, key| {
                let path = root.join(key);
                let _lock = lock(root, key)?;
                match fs::remove_file(&path).and_then(|()| sync_parent(&path)) {
                    Err(error) if !is_missing(&error) => Err(failed("delete", key, &error)),
                    _ => Ok(()),
                }
            })
            .await
        })
    }
}

fn read(root: &Path, key: &str, bytes_max: u64) -> Result<Bytes, StoreError> {
    let failed = |error: io::Error| failed("read", key, &error);
    let mut file = File::open(root.join(key)).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(StoreError::NotFound { key: key.to_owned() });
    }
    check_size(key, metadata.len(), bytes_max)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes.into())
}

fn write(root: &Path, key: &str, bytes: &Bytes, condition: &Condition) -> Result<Tag, StoreError> {
    let failed = |error: io::Error| match error.kind() {
        // A file or folder stands where the other one would have to be.
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            StoreError::Rejected { action: "write", key: key.to_owned(), reason: error.to_string() }
        }
        ErrorKind::NotFound => StoreError::Unavailable {
            action: "write",
            key: key.to_owned(),
            reason: "somebody removed the folder or the temporary file meanwhile".into(),
        },
        _ => failed("write", key, &error),
    };
    let path = root.join(key);
    create_dir(path.parent().expect("a key is below the root")).map_err(failed)?;
    let temp = TempFile::create(root).map_err(failed)?;
    (&temp.file).write_all(bytes).and_then(|()| temp.file.sync_all()).map_err(failed)?;
    let lock = lock(root, key)?;
    let is_met = match condition {
        Condition::None => true,
        Condition::Absent => !path.try_exists().map_err(failed)?,
        Condition::Match(expected) => match fs::read(&path) {
            Ok(found) => tag(&found) == *expected,
            Err(error) if is_missing(&error) => false,
            Err(error) => return Err(failed(error)),
        },
    };
    if !is_met {
        return Err(StoreError::PreconditionFailed { key: key.to_owned() });
    }
    fs::rename(&temp.path, &path).map_err(failed)?;
    drop(lock);
    sync_parent(&path).map_err(failed)?;
    Ok(tag(bytes))
}

/// A file that is being written. Removed when dropped, unless it was renamed.
struct TempFile {
    path: PathBuf,
    file: File,
}

impl TempFile {
    fn create(root: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Machines that share a file system may have processes of the same number.
        let drawn = getrandom::u64().map_err(io::Error::other)?;
        let path = root.join(".tmp").join(format!("{}-{number}-{drawn:016x}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        // Tells others that it is no leftover. Between creation and this they may remove it; the rename fails then.
        file.lock()?;
        Ok(Self { path, file })
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; what stays otherwise, the next open removes.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_leftovers(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root.join(".tmp"))? {
        let path = entry?.path();
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() {
            match fs::remove_file(&path) {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Keeps names as they are while it is held.
fn lock(root: &Path, key: &str) -> Result<File, StoreError> {
    let failed = |error: &io::Error| failed("lock", key, error);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(root.join(".lock"));
    let file = open.map_err(|error| failed(&error))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
            Err(TryLockError::WouldBlock) if waited >= LOCK_WAIT => {
                let reason = format!("another process holds `.lock` for {LOCK_WAIT:?}");
                return Err(StoreError::Unavailable { action: "lock", key: key.to_owned(), reason });
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(LOCK_PAUSE);
                waited += LOCK_PAUSE;
            }
        }
    }
}

/// Keys of what is directly in a folder, and whether they are folders.
fn entries(root: &Path, prefix: &str) -> io::Result<Vec<(String, bool)>> {
    let entries = match fs::read_dir(root.join(prefix)) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let key = format!("{prefix}{name}");
        // Helpers and files that others put here are no objects.
        if check_key("list", &key).is_err() {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_file() {
            found.push((key, kind.is_dir()));
        }
    }
    Ok(found)
}

/// Adds the objects of an entry, until `most` were added since there were `before`.
fn collect(
    root: &Path,
    (key, is_dir): (String, bool),
    most: usize,
    before: usize,
    objects: &mut Vec<ObjectInfo>,
) -> io::Result<()> {
    if !is_dir {
        match fs::metadata(root.join(&key)) {
            Ok(metadata) => objects.push(info(key, &metadata)),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        return Ok(());
    }
    for entry in entries(root, &format!("{key}/"))? {
        if objects.len() - before >= most {
            break;
        }
        collect(root, entry, most, before, objects)?;
    }
    Ok(())
}

fn info(key: String, metadata: &fs::Metadata) -> ObjectInfo {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_ms = modified.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    ObjectInfo { key, bytes: metadata.len(), modified_ms }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn failed(action: &'static str, key: &str, error: &io::Error) -> StoreError {
    let key = key.to_owned();
    match error.kind() {
        _ if is_missing(error) => StoreError::NotFound { key },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::Denied { action, key, reason: error.to_string() }
        }
        _ => StoreError::Unavailable { action, key, reason: error.to_string() },
    }
}

/// Creates a folder and those above it, durably, if they do not exist.
fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_parent(path),
    }
}

/// Makes the name of a file or folder durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
