//! What people do about an incident: they acknowledge it (S7.7) and write notes.

use crate::step::Draft;
use crate::{Acknowledgement, Incident, IncidentId, IncidentNote, Timestamp, Version};

/// Why nothing was done about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CareError {
    /// It is over, or belongs to another monitor.
    #[error("the incident is over")]
    Over,
    /// It has [`Incident::NOTES_MAX`] notes.
    #[error("the incident has {} notes, and no more are kept", Incident::NOTES_MAX)]
    NotesFull,
}

/// Somebody's note about an incident, on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewNote {
    /// The incident.
    pub incident: IncidentId,
    /// Who, as they named themselves.
    pub by: String,
    /// The text.
    pub text: String,
    /// For an incident that is over: its stored form, and a version that the monitor's record had before that was read.
    pub stored: Option<Box<(Incident, Version)>>,
}

impl Draft<'_> {
    /// Says that somebody takes care of the open incident. Nobody is reminded of it from then on, and it does not
    /// escalate; the first acknowledgement stays.
    ///
    /// # Errors
    /// [`CareError::Over`] when that incident is not open; then only what was due has changed.
    pub fn acknowledge(&mut self, id: IncidentId, by: &str, now: Timestamp) -> Result<Incident, CareError> {
        self.advance(now);
        let incident = self.health.incident.as_mut().filter(|incident| incident.id == id).ok_or(CareError::Over)?;
        if incident.acknowledged.is_none() {
            incident.acknowledged = Some(Acknowledgement { at: now, by: by.to_owned() });
            let incident = (**incident).clone();
            self.health.pursuit.remind_at = None;
            self.health.pursuit.escalations.clear();
            self.note(self.health.state, now, now, format!("acknowledged by {by}"));
            self.keep_incident(incident.clone());
            return Ok(incident);
        }
        Ok((**incident).clone())
    }

    /// Adds a note to an incident, be it open or over.
    ///
    /// # Errors
    /// [`CareError::Over`] when it is not open and its stored form was not given, [`CareError::NotesFull`]; then only what
    /// was due has changed.
    pub fn annotate(&mut self, new: &NewNote, now: Timestamp) -> Result<Incident, CareError> {
        self.advance(now);
        let open = self.health.incident.as_mut().filter(|incident| incident.id == new.incident);
        let is_open = open.is_some();
        let stored = new.stored.as_deref().map(|(incident, _)| incident);
        let kept = self.incidents.iter().find(|incident| incident.id == new.incident).or(stored);
        let mut incident = open.as_deref().map(|open| &**open).or(kept).ok_or(CareError::Over)?.clone();
        if incident.notes.len() >= Incident::NOTES_MAX {
            return Err(CareError::NotesFull);
        }
        incident.notes.push(IncidentNote { at: now, by: new.by.clone(), text: new.text.clone() });
        self.keep_incident(incident.clone());
        if is_open {
            self.health.incident = Some(Box::new(incident.clone()));
        }
        Ok(incident)
    }
}
