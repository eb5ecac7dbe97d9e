//! Identifiers. Those of incidents and notifications derive from what they belong to, so that a retried write names
//! the same thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The identifier with these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// Reads the canonical hyphenated form (36 characters, any case).
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if text.len() != 36 {
                    return Err(ParseIdError);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError)
            }
        }
    };
}

uuid_id! {
    /// Names a monitor, for ever.
    MonitorId
}
uuid_id! {
    /// Names an incident. It derives from its monitor and the version of the monitor's record that opened it.
    IncidentId
}
uuid_id! {
    /// Names a notification; the same on every attempt to deliver it (S7.3).
    NotificationId
}
uuid_id! {
    /// Names one run of a job, as the job chose it (`rid`).
    RunId
}

/// The text is not a UUID in its canonical hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID such as 0b0e1c3c-8d1e-4c65-9d53-6fa1a2b3c4d5")]
pub struct ParseIdError;

/// A UUID of version 8 made of the SHA-256 of the parts, each preceded by its length.
fn derive(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The same for something of a monitor. It begins as the monitor's id does: what many monitors write at once lies in one
/// order, whatever it is named by, and a storage that takes it in that order writes neighbours together. It ends as the
/// monitor's id does: it belongs to the same partition.
fn derive_of(monitor: MonitorId, parts: &[&[u8]]) -> Uuid {
    const SHARED: usize = 6;
    let mut bytes = derive(parts).into_bytes();
    bytes[..SHARED].copy_from_slice(&monitor.as_bytes()[..SHARED]);
    bytes[PLACE_AT..].copy_from_slice(&monitor.as_bytes()[PLACE_AT..]);
    Uuid::from_bytes(bytes)
}

/// Where the part of an id begins that tells the partition. The last two bytes are random in every version of UUID.
const PLACE_AT: usize = 14;

const fn partition(place: [u8; 2], partitions: u16) -> PartitionId {
    let partitions = if partitions == 0 { 1 } else { partitions };
    PartitionId(u16::from_be_bytes(place) % partitions)
}

/// What tells the partition of a channel.
fn place_of_channel(channel: &str) -> [u8; 2] {
    let [.., high, low] = *derive(&[b"channel", channel.as_bytes()]).as_bytes();
    [high, low]
}

impl IncidentId {
    /// The incident that the `ordinal`-th change of `monitor` within its record's `version` opens.
    #[must_use]
    pub fn derive(monitor: MonitorId, version: Version, ordinal: usize) -> Self {
        let (version, ordinal) = (version.0.to_be_bytes(), (ordinal as u64).to_be_bytes());
        Self(derive_of(monitor, &[b"incident", monitor.as_bytes(), &version, &ordinal]))
    }
}

impl NotificationId {
    /// The notification to `channel` that the `ordinal`-th message of `monitor` within its record's `version` owes.
    #[must_use]
    pub fn derive(monitor: MonitorId, version: Version, ordinal: usize, channel: &str) -> Self {
        let (version, ordinal) = (version.0.to_be_bytes(), (ordinal as u64).to_be_bytes());
        let parts: [&[u8]; 5] = [b"notification", monitor.as_bytes(), &version, &ordinal, channel.as_bytes()];
        Self(derive_of(monitor, &parts))
    }

    /// The notification that these parts name, for messages that belong to no monitor.
    #[must_use]
    pub fn named(parts: &[&[u8]]) -> Self {
        let mut all: Vec<&[u8]> = vec![b"notification"];
        all.extend_from_slice(parts);
        Self(derive(&all))
    }

    /// The same in the partition of a channel.
    pub(crate) fn beside_channel(self, channel: &str) -> Self {
        self.placed(place_of_channel(channel))
    }

    /// The same in this partition.
    pub(crate) fn within(self, partition: PartitionId) -> Self {
        self.placed(partition.0.to_be_bytes())
    }

    fn placed(self, place: [u8; 2]) -> Self {
        let mut bytes = self.0.into_bytes();
        bytes[PLACE_AT..].copy_from_slice(&place);
        Self(Uuid::from_bytes(bytes))
    }
}

/// Counts the changes of a stored thing, from 1; a write names the version it was built on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of a thing that was just made.
    pub const FIRST: Self = Self(1);

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One share of the monitors; one node at a time works on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The partition of a monitor in a store that has so many; 0 counts as 1.
    ///
    /// ```
    /// use heartbeat_engine::{MonitorId, PartitionId};
    ///
    /// let id = MonitorId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    /// assert_eq!(PartitionId::of(id, 64), PartitionId(2));
    /// assert_eq!(PartitionId::of(id, 1), PartitionId(0));
    /// ```
    #[must_use]
    pub const fn of(monitor: MonitorId, partitions: u16) -> Self {
        let [.., high, low] = *monitor.as_bytes();
        partition([high, low], partitions)
    }

    /// The partition that keeps a notification: that of its monitor, where it has one.
    #[must_use]
    pub const fn of_notification(notification: NotificationId, partitions: u16) -> Self {
        let [.., high, low] = *notification.as_bytes();
        partition([high, low], partitions)
    }

    /// The partition whose owner has a channel's notifications delivered.
    #[must_use]
    pub fn of_channel(channel: &str, partitions: u16) -> Self {
        partition(place_of_channel(channel), partitions)
    }
}

/// Counts the holders of a partition's lease; a write with an older one is fenced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Names one stored ping: the `n`-th of its monitor, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PingId {
    /// The monitor.
    pub monitor: MonitorId,
    /// Its place among the pings of the monitor, from 1.
    pub n: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_depend_on_every_part() {
        let monitor = MonitorId::from_bytes([7; 16]);
        let id = NotificationId::derive(monitor, Version(3), 0, "ops");
        assert_eq!(id, NotificationId::derive(monitor, Version(3), 0, "ops"));
        assert_ne!(id, NotificationId::derive(monitor, Version(3), 1, "ops"));
        assert_ne!(id, NotificationId::derive(monitor, Version(4), 0, "ops"));
        assert_ne!(id, NotificationId::derive(monitor, Version(3), 0, "mail"));
        assert_ne!(NotificationId::named(&[b"ab", b"c"]), NotificationId::named(&[b"a", b"bc"]));
        assert_eq!(id.as_bytes()[..6], monitor.as_bytes()[..6], "in the order of monitors");
        assert_eq!(IncidentId::derive(monitor, Version(3), 0).as_bytes()[..6], [7; 6]);
        for partitions in [1, 2, 64, 1024] {
            let of_channel = PartitionId::of_channel("ops", partitions);
            assert_eq!(PartitionId::of_notification(id, partitions), PartitionId::of(monitor, partitions));
            assert_eq!(PartitionId::of_notification(id.beside_channel("ops"), partitions), of_channel);
            let last = PartitionId(partitions - 1);
            assert_eq!(PartitionId::of_notification(id.within(last), partitions), last);
        }
        assert_eq!(id.to_string().parse::<NotificationId>().unwrap(), id);
        assert!("0b0e1c3c8d1e4c659d536fa1a2b3c4d5".parse::<RunId>().is_err());
    }
}
