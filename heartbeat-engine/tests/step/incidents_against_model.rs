//! What is told of incidents against the same rules once more, slow and plain: every reminder is looked for instant by
//! instant, and flapping is counted over the whole past. Times are minutes.

use std::time::Duration;

use crate::common::{Job, every, midnight, ping};
use heartbeat_engine::step::{Edit, Event};
use heartbeat_engine::{FlapLimit, IncidentId, NotificationKind, Route, RouteSpec, Signal, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Happening {
    Fail,
    Success,
    Acknowledge,
    ParentDown,
    ParentUp,
    Look,
    Pause,
    Resume,
}

#[derive(Clone, Debug)]
struct Wish {
    remind_every: Option<u64>,
    /// After which time, and to whom.
    routes: Vec<(u64, &'static str)>,
    /// How many incidents within which time.
    flap_limit: Option<(usize, u64)>,
}

type Message = (u64, NotificationKind, String);

#[derive(Default)]
struct Incident {
    opened: u64,
    told: Vec<String>,
    /// Whom it is told to once no parent is down.
    withheld: Vec<String>,
    /// It waits for a parent, told already or not.
    waits: bool,
    escalations: Vec<(u64, &'static str)>,
    /// Nobody is reminded of what was due by then.
    heard: u64,
    acknowledged: bool,
}

#[derive(Default)]
struct Model {
    incident: Option<Incident>,
    paused: bool,
    parent_down: bool,
    /// When it went down without a parent being down, since it was steady last.
    downs: Vec<u64>,
    /// Whom flapping was told to.
    flapping: Option<Vec<String>>,
    changed: u64,
    messages: Vec<Message>,
}

impl Model {
    fn tell(&mut self, now: u64, kind: NotificationKind, channels: &[String]) {
        self.messages.extend(channels.iter().map(|channel| (now, kind, channel.clone())));
    }

    fn happen(&mut self, wish: &Wish, now: u64, happening: Happening) {
        if let Some((_, within)) = wish.flap_limit
            && self.flapping.is_some()
            && self.changed + within < now
        {
            self.settle(now);
        }
        match happening {
            Happening::Fail if self.incident.is_none() => {
                self.paused = false;
                self.go_down(wish, now);
            }
            Happening::Success => {
                self.paused = false;
                if let Some(incident) = self.incident.take() {
                    self.changed = now;
                    self.tell(now, NotificationKind::Recovered, &incident.told);
                }
            }
            Happening::Acknowledge => {
                if let Some(incident) = &mut self.incident {
                    incident.acknowledged = true;
                }
            }
            Happening::ParentDown => self.parent_down = true,
            Happening::ParentUp => self.parent_down = false,
            Happening::Pause if !self.paused => {
                self.paused = true;
                self.downs.clear();
                let told = self.incident.take().map(|incident| incident.told);
                if let Some(told) = self.flapping.take().or(told) {
                    self.tell(now, NotificationKind::Closed, &told);
                }
            }
            Happening::Resume => self.paused = false,
            Happening::Fail | Happening::Look | Happening::Pause => {}
        }
        self.look(wish, now);
    }

    fn go_down(&mut self, wish: &Wish, now: u64) {
        let mut told = vec!["ops".to_owned()];
        for (_, channel) in wish.routes.iter().filter(|route| route.0 == 0) {
            if !told.contains(&(*channel).to_owned()) {
                told.push((*channel).to_owned());
            }
        }
        let waiting = wish.routes.iter().filter(|route| route.0 > 0);
        let mut escalations: Vec<_> = waiting.map(|(after, channel)| (now + after, *channel)).collect();
        escalations.sort_by_key(|(due, _)| *due);
        let mut incident = Incident { opened: now, heard: now, escalations, ..Incident::default() };
        self.changed = now;
        if self.flapping.is_none() && self.parent_down {
            (incident.waits, incident.withheld) = (true, told);
        } else if self.flapping.is_none() {
            self.downs.push(now);
            let flaps = wish
                .flap_limit
                .is_some_and(|(count, within)| self.downs.iter().filter(|down| *down + within >= now).count() >= count);
            let kind = if flaps { NotificationKind::Flapping } else { NotificationKind::Down };
            self.tell(now, kind, &told);
            if flaps {
                self.flapping = Some(told);
            } else {
                incident.told = told;
            }
        }
        self.incident = Some(incident);
    }

    fn settle(&mut self, now: u64) {
        let told = self.flapping.take().unwrap();
        self.downs.clear();
        self.tell(now, NotificationKind::Settled, &told);
        if let Some(incident) = &mut self.incident {
            (incident.told, incident.heard) = (told, now);
        }
    }

    fn look(&mut self, wish: &Wish, now: u64) {
        let parent_down = self.parent_down;
        let Some(mut incident) = self.incident.take() else { return };
        let reminder = |incident: &Incident| {
            let every = wish.remind_every.unwrap_or(u64::MAX);
            let mut instants = (1..).map_while(|k: u64| k.checked_mul(every)?.checked_add(incident.opened));
            let awaited = !incident.acknowledged && !incident.told.is_empty();
            awaited && instants.find(|at| *at > incident.heard).is_some_and(|at| at < now)
        };
        let escalates = !incident.acknowledged && incident.escalations.iter().any(|(due, _)| *due < now);
        if self.flapping.is_some() {
            // Nothing single is told.
        } else if parent_down {
            incident.waits |= escalates || reminder(&incident);
        } else {
            if incident.waits && !incident.withheld.is_empty() {
                incident.told = std::mem::take(&mut incident.withheld);
                incident.heard = now;
                self.tell(now, NotificationKind::Down, &incident.told);
            }
            incident.waits = false;
            if !incident.acknowledged {
                let mut told_now: Vec<String> = Vec::new();
                let nobody_before = incident.told.is_empty();
                for (_, channel) in incident.escalations.extract_if(.., |(due, _)| *due < now) {
                    if !told_now.contains(&channel.to_owned()) {
                        told_now.push(channel.to_owned());
                    }
                }
                self.tell(now, NotificationKind::Escalated, &told_now);
                let reminded = !nobody_before && reminder(&incident);
                for channel in &told_now {
                    if !incident.told.contains(channel) {
                        incident.told.push(channel.clone());
                    }
                }
                if nobody_before && !told_now.is_empty() {
                    incident.heard = now;
                }
                if reminded {
                    let rest: Vec<String> =
                        incident.told.iter().filter(|channel| !told_now.contains(channel)).cloned().collect();
                    self.tell(now, NotificationKind::Reminder, &rest);
                    incident.heard = now;
                }
            }
        }
        self.incident = Some(incident);
    }
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn job(wish: &Wish) -> Job {
    let mut spec = every("300d", "1h");
    spec.remind_every = wish.remind_every.map(minutes);
    spec.flap_limit = wish
        .flap_limit
        .map(|(incidents, within)| FlapLimit { incidents: u32::try_from(incidents).unwrap(), within: minutes(within) });
    let mut job = Job::made("0:00", spec);
    let route = |(after, channel): &(u64, &str)| RouteSpec {
        severities: Vec::new(),
        tags: Vec::new(),
        causes: Vec::new(),
        channels: vec![(*channel).to_owned()],
        after: minutes(*after),
        declared_in: None,
    };
    let routes = wish.routes.iter().enumerate();
    job.routes = routes.map(|(n, wish)| Route { name: format!("route-{n}"), spec: route(wish) }).collect();
    job
}

fn live(job: &mut Job, at: Timestamp, happening: Happening) {
    let event = match happening {
        Happening::Fail => Event::Ping(Box::new(ping(Signal::Fail))),
        Happening::Success => Event::Ping(Box::new(ping(Signal::Success))),
        Happening::Acknowledge => {
            let open = job.record.health.incident.as_ref();
            let incident = open.map_or(IncidentId::from_bytes([0; 16]), |incident| incident.id);
            Event::Edit(Edit::Acknowledge { incident, by: "ann".to_owned() })
        }
        Happening::ParentDown | Happening::ParentUp | Happening::Look => Event::Wake,
        Happening::Pause => Event::Edit(Edit::Pause { manual_resume: false }),
        Happening::Resume => Event::Edit(Edit::Resume),
    };
    match happening {
        Happening::ParentDown => job.down_parents = vec!["parent".to_owned()],
        Happening::ParentUp => job.down_parents.clear(),
        _ => {}
    }
    job.event(at, &event);
}

fn wish() -> impl Strategy<Value = Wish> {
    let route = (prop_oneof![Just(0_u64), 1_u64..60], prop::sample::select(vec!["ops", "lead", "boss"]));
    (prop::option::of(1_u64..40), prop::collection::vec(route, 0..4), prop::option::of((2_usize..5, 1_u64..60)))
        .prop_map(|(remind_every, routes, flap_limit)| Wish { remind_every, routes, flap_limit })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        5 => Just(Happening::Fail),
        5 => Just(Happening::Success),
        1 => Just(Happening::Acknowledge),
        2 => Just(Happening::ParentDown),
        3 => Just(Happening::ParentUp),
        6 => Just(Happening::Look),
        1 => Just(Happening::Pause),
        1 => Just(Happening::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn what_is_told_of_incidents_is_what_the_plain_rules_say(
        wish in wish(),
        history in prop::collection::vec((1_u64..30, happening()), 1..50),
    ) {
        let mut model = Model::default();
        let mut job = job(&wish);
        let mut now = 0;
        for (gap, happening) in history {
            now += gap;
            model.happen(&wish, now, happening);
            live(&mut job, midnight() + minutes(now), happening);
        }
        let minute = |at: Timestamp| at.since(midnight()).as_secs() / 60;
        let mut told: Vec<Message> =
            job.notifications.iter().map(|n| (minute(n.created_at), n.kind, n.channel.clone())).collect();
        let key = |message: &Message| (message.0, message.1.wire_name(), message.2.clone());
        told.sort_by_key(key);
        model.messages.sort_by_key(key);
        prop_assert_eq!(told, model.messages);
        let incident = job.record.health.incident.as_ref();
        prop_assert_eq!(incident.map(|i| i.told.clone()), model.incident.as_ref().map(|i| i.told.clone()));
        prop_assert_eq!(incident.map(|i| !i.held_by.is_empty()), model.incident.as_ref().map(|i| i.waits));
    }
}
