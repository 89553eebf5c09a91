use std::fs;
use std::path::Path;

use abide::prelude::*;
use abide::testing::{World, WorldBuilder, crash_at_every_commit};

use super::card::Card;
use super::tab::Tab;
use super::till::Till;

fn cafe(file: &Path) -> WorldBuilder {
    let file = file.to_owned();
    World::builder().bind::<Tab>().bind::<Till>().bind_with(move || Card::new(file.clone()))
}

async fn a_table_pays(world: World, file: &Path) {
    let _ = fs::remove_file(file);
    let table = world.client().object::<Tab>("7");
    table.order(450).await.unwrap();
    table.order(200).await.unwrap();
    let receipt = table.pay().await.unwrap();
    assert_eq!(table.total().await.unwrap(), 0);
    assert!(world.elapsed() >= Duration::from_secs(5));
    assert_eq!(fs::read_to_string(file).unwrap(), format!("{receipt} 650\n"));
}

#[test]
fn a_table_pays_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("card.txt");
    cafe(&file).run(async |world| a_table_pays(world, &file).await);
}

#[test]
fn a_table_pays_once_whatever_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("card.txt");
    crash_at_every_commit(|| cafe(&file), async |world| a_table_pays(world, &file).await);
}
