//! Incidents and the notifications that they owe.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::crash::api::{Api, text};
use crate::crash::check::Standing;
use crate::crash::failure::Failure;
use crate::crash::ledger::{Incident, Ledger, Notification};
use crate::crash::receiver::{Receiver, told};
use crate::crash::world::CHANNELS;

impl Ledger {
    /// Reads the incidents that are new or have changed.
    pub(crate) async fn read_incidents(&mut self, api: &Api) -> Result<(), Failure> {
        let known = &self.incidents;
        let settled = |value: &Value| known.get(text(value, "/id")).is_some_and(|known| known.closed_at.is_some());
        let items = api.list("/api/incidents", |page| page.iter().all(settled)).await?;
        let mut fresh: Vec<Incident> = items.iter().map(Incident::read).collect();
        let seen: BTreeSet<&str> = items.iter().map(|value| text(value, "/id")).collect();
        let unsettled = known.values().filter(|incident| incident.closed_at.is_none());
        for incident in unsettled.filter(|incident| !seen.contains(incident.id.as_str())) {
            fresh.push(Incident::read(&api.look(&format!("/api/incidents/{}", incident.id)).await?));
        }
        for incident in fresh {
            if let Some(known) = self.incidents.get(&incident.id)
                && (known.opened_at != incident.opened_at || known.closed_at.is_some() && *known != incident)
            {
                return Err(Failure::broken("S8.4", format!("an incident changed from {known:?} to {incident:?}")));
            }
            self.incidents.insert(incident.id.clone(), incident);
        }
        Ok(())
    }

    /// Reads the notifications that are new.
    pub(crate) async fn read_notifications(&mut self, api: &Api) -> Result<(), Failure> {
        let known = &self.notifications;
        let reaches_back = |page: &[Value]| page.iter().any(|value| known.contains_key(text(value, "/id")));
        let items = api.list("/api/notifications", reaches_back).await?;
        for value in items.iter().rev() {
            let notification = Notification::read(value);
            if self.notifications.insert(notification.id.clone(), notification.clone()).is_none() {
                self.order.push(notification.id);
            }
        }
        Ok(())
    }

    /// One incident for each time of being down, and none for any other time (S8.4).
    pub(crate) fn check_incidents(
        &mut self,
        before: &BTreeMap<String, Standing>,
        after: &BTreeMap<String, Standing>,
    ) -> Result<(), Failure> {
        let mut by_monitor: BTreeMap<&str, Vec<&Incident>> = BTreeMap::new();
        for incident in self.incidents.values() {
            by_monitor.entry(&incident.slug).or_default().push(incident);
        }
        for (slug, incidents) in &mut by_monitor {
            incidents.sort_by_key(|incident| (incident.opened_at, incident.closed_at));
            for pair in incidents.windows(2) {
                let (earlier, later) = (pair[0], pair[1]);
                if earlier.closed_at.is_none() || earlier.closed_at > later.opened_at {
                    return Err(Failure::broken("S8.4", format!("{slug}: {earlier:?} overlaps {later:?}")));
                }
            }
        }
        let mut details = BTreeSet::new();
        for incident in self.incidents.values().filter(|incident| incident.cause == "failed") {
            if !details.insert(&incident.detail) {
                return Err(Failure::broken("S8.4", format!("two incidents for one failure: {incident:?}")));
            }
        }
        for (slug, standing) in before {
            if (standing.status == "down") == standing.incident.is_empty() {
                return Err(Failure::broken("S8.4", format!("{slug} and its incident disagree: {standing:?}")));
            }
            // What changed between the two looks is looked at next time.
            if after.get(slug) != Some(standing) {
                continue;
            }
            let incidents = by_monitor.get(slug.as_str()).map_or(&[][..], Vec::as_slice);
            let open: Vec<_> = incidents.iter().filter(|incident| incident.closed_at.is_none()).collect();
            let right = match open[..] {
                [] => standing.incident.is_empty(),
                [incident] => incident.id == standing.incident,
                _ => false,
            };
            if !right {
                return Err(Failure::broken("S8.4", format!("{slug} is {standing:?}, and open are {open:?}")));
            }
        }
        let opened: BTreeSet<&str> = self.incidents.values().filter_map(|i| i.detail.rsplit(' ').next()).collect();
        if let Some(message) = self.must_open.iter().find(|message| !opened.contains(message.as_str())) {
            return Err(Failure::broken(
                "S8.1",
                format!("the failure {message} was acknowledged and took nothing down"),
            ));
        }
        self.must_open.clear();
        Ok(())
    }

    /// Each incident is told once to each channel, and so are its end and every report (S7.2).
    pub(crate) fn check_notifications(&mut self) -> Result<(), Failure> {
        let mut told: HashMap<(&str, &str, &str), Vec<&str>> = HashMap::new();
        let mut reports: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for notification in self.notifications.values() {
            let Notification { id, kind, channel, incident, message, .. } = notification;
            if !incident.is_empty() {
                told.entry((incident, kind, channel)).or_default().push(id);
            }
            if kind == "monitor.report"
                && let Some((_, text)) = message.split_once("reports: ")
            {
                *reports.entry((text, channel)).or_default() += 1;
            }
        }
        for incident in self.incidents.values() {
            for channel in CHANNELS {
                let of = |kind| told.get(&(incident.id.as_str(), kind, channel)).map_or(0, Vec::len);
                let (down, recovered, closed) = (of("monitor.down"), of("monitor.recovered"), of("monitor.closed"));
                let ends = usize::from(incident.closing == "recovered");
                // Its end may have come after it was read.
                let ends_right = recovered == ends || incident.closed_at.is_none() && recovered <= 1;
                if down != 1 || !ends_right || closed != 0 {
                    let account = format!(
                        "{channel} is owed {down} × down, {recovered} × recovered, {closed} × closed of {incident:?}"
                    );
                    return Err(Failure::broken("S7.2", account));
                }
            }
        }
        for message in &self.must_tell {
            for channel in CHANNELS {
                let count = reports.get(&(message.as_str(), channel)).copied().unwrap_or(0);
                if count != 1 {
                    let account =
                        format!("the report {message} was acknowledged and is owed {count} times to {channel}");
                    return Err(Failure::broken("S7.2", account));
                }
            }
        }
        self.must_tell.clear();
        Ok(())
    }

