//! The cluster's setting `log_level`, brought to whoever set up the logging of this process.

use abide_model::setting::LOG_LEVEL;

use crate::cluster::Cluster;
use crate::shutdown::Stop;

/// Tells the level, as it is and whenever it changes, until the node stops.
pub(crate) async fn follow(cluster: Cluster, mut apply: impl FnMut(Option<&str>), stop: Stop) {
    let mut changes = cluster.changes();
    let mut applied: Option<String> = None;
    loop {
        let level = cluster.wanted().settings.get(LOG_LEVEL.name).cloned();
        if level != applied {
            apply(level.as_deref());
            tracing::info!(level, "the log level of the cluster");
            applied = level;
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = stop.requested() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::id::NodeId;
    use abide_placement::Wanted;

    #[tokio::test]
    async fn every_change_is_told_once() {
        let (cluster, stop) = (Cluster::new(NodeId(1), 1), Stop::default());
        let (sender, mut levels) = tokio::sync::mpsc::unbounded_channel();
        let apply = move |level: Option<&str>| sender.send(level.map(str::to_owned)).unwrap();
        let following = tokio::spawn(follow(cluster.clone(), apply, stop.clone()));
        for level in [Some("debug"), Some("debug"), None] {
            let settings = level.map(|level| ("log_level".to_owned(), level.to_owned())).into_iter().collect();
            cluster.set_wanted(Wanted { settings, ..Wanted::default() });
            tokio::task::yield_now().await;
        }
        assert_eq!(levels.recv().await, Some(Some("debug".to_owned())));
        assert_eq!(levels.recv().await, Some(None));
        stop.request();
        following.await.unwrap();
        assert_eq!(levels.recv().await, None);
    }
}
