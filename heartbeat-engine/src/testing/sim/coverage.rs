//! What happened in the worlds that were run, so that worlds in which nothing happens are noticed.

use std::fmt;

macro_rules! deeds {
    ($($deed:ident $name:literal,)*) => {
        /// Something that happened in a simulated world.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "their names say it")]
        pub enum Deed { $($deed,)* }

        impl Deed {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$deed,)*];

            /// Its name in words.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$deed => $name,)* }
            }
        }
    };
}

deeds! {
    Heartbeat "heartbeats sent",
    Acknowledged "heartbeats acknowledged",
    Refused "heartbeats refused",
    Unanswered "heartbeats without an answer",
    Duplicate "heartbeats sent twice",
    Claimed "heartbeats with the sender's time",
    Lost "reports lost",
    LostToOutage "reports lost to an outage",
    Commit "batches committed",
    Unavailable "writes refused by the store",
    UnknownWritten "writes without an answer, written",
    UnknownLost "writes without an answer, not written",
    Repeated "writes that arrived twice",
    Delayed "writes that took over a second",
    Fenced "writes fenced",
    Conflict "conflicts of versions",
    NameTaken "names that were taken",
    Crash "crashes",
    Stop "orderly stops",
    Nap "naps of a node",
    ClockForward "wall clocks set forward",
    ClockBack "wall clocks set back",
    StoreDown "stretches without the store",
    Weather "stretches with a failing store",
    Cut "nodes cut off from the store",
    TakeOver "partitions taken over",
    LeaseLost "leases lost",
    Leaves "partitions given up to others",
    Loaded "times that a node read all monitors",
    StrangersHeartbeat "heartbeats stored by a node that does not judge",
    StrangersConflict "conflicts of nodes that do not judge",
    StrangersOwed "owed notifications found in the store",
    FencedDecidedAnew "batches decided anew under another epoch",
    DoubtfulSettled "looks for doubtful notifications",
    HeldBack "notifications that waited for a round of news",
    NewsLate "news that came late",
    NewsMissed "news that were missed",
    Outage "outages of the watcher stored",
    Down "monitors gone down",
    Missed "incidents for silence",
    Failed "incidents for a failure told",
    Overrun "incidents for an overrun",
    Recovered "recoveries",
    BelowThreshold "failures below the threshold",
    FoundDead "dead jobs found",
    Edit "edits carried out",
    Pause "pauses",
    Window "windows announced or moved",
    WindowEnded "windows ended early",
    LostInWindow "reports left out in a window",
    InWindow "heartbeats in a window",
    Acknowledgement "acknowledgements",
    Note "notes",
    Held "goings down held back",
    Released "goings down told later",
    Reminder "reminders",
    Escalation "escalations",
    Flapping "monitors that began to flap",
    Settled "monitors that settled",
    Removal "removals",
    Attempt "attempts to deliver",
    AttemptFailed "attempts that failed",
    AttemptHung "attempts that hung",
    AttemptLied "attempts that arrived and were said to have failed",
    Delivered "notifications delivered",
    DeliveredAgain "notifications delivered again",
    Digest "digests delivered",
    Dead "notifications given up",
}

/// How often what happened.
#[derive(Clone, PartialEq, Eq)]
pub struct Coverage([u64; Deed::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Deed::ALL.len()])
    }
}

impl Coverage {
    /// How often this happened.
    #[must_use]
    pub fn count(&self, deed: Deed) -> u64 {
        self.0[deed as usize]
    }

    pub(super) fn note(&mut self, deed: Deed) {
        self.0[deed as usize] += 1;
    }

    /// Adds what happened in another world.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Deed> {
        Deed::ALL.iter().copied().filter(|deed| self.count(*deed) == 0).collect()
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Deed::ALL.iter().map(|deed| (deed.name(), self.count(*deed)))).finish()
    }
}
