//! A signup: a workflow that waits for somebody to follow the link in an e-mail, and for no longer than a day.

use abide::prelude::*;

/// How long the link is good for.
const LINK_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The promise that the link keeps.
const CONFIRMED: &str = "confirmed";

/// One signup, by the name that the user wishes to have. There is only one per name as long as it is remembered.
#[workflow(retention = "7d")]
pub struct Signup {
    status: SignupStatus,
}

/// How far a signup is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignupStatus {
    /// It has not begun.
    #[default]
    New,
    /// The link is on its way to this address.
    Mailed {
        /// The address.
        email: String,
    },
    /// There is an account.
    Done,
    /// The link was not followed in time.
    Expired,
}

#[handlers]
impl Signup {
    /// Mails a link and waits until it is followed; then there is an account. Answers what became of it.
    async fn run(&mut self, cx: &mut Flow, email: String) -> Result<SignupStatus, Terminal> {
        let name = cx.key();
        // Not a secret to guess: it is drawn once, and the same after every crash.
        let secret = format!("{:016x}", cx.random());
        let link = format!("/Signup/{name}/confirm with \"{secret}\"");
        cx.object::<Letterbox>(&email).deliver(format!("Welcome, {name}! To confirm, open {link}.")).send();
        self.status = SignupStatus::Mailed { email: email.clone() };
        cx.promise::<String>("secret").resolve(&secret).await?;
        let Ok(confirmed) = cx.timeout(LINK_TIME, cx.promise::<bool>(CONFIRMED)).await else {
            self.status = SignupStatus::Expired;
            // Whoever follows the link now is told that it is too late.
            cx.promise::<bool>(CONFIRMED).reject(410, "the link has expired").await?;
            return Ok(self.status.clone());
        };
        confirmed?;
        cx.object::<Letterbox>(&email).deliver(format!("You are in, {name}.")).send();
        self.status = SignupStatus::Done;
        Ok(self.status.clone())
    }

    /// What the link in the e-mail leads to.
    async fn confirm(&self, cx: &mut Flow, secret: String) -> Result<String, Terminal> {
        if cx.promise::<String>("secret").peek().await? != Some(secret) {
            return Err(Terminal::new(403, "this link is not ours"));
        }
        match cx.promise(CONFIRMED).resolve(&true).await {
            Ok(()) => Ok("confirmed".to_owned()),
            // Followed twice, or too late: the promise says which.
            Err(_) => cx.promise::<bool>(CONFIRMED).await.map(|_| "confirmed before".to_owned()),
        }
    }

    /// How far it is.
    fn status(&self, _cx: &Read) -> SignupStatus {
        self.status.clone()
    }
}

/// The letters that came to an address. It stands for a provider of e-mail, so that the sample needs none.
#[object]
pub struct Letterbox {
    letters: Vec<String>,
}

/// Most letters that are kept.
const LETTERS_MAX: usize = 20;

#[handlers]
impl Letterbox {
    /// Takes a letter; the oldest ones go when there are too many.
    #[handler(private)]
    fn deliver(&mut self, _cx: &mut Turn, letter: String) {
        self.letters.push(letter);
        let surplus = self.letters.len().saturating_sub(LETTERS_MAX);
        self.letters.drain(..surplus);
    }

    /// The letters, oldest first.
    fn letters(&self, _cx: &Read) -> Vec<String> {
        self.letters.clone()
    }
}
