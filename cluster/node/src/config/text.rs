//! The configuration explained: the annotated default file and the usage text.

use super::source::known;

/// Every setting with its explanation, in the order of the file.
pub(super) const DOCS: &[(&str, &str)] = &[
    ("data", "Folder of the node's databases; created when absent."),
    ("partitions", "Number of partitions of a new data folder, 1 to 1023; fixed once the folder exists."),
    ("ingress.addr", "Address to listen on for requests, HTTP/1.1 and h2c."),
    ("ingress.connections_max", "Most open connections; further ones are answered 429 and closed."),
    ("ingress.body_bytes_max", "Largest request body, at most 8 MiB; larger ones are answered 413."),
    ("admin.addr", "Address to listen on for operators."),
    (
        "admin.allow_remote",
        "Whether admin.addr may be reachable from other machines. There is no authentication: whoever reaches it \
         operates the node.",
    ),
    (
        "admin.hosts",
        "Host names, without port, by which the admin API may be addressed beside loopback names and admin.addr.",
    ),
    ("peer.addr", "Address to listen on for other nodes."),
    ("peer.advertise", "The address by which other nodes reach this one, host:port; peer.addr when empty."),
    (
        "peer.tls",
        "Whether connections between nodes are encrypted and their ends proven: off, allow (a step on the way), require.",
    ),
    ("peer.certs", "Folder of the certificates ca.pem, node.pem and node-key.pem; not read with tls = \"off\"."),
    (
        "peer.allow_plain_remote",
        "Whether peer.addr may be reachable from other machines although connections without certificates are taken.",
    ),
    (
        "cluster.join",
        "Peer addresses of nodes whose cluster a new data folder joins; without any it founds a cluster of its own.",
    ),
    ("cluster.zone", "What fails together with other nodes of the same zone; replicas are spread over zones."),
    (
        "cluster.replication_factor",
        "Replicas of a partition in a cluster that this node founds; later `abide cluster config set` changes it.",
    ),
    (
        "snapshot.to",
        "Where the state of partitions is saved: s3://bucket/prefix?region=...&endpoint=..., or a folder; nowhere when \
         empty. The same on all nodes.",
    ),
    (
        "snapshot.access_key_id",
        "Key of a bucket; when empty it is that of the environment (AWS_ACCESS_KEY_ID), a profile or the machine's role.",
    ),
    ("snapshot.secret_access_key", "Its secret. Better not a flag, which others on the machine can read."),
    ("limits.outstanding", "Most requests that wait for their result or acceptance; further ones are answered 429."),
    ("limits.flows", "Most flows with a running attempt; further ones wait in the log."),
    ("handlers.threads", "Number of threads that run handlers, 1 to 256."),
    ("handlers.idle", "An object without work leaves memory after this time."),
    ("handlers.suspend_after", "A waiting flow leaves memory after this time."),
    ("handlers.objects", "Most objects in memory; beyond, idle ones leave it before their time. Busy ones do not."),
    ("handlers.object_bytes", "Most bytes of state of objects in memory; as handlers.objects."),
    (
        "storage.overlay_bytes",
        "Applied changes of all partitions that are kept in memory before they are written in bulk, at least 1 MiB.",
    ),
    ("storage.checkpoint_interval", "Applied changes are written in bulk at least this often."),
    (
        "retention.completed",
        "How long results of invocations with an idempotency key and of sends are kept after completion.",
    ),
    (
        "retention.journal",
        "How long journals of completed invocations are kept, for people to read and for restarts; 0s keeps none. Each \
         kept journal is written to disk, which costs about half the throughput of flows: better set it for the handlers \
         that need it. Failed one-way invocations are kept as dead letters anyway.",
    ),
    ("retention.workflow", "How long results, state and promises of workflows are kept after their run is completed."),
];

/// The default configuration as a TOML file in which every setting is explained. `ops/abide.toml` is a copy.
#[must_use]
pub fn annotated_defaults() -> String {
    let known = known();
    let mut out = String::from(
        "# The settings of an Abide node with their defaults. Later sources win: this file (--config FILE or\n\
         # ABIDE_CONFIG), the environment (ABIDE_SECTION__KEY), flags (--section.key VALUE).\n",
    );
    let mut section = "";
    for (key, doc) in DOCS {
        let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
        out.push('\n');
        if of != section {
            out.push_str(&format!("[{of}]\n"));
            section = of;
        }
        for line in wrapped(doc, 118) {
            out.push_str(&format!("# {line}\n"));
        }
        let value = known.get(*key).expect("a test compares DOCS with the struct");
        out.push_str(&format!("{name} = {value}\n"));
    }
    out
}

/// The text for `--help`.
#[must_use]
pub fn usage() -> String {
    let known = known();
    let mut out = String::from(
        "Runs an Abide node.\n\n\
         Options:\n  \
         --data DIR         folder of the databases\n  \
         --ingress ADDR     address for requests\n  \
         --admin ADDR       address for operators\n  \
         --partitions N     number of partitions of a new data folder\n  \
         --config FILE      read settings from a TOML file\n  \
         --help, -h         print this text\n  \
         --version, -V      print the version\n\n\
         Every setting can be given in the file, as ABIDE_SECTION__KEY in the environment, or as --section.key VALUE:\n",
    );
    for (key, doc) in DOCS {
        let value = known.get(*key).expect("a test compares DOCS with the struct");
        out.push_str(&format!("  {key} = {value}\n"));
        for line in wrapped(doc, 110) {
            out.push_str(&format!("      {line}\n"));
        }
    }
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("one line from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
