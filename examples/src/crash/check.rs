//! After a start: are the heartbeats there, and is everything else as it was promised?

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::crash::api::{Api, text};
use crate::crash::beats::{Beat, Fate};
use crate::crash::failure::Failure;
use crate::crash::ledger::{Ledger, Stored};
use crate::crash::world::{Role, World};

/// So many heartbeats of a monitor are kept at least; no more may be sent between two checks.
const KEPT: usize = 100;

/// A monitor as a list of them tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: String,
    pub(crate) incident: String,
    pub(crate) ping_count: u64,
}

impl Ledger {
    /// Compares what a server says with what it promised. Nothing may be sent to it meanwhile.
    ///
    /// # Errors
    /// The first broken promise.
    pub async fn check(&mut self, api: &Api, world: &World) -> Result<(), Failure> {
        let before = standings(api).await?;
        self.check_beats(api, &before).await?;
        self.read_incidents(api).await?;
        self.read_notifications(api).await?;
        let after = standings(api).await?;
        self.check_incidents(&before, &after)?;
        self.check_notifications()?;
        for (slug, _) in world.of(&[Role::Steady]) {
            if self.incidents_of(slug) > 0 {
                let incidents: Vec<_> = self.incidents.values().filter(|incident| incident.slug == *slug).collect();
                return Err(Failure::broken("S8.2", format!("{slug} never failed and went down: {incidents:?}")));
            }
        }
        Ok(())
    }

    async fn check_beats(&mut self, api: &Api, standings: &BTreeMap<String, Standing>) -> Result<(), Failure> {
        let mut sent: BTreeMap<String, HashMap<String, Beat>> = BTreeMap::new();
        for beat in std::mem::take(&mut self.sent) {
            sent.entry(beat.slug.clone()).or_default().insert(beat.message.clone(), beat);
        }
        for (slug, beats) in sent {
            let stored =
                beats.values().filter(|beat| matches!(beat.fate, Fate::Acknowledged | Fate::Unanswered)).count();
            if stored > KEPT {
                return Err(Failure::Harness(format!("{stored} heartbeats of {slug} since the last check")));
            }
            let pings = api.list(&format!("/api/monitors/{slug}/pings"), |_| true).await?;
            let count = standings.get(&slug).map_or(0, |standing| standing.ping_count);
            self.check_monitor(&slug, &beats, &pings, count)?;
        }
        for (slug, standing) in standings {
            let known = self.stored.get(slug).map_or(0, |stored| stored.count);
            if standing.ping_count != known {
                let account = format!("{slug} has {} heartbeats, and {known} are known", standing.ping_count);
                return Err(Failure::broken("S8.3", account));
            }
        }
        Ok(())
    }

    /// Every acknowledged heartbeat is there once, no refused one is, and those that were found before are still the same.
    fn check_monitor(
        &mut self,
        slug: &str,
        beats: &HashMap<String, Beat>,
        pings: &[Value],
        count: u64,
    ) -> Result<(), Failure> {
        let stored = self.stored.entry(slug.to_owned()).or_default();
        let broken = |account: String| Err(Failure::broken("S8.3", format!("{slug}: {account}")));
        let mut newest = BTreeMap::new();
        let mut found = HashMap::new();
        for ping in pings {
            let (n, message) = (ping["n"].as_u64().unwrap_or_default(), text(ping, "/message"));
            newest.insert(n, message.to_owned());
            if n <= stored.count {
                if stored.newest.get(&n).is_some_and(|known| known != message) {
                    return broken(format!("heartbeat {n} was {:?} and is {message}", stored.newest.get(&n)));
                }
                continue;
            }
            let Some(beat) = beats.get(message) else { return broken(format!("{message} ({n}) was not sent")) };
            if beat.signal != text(ping, "/signal") {
                return broken(format!("{message} was sent as {} and is {}", beat.signal, text(ping, "/signal")));
            }
            if let Some(other) = found.insert(message, n) {
                return broken(format!("{message} is stored twice, as {other} and {n}"));
            }
        }
        for (message, beat) in beats {
            let there = found.contains_key(message.as_str());
            match beat.fate {
                Fate::Acknowledged if !there => {
                    let account = format!("{message} was acknowledged and is lost; {} are stored of it", found.len());
                    return broken(account);
                }
                Fate::Refused(status) if there => {
                    return broken(format!("{message} was answered {status} and is stored"));
                }
                Fate::Refused(status) if status != 429 => return broken(format!("{message} was answered {status}")),
                Fate::Unanswered | Fate::Unavailable if there => self.found_unanswered += 1,
                _ => {}
            }
        }
        let fresh = found.len() as u64;
        if count != stored.count + fresh {
            return broken(format!("it counts {count} heartbeats; {} were there and {fresh} came", stored.count));
        }
        let acknowledged = beats.values().filter(|beat| beat.fate == Fate::Acknowledged).count();
        self.found += acknowledged as u64;
        *stored = Stored { count, newest };
        Ok(())
    }
}

/// All monitors as they are now.
pub(crate) async fn standings(api: &Api) -> Result<BTreeMap<String, Standing>, Failure> {
    let monitors = api.list("/api/monitors", |_| false).await?;
    let standing = |monitor: &Value| Standing {
        status: text(monitor, "/status").to_owned(),
        incident: text(monitor, "/incident/id").to_owned(),
        ping_count: monitor["ping_count"].as_u64().unwrap_or_default(),
    };
    Ok(monitors.iter().map(|monitor| (text(monitor, "/slug").to_owned(), standing(monitor))).collect())
}
