//! Forms of heartbeats and notifications that keep the bodies, which their own forms leave out.

/// For a list of heartbeats.
pub(super) mod pings {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::PingEntry;

    pub(crate) fn serialize<S: Serializer>(pings: &[PingEntry], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pings.iter().map(|ping| (ping, &ping.body)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PingEntry>, D::Error> {
        let pings = Vec::<(PingEntry, Option<Vec<u8>>)>::deserialize(deserializer)?;
        Ok(pings.into_iter().map(|(ping, body)| PingEntry { body, ..ping }).collect())
    }
}

/// For a list of notifications.
pub(super) mod notifications {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Notification;

    pub(crate) fn serialize<S: Serializer>(owed: &[Notification], serializer: S) -> Result<S::Ok, S::Error> {
        let body = |notification: &Notification| notification.ping.as_ref().and_then(|ping| ping.body.clone());
        serializer.collect_seq(owed.iter().map(|notification| (notification, body(notification))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Notification>, D::Error> {
        let mut owed = Vec::<(Notification, Option<Vec<u8>>)>::deserialize(deserializer)?;
        for (notification, body) in &mut owed {
            if let Some(ping) = &mut notification.ping {
                ping.body = body.take();
            }
        }
        Ok(owed.into_iter().map(|(notification, _)| notification).collect())
    }
}
