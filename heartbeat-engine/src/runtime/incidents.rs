//! The engine's calls about incidents: acknowledgements and notes.

use crate::evaluator::{Refusal, Request};
use crate::runtime::directory::Target;
use crate::runtime::engine::{Engine, edit_error};
use crate::runtime::error::{EditError, Unavailable};
use crate::step::{CareError, Edit, NewNote};
use crate::{FieldError, HistoryItem, HistoryQuery, Incident, IncidentId, Version};

/// How often a note is tried while others write about the same incident.
const TRIES_MAX: usize = 8;
const NAME_CHARS_MAX: usize = 200;

impl Engine {
    /// Says that somebody, by the name `by`, takes care of an open incident: nobody is reminded of it from then on, and it
    /// does not escalate (S7.7, S7.8). The first acknowledgement stays; a further one changes nothing. Answers the incident.
    ///
    /// # Errors
    /// [`EditError::NotFound`] when there is no such incident, [`EditError::InUse`] when it is over,
    /// [`EditError::Invalid`] with the field `by`.
    pub async fn acknowledge(&self, incident: IncidentId, by: &str) -> Result<Incident, EditError> {
        let faults: Vec<FieldError> = name_fault(by).into_iter().collect();
        if !faults.is_empty() {
            return Err(EditError::Invalid(faults));
        }
        let found = self.stored_incident(incident).await?;
        if !found.is_open() {
            return Err(EditError::InUse(CareError::Over.to_string()));
        }
        let edit = Edit::Acknowledge { incident, by: by.to_owned() };
        match self.ask(Request::Edit(found.monitor, edit)).await? {
            Ok(done) => done.incident.map(|incident| *incident).ok_or(EditError::NotFound("incident")),
            Err(Refusal::NotFound) => Err(EditError::InUse(CareError::Over.to_string())),
            Err(refusal) => Err(edit_error(refusal)),
        }
    }

    /// Adds a note to an incident, be it open or over. Answers the incident.
    ///
    /// # Errors
    /// [`EditError::NotFound`] when there is no such incident, [`EditError::Invalid`] with the fields `by` and `text`,
    /// [`EditError::InUse`] when it has [`Incident::NOTES_MAX`] notes or its monitor was removed.
    pub async fn note(&self, incident: IncidentId, by: &str, text: &str) -> Result<Incident, EditError> {
        let faults: Vec<FieldError> = name_fault(by).into_iter().chain(text_fault(text)).collect();
        if !faults.is_empty() {
            return Err(EditError::Invalid(faults));
        }
        let mut found = self.stored_incident(incident).await?;
        let mut seen = None;
        let mut last = EditError::NotFound("incident");
        for _ in 0..TRIES_MAX {
            let stored = seen.filter(|_| !found.is_open()).map(|version| Box::new((found.clone(), version)));
            if found.is_open() || stored.is_some() {
                let note = NewNote { incident, by: by.to_owned(), text: text.to_owned(), stored };
                match self.ask(Request::Edit(found.monitor, Edit::Note(note))).await? {
                    Ok(done) => return done.incident.map(|incident| *incident).ok_or(last),
                    Err(Refusal::NotFound) => return Err(removed()),
                    Err(refusal @ (Refusal::Reread | Refusal::Incident(CareError::Over))) => last = edit_error(refusal),
                    Err(refusal) => return Err(edit_error(refusal)),
                }
            }
            // Whoever writes the incident after this version is found out when the note is decided.
            seen = Some(self.version_of(&found)?);
            found = self.stored_incident(incident).await?;
        }
        Err(last)
    }

    async fn stored_incident(&self, id: IncidentId) -> Result<Incident, EditError> {
        if !self.is_loaded() {
            return Err(Unavailable::Loading.into());
        }
        let page = self.shared.storage.history(&HistoryQuery::Incident(id), 1).await.map_err(Unavailable::from)?;
        match page.items.into_iter().next() {
            Some(HistoryItem::Incident(incident)) => Ok(incident),
            _ => Err(EditError::NotFound("incident")),
        }
    }

    fn version_of(&self, incident: &Incident) -> Result<Version, EditError> {
        self.find(Target::Id(incident.monitor)).map(|record| record.version).ok_or_else(removed)
    }
}

fn removed() -> EditError {
    EditError::InUse("the monitor of this incident was removed; nothing more is written about it".to_owned())
}

fn name_fault(by: &str) -> Option<FieldError> {
    let fits = (1..=NAME_CHARS_MAX).contains(&by.chars().count()) && !by.contains(char::is_control);
    let message = || format!("must have 1 to {NAME_CHARS_MAX} characters and no control character");
    (!fits || by.trim().is_empty()).then(|| FieldError::new("by", message()))
}

fn text_fault(text: &str) -> Option<FieldError> {
    if text.trim().is_empty() {
        return Some(FieldError::new("text", "is empty; write what others should know"));
    }
    let too_long = text.len() > Incident::NOTE_BYTES_MAX;
    too_long.then(|| {
        FieldError::new("text", format!("has {} bytes; at most {} are kept", text.len(), Incident::NOTE_BYTES_MAX))
    })
}
