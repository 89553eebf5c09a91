use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::source::known;
use super::text::DOCS;
use super::*;

fn parse(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, ConfigError> {
    Config::parse(
        args.iter().map(OsString::from),
        env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
    match parse(args, env) {
        Ok(Parsed::Run(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn faults(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    parse(args, env).unwrap_err().faults.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(config(&[], &[("PATH", "/bin"), ("HOME", "/")]), Config::default());
    assert_eq!(Config::default().validate(), Ok(()));
}

#[test]
fn later_sources_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("abide.toml");
    fs::write(
        &file,
        "data = \"from-file\"\npartitions = 2\n[ingress]\naddr = \"127.0.0.1:1\"\n[handlers]\nidle = \"5s\"\nthreads = 3\n",
    )
    .unwrap();
    let read = config(
        &["--config", file.to_str().unwrap(), "--partitions=4", "--limits.flows", "7"],
        &[("ABIDE_PARTITIONS", "3"), ("ABIDE_INGRESS", "127.0.0.1:2"), ("ABIDE_HANDLERS__IDLE", "6s")],
    );
    assert_eq!(read.data, Path::new("from-file"));
    assert_eq!(read.partitions, 4);
    assert_eq!(read.ingress.addr.port(), 2);
    assert_eq!(read.handlers.idle, Duration::from_secs(6));
    assert_eq!(read.handlers.threads, 3);
    assert_eq!(read.limits.flows, 7);
    let by_environment = config(&[], &[("ABIDE_CONFIG", file.to_str().unwrap())]);
    assert_eq!(by_environment.partitions, 2);
}

#[test]
fn secrets_are_not_printed() {
    let env = [("ABIDE_SNAPSHOT__ACCESS_KEY_ID", "key"), ("ABIDE_SNAPSHOT__SECRET_ACCESS_KEY", "geheim")];
    let read = config(&["--snapshot.to", "s3://bucket/a"], &env);
    assert_eq!(read.snapshot.secret_access_key.expose(), "geheim");
    assert!(!format!("{read:?}").contains("geheim"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(&file, "[snapshot]\nsecret_access_key = 12345\nto = \"s3://X\"\n").unwrap();
    let text = faults(&["--config", file.to_str().unwrap()], &[]).join("\n");
    assert!(text.contains("`snapshot.secret_access_key` is not a text") && !text.contains("12345"), "{text}");
    let text = faults(&["--snapshot.to", "s3://X"], &env[..1]).join("\n");
    assert!(text.contains("`snapshot.to` cannot be used"), "{text}");
    assert!(text.contains("`snapshot.secret_access_key` comes together"), "{text}");
}

#[test]
fn all_faults_are_listed_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(&file, "[ingress]\nadr = \"127.0.0.1:1\"\nbody_bytes_max = \"9 MiB\"\n[handlers]\nidle = 5\n").unwrap();
    let path = file.to_str().unwrap();
    let faults = faults(
        &["--config", path, "--partitions", "many", "--no-such-thing", "1", "stray", "--admin", "0.0.0.0:9070"],
        &[("ABIDE_LIMITS__FLOWS", "0"), ("ABIDE_LIMITS", "3")],
    );
    let text = faults.join("\n");
    assert_eq!(faults.len(), 9, "{text}");
    for part in [
        "a.toml: `ingress.adr` is unknown; did you mean `ingress.addr`?",
        "a.toml: `ingress.body_bytes_max` must be between 1 B and 8 MiB",
        "a.toml: `handlers.idle` = 5: invalid type: integer `5`, expected a string",
        "--partitions: `partitions` = \"many\": invalid type",
        "--no-such-thing: `no_such_thing` is unknown; the nearest setting is",
        "stray: is not a flag",
        "ABIDE_LIMITS__FLOWS: `limits.flows` must be at least 1",
        "ABIDE_LIMITS: `limits` is a section, not a setting; it has `limits.flows`, `limits.outstanding`",
        "--admin: `admin.addr` is not a loopback address",
    ] {
        assert!(text.contains(part), "{part}\nis missing in\n{text}");
    }
}

#[test]
fn the_admin_door_opens_to_the_network_only_on_request() {
    let opened = config(&["--admin", "0.0.0.0:9070", "--admin.allow-remote", "true"], &[]);
    assert!(opened.admin.allow_remote);
    assert!(faults(&["--admin", "192.168.0.1:9070"], &[])[0].contains("admin.allow_remote = true"));
    config(&["--admin", "[::1]:9070"], &[]);
}

#[test]
fn lists_are_separated_by_commas() {
    assert_eq!(config(&[], &[("ABIDE_ADMIN__HOSTS", "a.example, b")]).admin.hosts, ["a.example", "b"]);
    assert!(faults(&["--admin.hosts", "http://a:1"], &[])[0].contains("without scheme or port"));
}

#[test]
fn a_file_that_is_absent_or_not_toml_is_a_fault() {
    assert!(faults(&["--config", "no/such/file"], &[])[0].contains("cannot be read"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(&file, "x = = 1").unwrap();
    assert!(faults(&["--config", file.to_str().unwrap()], &[])[0].contains("line 1"));
    assert!(faults(&["--config"], &[])[0].contains("needs a value"));
}

#[test]
fn help_and_version_are_answers() {
    assert_eq!(parse(&["--help"], &[]), Ok(Parsed::Help));
    assert_eq!(parse(&["-V"], &[]), Ok(Parsed::Version));
    assert!(usage().contains("storage.overlay_bytes = \"16 MiB\""));
}

#[test]
fn service_links_of_kubernetes_are_no_settings() {
    let links = [
        ("ABIDE_SERVICE_HOST", "10.0.0.1"),
        ("ABIDE_SERVICE_PORT_HTTP", "80"),
        ("ABIDE_PORT", "tcp://10.0.0.1:80"),
        ("ABIDE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("ABIDE_INGRESS_SERVICE_HOST", "10.0.0.1"),
    ];
    assert_eq!(config(&[], &links), Config::default());
}

#[test]
fn every_setting_is_documented() {
    let documented: BTreeSet<_> = DOCS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(documented.len(), DOCS.len());
    assert_eq!(documented, known().into_keys().collect());
}

#[test]
fn the_annotated_defaults_are_the_defaults() {
    let text = annotated_defaults();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    assert!(text.lines().all(|line| line.len() <= 120));
}

#[test]
fn the_committed_copy_is_current() {
    assert_committed("../../ops/abide.toml", &annotated_defaults());
}

/// Compares a generated file with its committed copy; `BLESS=1` writes the copy anew.
pub(crate) fn assert_committed(path: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is not current: run the tests with BLESS=1", path.display());
}
