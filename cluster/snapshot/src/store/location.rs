//! Where snapshots lie, as one line of text.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use percent_encoding::percent_decode_str;

use crate::{
    LocationError, StoreError,
    store::{FolderStore, ObjectStore, Retry, RetryPolicy, S3Credentials, S3Settings, S3Store, is_segment},
};

/// Where snapshots lie.
///
/// | text | meaning |
/// |---|---|
/// | `s3://bucket/prefix` | a bucket of S3 or a compatible store |
/// | `…?region=eu-central-1` | its region; without it, that of the environment |
/// | `…?endpoint=https://host:port` | a compatible store |
/// | `…&path_style=true` | the bucket is part of the path, not of the host's name |
/// | `…&allow_http=true` | the endpoint may be reached without encryption |
/// | `file:///folder`, `/folder`, `folder` | a folder of the local file system |
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A bucket.
    S3(S3Settings),
    /// A folder.
    Folder(PathBuf),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, query) = text.split_once('?').map_or((text, None), |(place, query)| (place, Some(query)));
        // The query is left out of the error: what is wrong there may be a secret in the wrong place.
        let refuse = |reason: String| LocationError { text: without_user(place), reason };
        match place.split_once("://") {
            Some(("s3", place)) => parse_s3(place, query.unwrap_or("")).map(Self::S3).map_err(refuse),
            Some(("file", path)) => {
                if query.is_some() {
                    return Err(refuse("a folder has no options".into()));
                }
                let path = decode(path).map_err(refuse)?;
                if !path.starts_with('/') {
                    return Err(refuse("behind `file://` an absolute path is expected".into()));
                }
                Ok(Self::Folder(path.into()))
            }
            Some((scheme, _)) => Err(refuse(format!("`{}` is unknown", scheme.escape_debug()))),
            None if text.is_empty() => Err(refuse("it is empty".into())),
            None => Ok(Self::Folder(text.into())),
        }
    }
}

/// The text with everything before an `@` of the host left out.
fn without_user(place: &str) -> String {
    match (place.split_once("://"), place.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => place.to_owned(),
    }
}

fn parse_s3(place: &str, query: &str) -> Result<S3Settings, String> {
    if place.contains('@') {
        return Err("credentials do not belong into it; configure them apart".into());
    }
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = decode(prefix)?;
    let prefix = prefix.trim_matches('/');
    let is_bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if bucket.len() < 3 || bucket.len() > 63 || bucket.starts_with('.') || !bucket.bytes().all(is_bucket) {
        return Err("the bucket has 3 to 63 lower-case letters, digits, `-` and `.`".into());
    }
    if !prefix.is_empty() && (prefix.len() > 512 || !prefix.split('/').all(is_segment)) {
        return Err("the prefix consists of letters, digits, `.`, `_`, `-` and `/`, up to 512 of them".into());
    }
    let mut settings = S3Settings::new(bucket);
    prefix.clone_into(&mut settings.prefix);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').ok_or("an option consists of a name, `=` and a value")?;
        let value = decode(value)?;
        match name {
            "endpoint" => settings.endpoint = Some(value),
            "region" => settings.region = Some(value),
            "path_style" => settings.path_style = parse_bool(name, &value)?,
            "allow_http" => settings.allow_http = parse_bool(name, &value)?,
            _ => {
                let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
                return Err(format!(
                    "option `{name}` is unknown; there are endpoint, region, path_style and allow_http"
                ));
            }
        }
    }
    settings.check()?;
    Ok(settings)
}

fn parse_bool(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("option `{name}` is `true` or `false`"))
}

fn decode(text: &str) -> Result<String, String> {
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| "it is not UTF-8".into())
}

/// Opens the store at a location. Nothing is asked of a bucket yet; a folder is created.
///
/// The store makes further attempts as `policy` says. `credentials` are for a bucket.
///
/// # Errors
/// [`StoreError::Rejected`] if the settings are impossible, [`StoreError::Unavailable`] or [`StoreError::Denied`] if the
/// folder cannot be made.
pub async fn open(
    location: &Location,
    credentials: S3Credentials,
    policy: RetryPolicy,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let store: Arc<dyn ObjectStore> = match location {
        Location::S3(settings) => Arc::new(S3Store::open(settings, credentials).await?),
        Location::Folder(path) => Arc::new(FolderStore::open(Path::new(path)).await?),
    };
    Ok(Arc::new(Retry::new(store, policy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read() {
        let Ok(Location::S3(settings)) = "s3://bucket".parse() else { panic!() };
        assert_eq!(settings, S3Settings::new("bucket"));

        let text =
            "s3://my-bucket/a/b/?endpoint=http%3A%2F%2F127.0.0.1:9000&region=eu-1&path_style=true&allow_http=true";
        let Ok(Location::S3(settings)) = text.parse() else { panic!() };
        let expected = S3Settings {
            prefix: "a/b".into(),
            endpoint: Some("http://127.0.0.1:9000".into()),
            region: Some("eu-1".into()),
            path_style: true,
            allow_http: true,
            ..S3Settings::new("my-bucket")
        };
        assert_eq!(settings, expected);
        let Ok(Location::S3(_)) = "s3://bucket?endpoint=https://host:9000/&path_style=false".parse() else { panic!() };

        for (text, path) in [("file:///a%20b", "/a b"), ("/a", "/a"), ("a/b", "a/b"), ("a?b", "a?b")] {
            assert_eq!(text.parse::<Location>().unwrap(), Location::Folder(path.into()));
        }
    }

    #[test]
    fn what_is_no_location_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("http://bucket", "`http` is unknown"),
            ("file://a", "absolute"),
            ("file:///a?b=c", "no options"),
            ("s3://", "3 to 63"),
            ("s3://Bucket", "3 to 63"),
            ("s3://bucket/a//b", "prefix"),
            ("s3://bucket/../b", "prefix"),
            ("s3://bucket/%FF", "UTF-8"),
            ("s3://bucket?endpoint", "name, `=`"),
            ("s3://bucket?secret_key=geheim", "option `secretkey` is unknown"),
            ("s3://bucket?path_style=yes", "`true` or `false`"),
            ("s3://bucket?endpoint=http://host", "allow_http"),
            ("s3://bucket?endpoint=ftp://host&allow_http=true", "https://"),
            ("s3://bucket?endpoint=https://user:geheim@host", "credentials"),
            ("s3://bucket?endpoint=https://", "host"),
            ("s3://key:geheim@bucket", "credentials"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.code(), "SN010");
            assert!(error.to_string().contains(reason), "{text}: {error}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
