//! The far ends of channels: they take, fail, refuse, hang and lie.

use std::collections::HashMap;
use std::time::Duration;

use super::rng::Rng;
use super::world::World;
use crate::{DeliveryError, NotificationId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Fine,
    Slow,
    Fails,
    FailsOften,
    Refuses,
    Hangs,
    /// It takes what it gets, and says that it failed.
    Lies,
}

/// What a far end says of an attempt.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Said {
    Took,
    TookAndLied(DeliveryError),
    Failed(DeliveryError),
    Nothing,
}

pub(super) struct FarEnd {
    name: String,
    mood: Mood,
    /// How often it took what.
    pub(super) taken: HashMap<NotificationId, u32>,
    /// What it refused for good.
    pub(super) refused: HashMap<NotificationId, u32>,
}

impl FarEnd {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), mood: Mood::Fine, taken: HashMap::new(), refused: HashMap::new() }
    }

    /// Whether the far end of this channel is never in a bad mood.
    pub(super) const fn is_steady(channel: usize) -> bool {
        channel == 1
    }

    pub(super) fn calm_down(&mut self) {
        self.mood = Mood::Fine;
    }

    pub(super) fn hangs(&self) -> bool {
        self.mood == Mood::Hangs
    }

    pub(super) fn latency(&self, rng: &mut Rng) -> Duration {
        if self.mood == Mood::Slow { rng.millis(1000, 25_000) } else { rng.millis(5, 200) }
    }

    pub(super) fn receives(&mut self, id: NotificationId, rng: &mut Rng) -> Said {
        let said = match self.mood {
            Mood::FailsOften if rng.percent(50) => Said::Took,
            Mood::Fine | Mood::Slow => Said::Took,
            Mood::Fails | Mood::FailsOften => {
                let after = rng.percent(20).then(|| rng.secs(1, 120));
                Said::Failed(DeliveryError::Retry { reason: "busy".to_owned(), after, recipients_done: Vec::new() })
            }
            Mood::Refuses => Said::Failed(DeliveryError::refused("no such address")),
            Mood::Hangs => Said::Nothing,
            Mood::Lies if rng.percent(50) => Said::TookAndLied(DeliveryError::unknown("the connection broke")),
            Mood::Lies => Said::TookAndLied(DeliveryError::retry("said to have failed")),
        };
        match &said {
            Said::Took | Said::TookAndLied(_) => *self.taken.entry(id).or_default() += 1,
            Said::Failed(DeliveryError::Refused { .. }) => *self.refused.entry(id).or_default() += 1,
            Said::Failed(_) | Said::Nothing => {}
        }
        said
    }
}

impl World {
    pub(super) fn change_mood(&mut self, end: usize) {
        if FarEnd::is_steady(end) {
            return;
        }
        let moods =
            [Mood::Fine, Mood::Fine, Mood::Slow, Mood::Fails, Mood::FailsOften, Mood::Refuses, Mood::Hangs, Mood::Lies];
        let mood = *self.rng.pick(&moods);
        let far_end = &mut self.far_ends[end];
        far_end.mood = mood;
        let text = format!("{} is in this mood now: {mood:?}", far_end.name);
        self.tell(Default::default(), || text);
    }
}
