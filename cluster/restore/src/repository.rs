//! Which cluster's snapshots are meant.

use std::sync::Arc;

use abide_snapshot::{ObjectStore, Repository};

use crate::RestoreError;

/// The ids of the clusters that a store has snapshots of; those whose description cannot be read are left out.
///
/// # Errors
/// All that a store may fail with.
pub async fn clusters(store: &dyn ObjectStore) -> Result<Vec<String>, RestoreError> {
    let found = Repository::clusters(store).await?;
    Ok(found.into_iter().filter_map(|(id, described)| described.ok().map(|_| id)).collect())
}

/// The snapshots of `cluster`, or of the only cluster there is.
///
/// # Errors
/// [`RestoreError::WhichCluster`] when there are none, or several and nobody said which; all that a store may fail with.
pub async fn open_cluster(store: Arc<dyn ObjectStore>, cluster: Option<&str>) -> Result<Repository, RestoreError> {
    let id = match cluster {
        Some(id) => id.to_owned(),
        None => only(&clusters(&*store).await?, &store.describe())?,
    };
    Ok(Repository::open(store, &id).await?)
}

fn only(found: &[String], place: &str) -> Result<String, RestoreError> {
    let reason = match found {
        [one] => return Ok(one.clone()),
        [] => format!("there are no snapshots in {place}; check the location"),
        several => {
            format!(
                "{place} has snapshots of {} clusters; choose one with `--cluster`: {}",
                several.len(),
                several.join(", ")
            )
        }
    };
    Err(RestoreError::WhichCluster { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cluster_needs_no_choice() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(only(&ids(&["a"]), "x").unwrap(), "a");
        assert_eq!(only(&[], "x").unwrap_err().code(), "RS003");
        let several = only(&ids(&["a", "b"]), "x").unwrap_err().to_string();
        assert!(several.ends_with("`--cluster`: a, b"), "{several}");
    }
}
