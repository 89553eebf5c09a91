//! A cluster is upgraded to a build that has not kept the code of flows under way: they finish on a node that still has it,
//! wherever their partitions are led.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::cluster::Plan;
use e2e::{Cli, Cluster, ledger, wait};
use serde_json::Value;

const FIRST: &str = env!("CARGO_BIN_EXE_e2e-build-1");
const SECOND: &str = env!("CARGO_BIN_EXE_e2e-build-2");
const FLOWS: usize = 24;

/// A flow of the first build that waits in the middle.
struct Waiting {
    id: String,
    key: String,
    awakeable: String,
}

async fn begin(cluster: &Cluster, word: &str) -> Vec<Waiting> {
    let mut flows = Vec::new();
    for number in 0..FLOWS {
        let key = format!("{word}-{number}");
        let id = cluster.node(0).ingress.post(&format!("/Order/{key}/ship/send")).expect().await.invocation();
        let awakeable = wait::until("the flow waits", || async {
            ledger::read(&cluster.ledger(), &key).into_iter().next().ok_or("it has not begun")
        })
        .await;
        flows.push(Waiting { id, key, awakeable });
    }
    flows
}

async fn resolve(cluster: &Cluster, flows: &[Waiting]) {
    for flow in flows {
        let path = format!("/restate/a/{}/resolve", flow.awakeable);
        let answer = cluster.node(1).ingress.json(&path, &flow.key).expect().await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

async fn finish(cluster: &Cluster, flows: &[Waiting]) {
    for Waiting { id, key, .. } in flows {
        let path = format!("/restate/invocation/{id}/attach");
        let answer: String = cluster.node(0).ingress.get(&path).ok().await;
        assert_eq!(answer, format!("old code, {key}"));
        assert_eq!(ledger::read(&cluster.ledger(), key).len(), 1, "the step of {key} ran again");
    }
}

async fn metric(cluster: &Cluster, place: usize, name: &str) -> f64 {
    let page = cluster.node(place).admin.get("/metrics").expect().await.text();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_finish_on_the_node_that_has_their_code() {
    let mut cluster = Plan::new(FIRST).start(3).await;
    let (waiting, later) = (begin(&cluster, "o").await, begin(&cluster, "p").await);
    for place in [0, 1] {
        cluster.stop(place);
        cluster.set_exe(place, SECOND);
        cluster.restart(place);
        cluster.wait_healthy().await;
    }
    let cli = Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &cluster.node(0).admin, &cluster.node(0).ingress);
    cli.ok("cluster leader balance");
    let lent = wait::until("the last old node runs flows for the new ones", || async {
        let lent = metric(&cluster, 0, "abide_attempts_lent_total").await
            + metric(&cluster, 1, "abide_attempts_lent_total").await;
        let borrowed = metric(&cluster, 2, "abide_attempts_borrowed").await;
        if borrowed >= 4.0 { Ok(lent) } else { Err((lent, borrowed)) }
    })
    .await;
    assert!(lent >= 4.0);
    resolve(&cluster, &waiting).await;
    finish(&cluster, &waiting).await;

    // Without it the rest waits, visibly, and goes on when it is back.
    cluster.kill(2);
    let id = &later[0].id;
    wait::until("the flow has no code", || async {
        let known: Value = cluster.node(0).admin.get(&format!("/invocations/{id}")).ok().await;
        let failure = known["last_failure"]["message"].as_str().unwrap_or_default().to_owned();
        if known["status"] == "backing-off" && failure.contains("AB0572") { Ok(()) } else { Err(known) }
    })
    .await;
    cluster.restart(2);
    cluster.wait_healthy().await;
    resolve(&cluster, &later).await;
    for Waiting { id, .. } in &later {
        // It looks for its code now and then; an operator need not wait.
        let _ = cli.run(&format!("invocations resume {id}"));
    }
    tokio::time::timeout(Duration::from_secs(60), finish(&cluster, &later)).await.unwrap();
    cluster.end();
}
