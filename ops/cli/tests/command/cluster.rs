//! Nodes, partitions, leaders, settings, hashes and certificates; several addresses.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fake::{Fake, Ran, bare};

const NODES: &str = r#"{"nodes":[{"id":"n1","state":"active","alive":true,"leaders":1,"replicas":2,"leads":["p0"]}]}"#;
const PARTITIONS: &str = r#"{"partitions":[{"id":"p0","leader":"n1","members":{"voters":["n1"]},"wanted":["n1"],
    "replicas":[{"node":"n1","replica":"n1","leads":true,"alive":true,"lag":0,"applied":9}]}]}"#;
const ALL: &str =
    r#"{"cluster_id":"cl_1","asked":"n1","features":1,"settings":{},"nodes":[],"partitions":[],"problems":[]}"#;

#[test]
fn the_cluster_is_looked_at() {
    let fake = Fake::start(&[
        ("GET /cluster/nodes", 200, NODES),
        ("GET /cluster/partitions", 200, PARTITIONS),
        ("GET /cluster", 200, ALL),
    ]);
    let status = fake.run(&["cluster", "status"]);
    assert!(status.code == 0 && status.out.contains("All is as it should be."), "{status:?}");
    assert_eq!(fake.run(&["cluster", "status", "--json"]).json()["cluster_id"], "cl_1");
    assert_eq!(fake.run(&["cluster", "nodes"]).out.lines().count(), 2);
    assert_eq!(fake.run(&["cluster", "nodes", "--json"]).json(), serde_json::from_str::<Value>(NODES).unwrap());
    assert!(fake.run(&["cluster", "partitions"]).out.contains("p0         n1      n1"));
    assert!(fake.run(&["cluster", "partitions", "p0"]).out.starts_with("partition p0\n"));
    assert_eq!(fake.run(&["cluster", "partitions", "p9"]).code, 3);
}

const DRAINING: &str =
    r#"{"id":"n2","state":"draining","alive":true,"empty":false,"leaders":1,"left":["p0"],"note":null}"#;
const EMPTY: &str = r#"{"id":"n2","state":"draining","alive":true,"empty":true,"leaders":0,"left":[],"note":null}"#;
const REMOVED: &str = r#"{"id":"n2","state":"removed","alive":false,"empty":true,"leaders":0}"#;

