//! Known bugs, switched on by a test to see that the simulator finds them. They live at the seams of the code that ships,
//! never in it.

macro_rules! mutants {
    ($($(#[$doc:meta])* $mutant:ident $name:literal,)*) => {
        /// A known bug.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Mutant { $($(#[$doc])* $mutant,)* }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutant,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name,)* }
            }
        }
    };
}

mutants! {
    /// The store takes writes under the epoch of an earlier holder.
    SkipFence "skip-fence",
    /// A heartbeat is answered when it is decided, before it is stored.
    ReplyBeforeDurable "reply-before-durable",
    /// A write that failed is treated as done: nothing that was built on it is taken back.
    DropUnwind "drop-unwind",
    /// A heartbeat that claims an earlier time pulls the deadline back.
    PullBack "pull-back",
    /// A deadline that passed while nobody held the lease is forgotten when somebody takes over.
    ForgetDeadline "forget-deadline",
    /// A notification goes out when it is decided, before it is stored.
    NotifyBeforeCommit "notify-before-commit",
    /// An outage of a job opens a second incident.
    TwoIncidents "two-incidents",
    /// The watcher's own outages excuse nothing.
    NoAmnesty "no-amnesty",
    /// An outage excuses what is awaited for ever.
    AmnestyForEver "amnesty-for-ever",
    /// A delivery that failed is settled as delivered.
    SettleFailed "settle-failed",
    /// What was owed before a start is not read from the store.
    OutboxNotLoaded "outbox-not-loaded",
    /// Every attempt to deliver has an id of its own.
    NewIdPerAttempt "new-id-per-attempt",
    /// Heartbeats are stamped when they are processed, not when they arrive.
    StampLate "stamp-late",
    /// An outage is applied, and not stored.
    OutageNotStored "outage-not-stored",
    /// A conflict of versions is treated as a commit.
    ConflictIsCommit "conflict-is-commit",
    /// A write without an answer is treated as not written.
    UnknownIsUnwritten "unknown-is-unwritten",
    /// The messages of a monitor go out in any order.
    OrderIgnored "order-ignored",
    /// A recovery is told to nobody.
    RecoveryUntold "recovery-untold",
    /// The mark of the watcher's life is never stored.
    MarkNotStored "mark-not-stored",
    /// A record is written without the notifications that it owes.
    TornWrite "torn-write",
    /// An answer says that a write was done, and a crash soon after undoes it.
    LostTail "lost-tail",
    /// While one channel hangs, no other delivers.
    HangBlocksAll "hang-blocks-all",
    /// A recovery is told to a channel that was not told of the going down.
    RecoveryToldToAll "recovery-told-to-all",
    /// The clock that was set back is not noticed.
    SetBackUnseen "set-back-unseen",
    /// The version of a record is not compared.
    NoCompareAndSwap "no-compare-and-swap",
    /// A deadline is judged although heartbeats that were stamped before wait in the inbox.
    JudgeBeforeInbox "judge-before-inbox",
    /// Maintenance windows change nothing.
    WindowIgnored "window-ignored",
    /// Maintenance windows do not end.
    WindowForEver "window-for-ever",
    /// A going down that is held back is told.
    HeldTold "held-told",
    /// A going down that was held back stays so for ever.
    HeldForEver "held-for-ever",
    /// People are reminded although somebody acknowledged.
    ReminderAfterAcknowledgement "reminder-after-acknowledgement",
    /// People are reminded twice at once.
    ReminderTwice "reminder-twice",
    /// Reminders are planned, and never told.
    ReminderDropped "reminder-dropped",
    /// A route that waits tells of what is over.
    EscalationAfterRecovery "escalation-after-recovery",
    /// A route that waits does not wait.
    EscalationAtOnce "escalation-at-once",
    /// Nobody hears that a monitor has settled.
    SettledUntold "settled-untold",
    /// Single changes are told while a monitor flaps.
    FlappingTold "flapping-told",
    /// A node that does not hold the lease judges silence too.
    StrangersJudge "strangers-judge",
    /// What other nodes wrote is not heard.
    NewsIgnored "news-ignored",
    /// What another node's write came to owe is not looked for.
    StrangersOwedIgnored "strangers-owed-ignored",
    /// A batch that was fenced is treated as a commit.
    FencedIsCommit "fenced-is-commit",
    /// Only the holder of the first partition stores marks of life.
    MarksByHolderAlone "marks-by-holder-alone",
}

impl Mutant {
    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}