    /// At the end: every notification is settled, the receiver got what was delivered and nothing else.
    pub(crate) async fn check_deliveries(
        &mut self,
        api: &Api,
        receiver: &Receiver,
        lane: &str,
    ) -> Result<Deliveries, Failure> {
        let items = api.list("/api/notifications", |_| false).await?;
        let states: HashMap<String, String> =
            items.iter().map(|value| (text(value, "/id").to_owned(), text(value, "/state").to_owned())).collect();
        for notification in self.notifications.values_mut() {
            match states.get(&notification.id) {
                Some(state) => notification.state.clone_from(state),
                None => return Err(Failure::broken("S7.2", format!("it is not stored any more: {notification:?}"))),
            }
            if !incident_is_known(&self.incidents, notification) {
                return Err(Failure::broken("S7.2", format!("its incident is not stored: {notification:?}")));
            }
        }
        let mut figures = Deliveries::default();
        for channel in CHANNELS {
            self.check_channel(receiver, lane, channel, &mut figures)?;
        }
        Ok(figures)
    }

    fn check_channel(
        &self,
        receiver: &Receiver,
        lane: &str,
        channel: &str,
        figures: &mut Deliveries,
    ) -> Result<(), Failure> {
        let broken = |account: String| Err(Failure::broken("S7.3", format!("{channel}: {account}")));
        let mut taken: HashMap<String, u64> = HashMap::new();
        let (mut first, mut refused, mut in_digests) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (mut unlisted, mut unlisted_refused) = (0, 0);
        for arrival in receiver.arrivals(lane, channel) {
            if !self.notifications.contains_key(&arrival.id) {
                return broken(format!("{} arrived and is not stored", arrival.id));
            }
            match arrival.status {
                204 => {
                    in_digests.extend(arrival.digest);
                    let times = taken.entry(arrival.id.clone()).or_default();
                    *times += 1;
                    if *times == 1 {
                        unlisted += arrival.unlisted;
                        first.push(arrival.id);
                    } else {
                        figures.duplicates += 1;
                    }
                }
                400 => {
                    refused.extend(arrival.digest);
                    unlisted_refused += arrival.unlisted;
                    refused.insert(arrival.id);
                }
                _ => {}
            }
        }
        for notification in self.notifications.values().filter(|notification| notification.channel == channel) {
            figures.owed += 1;
            let name = told(&notification.kind, &notification.incident, &notification.message);
            let (itself, in_digest) = (taken.contains_key(&notification.id), in_digests.contains(&name));
            match notification.state.as_str() {
                "delivered" if itself => figures.delivered += 1,
                "delivered" if in_digest => figures.grouped += 1,
                "dead" if refused.contains(&notification.id) || refused.contains(&name) => figures.dead += 1,
                // A long digest does not say which messages it counts beside those that it lists.
                "delivered" if unlisted > 0 => {
                    unlisted -= 1;
                    figures.grouped += 1;
                }
                "dead" if unlisted_refused > 0 => {
                    unlisted_refused -= 1;
                    figures.dead += 1;
                }
                _ => return broken(format!("it did not arrive: {notification:?}")),
            }
        }
        if channel == "each" { self.check_order(first.iter().filter(|id| !refused.contains(*id))) } else { Ok(()) }
    }

    /// The messages of one monitor arrive in the order in which they came to be owed (S7.3). One that the receiver refused
    /// holds nothing up; it may come again later where a kill came before its end was stored.
    fn check_order<'a>(&self, first: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
        let places: HashMap<&str, usize> = self.order.iter().enumerate().map(|(n, id)| (id.as_str(), n)).collect();
        let mut last: HashMap<&str, usize> = HashMap::new();
        for id in first {
            let Some(notification) = self.notifications.get(id).filter(|found| !found.slug.is_empty()) else {
                continue;
            };
            let place = places.get(id.as_str()).copied().unwrap_or_default();
            if let Some(before) = last.insert(&notification.slug, place)
                && before > place
            {
                return Err(Failure::broken("S7.3", format!("it arrived too late: {notification:?}")));
            }
        }
        Ok(())
    }
}

/// What became of the notifications of one server.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Deliveries {
    pub(crate) owed: u64,
    pub(crate) delivered: u64,
    pub(crate) grouped: u64,
    pub(crate) dead: u64,
    /// Arrivals of a notification that had been taken before.
    pub(crate) duplicates: u64,
}

fn incident_is_known(incidents: &HashMap<String, Incident>, notification: &Notification) -> bool {
    notification.incident.is_empty() || incidents.contains_key(&notification.incident)
}
