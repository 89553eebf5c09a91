//! The reminders, with a digest for Ada every morning.

use std::process::ExitCode;

use abide::{CatchUp, Schedule};
use samples::reminders::Reminders;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // At 7 in Berlin, in summer and in winter. A night's downtime costs no digest, a week's only all but one.
    let digest = Schedule::cron("digest-ada", "0 7 * * *")
        .zone("Europe/Berlin")
        .call("Reminders", "digest")
        .key("ada")
        .catch_up(CatchUp::One);
    abide::Server::builder()
        .bind::<Reminders>()
        .schedule(digest)
        .hint(|node| {
            let (url, admin) = (format!("http://{}", node.ingress()), format!("http://{}", node.admin()));
            format!(
                "\nTry:\n  \
                 curl {url}/Reminders/ada/remind --json '{{\"text\":\"water the plants\",\"in_seconds\":5}}'\n  \
                 curl {url}/Reminders/ada/open\n  \
                 curl {url}/Reminders/ada/rung\n  \
                 curl {admin}/schedules/digest-ada\n  \
                 curl {admin}/schedules/digest-ada/trigger -X PATCH\n  \
                 curl {url}/Reminders/ada/digests"
            )
        })
        .serve()
}
