//! A signup: a workflow that waits for somebody to follow the link in an e-mail, and for no longer than a day.

use abide::prelude::*;

/// How long the link is good for.
const LINK_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The promise that has the secret in the link.
const SECRET: &str = "secret";
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
        // Drawn in a step, from the operating system: `cx.random` follows from the id, which others may know.
        let secret = cx.run("draw a secret", || async { Ok(format!("{:016x}", getrandom::u64()?)) }).await?;
        cx.promise::<String>(SECRET).resolve(&secret).await?;
        let link = format!("/Signup/{name}/confirm with \"{secret}\"");
        cx.object::<Letterbox>(&email).deliver(format!("Welcome, {name}! To confirm, open {link}.")).send();
        self.status = SignupStatus::Mailed { email: email.clone() };
        self.status = if self.is_confirmed(cx).await? {
            cx.object::<Letterbox>(&email).deliver(format!("You are in, {name}.")).send();
            SignupStatus::Done
        } else {
            SignupStatus::Expired
        };
        Ok(self.status.clone())
    }

    /// What the link in the e-mail leads to.
    async fn confirm(&self, cx: &mut Flow, secret: String) -> Result<String, Terminal> {
        if cx.promise::<String>(SECRET).peek().await? != Some(secret) {
            return Err(Terminal::new(403, "this link is not ours"));
        }
        match cx.promise(CONFIRMED).resolve(&true).await {
            Ok(()) => Ok("confirmed".to_owned()),
            // Followed twice, or too late: the promise says which.
            Err(refused) if refused.code == 409 => {
                cx.promise::<bool>(CONFIRMED).await.map(|_| "confirmed before".to_owned())
            }
            Err(error) => Err(error),
        }
    }

    /// How far it is.
    fn status(&self, _cx: &Read) -> SignupStatus {
        self.status.clone()
    }
}

impl Signup {
    /// Waits until the link is followed, or has expired.
    async fn is_confirmed(&self, cx: &Flow) -> Result<bool, Terminal> {
        if let Ok(confirmed) = cx.timeout(LINK_TIME, cx.promise(CONFIRMED)).await {
            return confirmed;
        }
        // Whoever follows the link from now on is told that it is too late.
        match cx.promise::<bool>(CONFIRMED).reject(410, "the link has expired").await {
            Ok(()) => Ok(false),
            // It was followed at the last moment, and who did was told that it counts.
            Err(refused) if refused.code == 409 => Ok(true),
            Err(error) => Err(error),
        }
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