#[test]
fn nodes_are_ordered_about() {
    let fake = Fake::start(&[
        ("POST /cluster/nodes/n2/drain", 200, DRAINING),
        ("GET /cluster/nodes/n2", 200, EMPTY),
        ("POST /cluster/nodes/n2/remove", 200, REMOVED),
        ("POST /cluster/nodes/n2/replace", 202, DRAINING),
        ("POST /cluster/nodes/n2/activate", 200, NODES),
        ("POST /cluster/nodes/n1/remove", 409, r#"{"message":"n1 is alive","abide_code":"AB0419"}"#),
    ]);
    let ran = fake.run(&["cluster", "nodes", "drain", "n2"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "n2 is being emptied\nn2: 1 partition and 1 leader left\n"));
    let ran = fake.run(&["cluster", "nodes", "drain", "n2", "--wait", "--json"]);
    assert_eq!(
        (ran.code, &ran.json()["empty"], ran.err.as_str()),
        (0, &json!(true), "n2: 1 partition and 1 leader left\n")
    );
    let ran = fake.run(&["cluster", "nodes", "replace", "n2", "--wait", "--timeout", "1ms", "--yes"]);
    assert!(ran.code == 4 && ran.err.contains("goes on"), "{ran:?}");
    assert_eq!(fake.run(&["cluster", "nodes", "activate", "n2"]).out, "n2 is active\n");
    let asked = fake.lines().len();
    for verb in ["remove", "replace"] {
        let ran = fake.run(&["cluster", "nodes", verb, "n2"]);
        assert!(ran.code == 2 && ran.err.contains("--yes"), "{ran:?}");
    }
    assert_eq!(fake.lines().len(), asked, "nobody could be asked, so nothing was");
    assert_eq!(fake.run(&["cluster", "nodes", "remove", "n2", "--force", "-y"]).out, "n2 is removed\n");
    assert_eq!(fake.lines().pop().unwrap(), "POST /cluster/nodes/n2/remove?force=true");
    let ran = fake.run(&["cluster", "nodes", "remove", "n1", "-y"]);
    assert_eq!((ran.code, ran.err.as_str()), (4, "abide: n1 is alive [AB0419]\n"));
    for args in
        [&["cluster", "nodes", "drain"][..], &["cluster", "nodes", "drain", "n2", "--timeout", "1s"], &["cluster"]]
    {
        assert_eq!(fake.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn leaders_and_settings_are_changed() {
    let moved = r#"{"id":"p0","leader":"n2","from":"n1","pinned":null}"#;
    let setting =
        r#"{"name":"log_level","value":"debug","default":null,"set":true,"expected":"one of","what":"how much"}"#;
    let unset = r#"{"name":"log_level","value":null}"#;
    let settings = format!(r#"{{"settings":[{setting}]}}"#);
    let fake = Fake::start(&[
        ("POST /cluster/partitions/p0/leader", 200, moved),
        ("PUT /cluster/partitions/p0/pin", 200, r#"{"id":"p0","leader":"n1","pinned":"n2"}"#),
        ("DELETE /cluster/partitions/p0/pin", 200, moved),
        ("POST /cluster/leaders/balance", 200, r#"{"transfers":[{"partition":"p0","from":"n1","to":"n2"}]}"#),
        ("GET /cluster/settings/log_level", 200, setting),
        ("GET /cluster/settings", 200, &settings),
        ("PUT /cluster/settings/log_level", 200, setting),
        ("DELETE /cluster/settings/log_level", 200, unset),
    ]);
    let ran = fake.run(&["cluster", "leader", "transfer", "p0", "n2"]);
    assert!(
        ran.out.starts_with("p0 is led by n2, no longer by n1\n") && ran.out.contains("leader pin p0 n2"),
        "{ran:?}"
    );
    let ran = fake.run(&["cluster", "leader", "pin", "p0", "n2"]);
    assert!(ran.out.starts_with("p0 is pinned to n2\nn1 leads it now"), "{ran:?}");
    assert_eq!(fake.run(&["cluster", "leader", "unpin", "p0"]).out, "p0 may be led by any node\n");
    assert_eq!(fake.run(&["cluster", "leader", "balance"]).out, "p0 goes from n1 to n2\n");
    assert_eq!(fake.asked()[0].body, json!({"node": "n2"}));
    assert_eq!(fake.run(&["cluster", "config", "get"]).out.lines().count(), 2);
    assert_eq!(fake.run(&["cluster", "config", "get", "log_level", "--json"]).json()["value"], "debug");
    assert_eq!(fake.run(&["cluster", "config", "set", "log_level", "debug"]).out, "log_level is debug on all nodes\n");
    assert_eq!(fake.asked().pop().unwrap().body, json!({"value": "debug"}));
    let ran = fake.run(&["cluster", "config", "unset", "log_level"]);
    assert_eq!(ran.out, "log_level is as the configuration of each node says\n");
}

#[test]
fn hashes_are_told_by_the_exit_code() {
    let answer = |verdict: &str, compared: &str| {
        format!(
            r#"{{"verdict":"{verdict}","partitions":[{{"partition":"p0","verdict":"{verdict}","index":64,
               "compared":{compared},"different":["n3"],"waiting":[]}}]}}"#
        )
    };
    for (verdict, compared, code) in [
        ("equal", r#"["n1","n2"]"#, 0),
        ("different", r#"["n1","n3"]"#, 1),
        ("waiting", "[]", 4),
        ("waiting", r#"["n1","n2"]"#, 0),
        ("alone", "[]", 0),
    ] {
        let fake = Fake::start(&[("POST /cluster/hashes/check", 200, &answer(verdict, compared))]);
        let ran = fake.run(&["cluster", "hash", "check"]);
        assert_eq!((ran.code, ran.out.lines().count()), (code, 2), "{verdict}: {ran:?}");
        let ran = fake.run(&["cluster", "hash", "check", "--json"]);
        assert_eq!((ran.code, &ran.json()["verdict"]), (code, &json!(verdict)));
    }
}

#[test]
fn the_first_address_that_answers_is_asked() {
    let gone = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let fake = Fake::start(&[("GET /cluster", 200, ALL), ("POST /cluster/nodes/n2/drain", 200, DRAINING)]);
    let there = fake.command(&[]).get_envs().find(|(name, _)| *name == "ABIDE_ADMIN").unwrap().1.unwrap().to_owned();
    let addresses = format!("{},{}", gone(), there.to_str().unwrap());
    for args in [&["cluster", "status"][..], &["cluster", "nodes", "drain", "n2"]] {
        let ran = Ran::of(bare(args).args(["--admin", &addresses]));
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran = Ran::of(bare(args).env("ABIDE_ADMIN", &addresses));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let (one, other) = (gone(), gone());
    let ran = Ran::of(bare(&["cluster", "status"]).args(["--admin", &one, "--admin", &other]));
    assert!(ran.code == 5 && ran.err.contains(&one) && ran.err.contains(&other), "{ran:?}");
}

#[test]
fn an_order_is_not_given_twice() {
    // The first one takes the order and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in silent.incoming() {
            let _ = stream.unwrap().read(&mut [0; 1_000]);
        }
    });
    let fake = Fake::start(&[("", 200, ALL)]);
    let there = fake.command(&[]).get_envs().find(|(name, _)| *name == "ABIDE_ADMIN").unwrap().1.unwrap().to_owned();
    let addresses = format!("{addr},{}", there.to_str().unwrap());
    let ran = Ran::of(bare(&["cluster", "nodes", "drain", "n2"]).args(["--admin", &addresses]));
    assert_eq!((ran.code, fake.lines().len()), (5, 0), "{ran:?}");
    let ran = Ran::of(bare(&["cluster", "status"]).args(["--admin", &addresses]));
    assert_eq!((ran.code, fake.lines().len()), (0, 1), "{ran:?}");
}

#[test]
fn a_watch_ends_with_ctrl_c() {
    let fake = Fake::start(&[("GET /cluster/nodes", 200, NODES)]);
    let mut child = fake.command(&["cluster", "nodes", "--watch=1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("NODE"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn certificates_are_made_and_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let create = |more: &[&str]| Ran::of(bare(&["cluster", "certs", "create", "--dir", dir]).args(more));
    let made = create(&["--node", "n1", "--node", "2", "--host", "localhost", "--json"]).json();
    assert_eq!((&made["authority"]["created"], &made["nodes"][1]["node"]), (&json!(true), &json!("n2")));
    for file in ["ca.pem", "ca-key.pem", "n1/ca.pem", "n1/node.pem", "n1/node-key.pem", "n2/node.pem"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    let (authority, first) = (read("ca.pem"), read("n1/node.pem"));
    let again = create(&["--node", "n1"]);
    assert!(again.code == 1 && again.err.contains("PE011") && again.err.contains("--force"), "{again:?}");
    assert_eq!(read("n1/node.pem"), first);
    assert_eq!(create(&["--node", "n1", "--force"]).code, 0);
    assert!(read("n1/node.pem") != first && read("ca.pem") == authority);
    let any = create(&[]);
    assert!(
        any.code == 0 && any.out.contains("certificate of any node") && any.out.contains("authority used"),
        "{any:?}"
    );
    assert_eq!(create(&["--node", "0"]).code, 2);
}
