//! The open incident of a monitor that is down, as long as nobody has acknowledged it or noted anything.

use crate::{Cause, Circumstances, Incident, IncidentId, MonitorId, Timestamp};

use super::health::{read_time, write_time};
use super::{CompactError, Reader, write_bytes, write_number};

const CAUSES: [Cause; 4] = [Cause::Missed, Cause::Failed, Cause::Overrun, Cause::Value];

const INCIDENT: u8 = 1;
const REMIND: u8 = 2;

/// Whether there is anything that is written here.
pub(super) fn has_any(circumstances: &Circumstances) -> bool {
    circumstances.incident.is_some() || circumstances.pursuit.remind_at.is_some()
}

/// Whether all that a monitor is down with can be written here; the rest is rare.
pub(super) fn fits(circumstances: &Circumstances) -> bool {
    let Circumstances { incident, pursuit, flaps, .. } = circumstances;
    let fits = |incident: &Incident| {
        let Incident { closed_at, closing, acknowledged, notes, .. } = incident;
        closed_at.is_none() && closing.is_none() && acknowledged.is_none() && notes.is_empty()
    };
    incident.as_deref().is_none_or(fits)
        && pursuit.held.is_empty()
        && pursuit.escalations.is_empty()
        && flaps.is_empty()
}

pub(super) fn write(out: &mut Vec<u8>, circumstances: &Circumstances, base: i64) {
    let (incident, remind_at) = (&circumstances.incident, circumstances.pursuit.remind_at);
    let which = if incident.is_some() { INCIDENT } else { 0 } | if remind_at.is_some() { REMIND } else { 0 };
    out.push(which);
    if let Some(incident) = incident {
        write_incident(out, incident, base);
    }
    if let Some(remind_at) = remind_at {
        write_time(out, remind_at, base);
    }
}

/// The incident, and when people are reminded.
pub(super) fn read(
    reader: &mut Reader<'_>,
    base: i64,
) -> Result<(Option<Box<Incident>>, Option<Timestamp>), CompactError> {
    let which = reader.byte()?;
    if which & !(INCIDENT | REMIND) != 0 {
        return Err(CompactError::new("it has unknown circumstances"));
    }
    let incident = if which & INCIDENT != 0 { Some(Box::new(read_incident(reader, base)?)) } else { None };
    let remind_at = if which & REMIND != 0 { Some(read_time(reader, base)?) } else { None };
    Ok((incident, remind_at))
}

fn write_incident(out: &mut Vec<u8>, incident: &Incident, base: i64) {
    let Incident { id, monitor, opened_at, detected_at, cause, detail, told, held_by, .. } = incident;
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(monitor.as_bytes());
    write_time(out, *opened_at, base);
    write_time(out, *detected_at, opened_at.as_millis());
    out.push(CAUSES.iter().position(|known| known == cause).unwrap_or(0) as u8);
    write_bytes(out, detail.as_bytes());
    write_texts(out, told);
    write_texts(out, held_by);
}

fn read_incident(reader: &mut Reader<'_>, base: i64) -> Result<Incident, CompactError> {
    let (id, monitor) = (IncidentId::from_bytes(reader.array()?), MonitorId::from_bytes(reader.array()?));
    let opened_at = read_time(reader, base)?;
    let detected_at = read_time(reader, opened_at.as_millis())?;
    let cause = CAUSES.get(usize::from(reader.byte()?)).ok_or_else(|| CompactError::new("it has no cause"))?;
    Ok(Incident {
        id,
        monitor,
        opened_at,
        detected_at,
        closed_at: None,
        closing: None,
        cause: *cause,
        detail: reader.text()?,
        told: read_texts(reader)?,
        acknowledged: None,
        notes: Vec::new(),
        held_by: read_texts(reader)?,
    })
}

fn write_texts(out: &mut Vec<u8>, texts: &[String]) {
    write_number(out, texts.len() as u64);
    texts.iter().for_each(|text| write_bytes(out, text.as_bytes()));
}

fn read_texts(reader: &mut Reader<'_>) -> Result<Vec<String>, CompactError> {
    (0..reader.number()?).map(|_| reader.text()).collect()
}
