mod card;
mod tab;
#[cfg(test)]
mod tests;
mod till;

use card::Card;
use tab::Tab;
use till::Till;

fn main() -> std::process::ExitCode {
    abide::Server::builder().bind::<Tab>().bind::<Till>().bind_with(|| Card::new("card.txt".into())).serve()
}
