//! Who waits for an answer, by ticket.

use tokio::sync::oneshot;

use crate::evaluator::{Done, Refusal, Ticket};

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<Done, Refusal>>;

/// Callers that wait; a ticket is given again once it is answered.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    places: Vec<Option<Answer>>,
    free: Vec<usize>,
}

impl Waiting {
    /// Takes a caller and gives it a ticket.
    pub(super) fn admit(&mut self, answer: Answer) -> Ticket {
        let place = self.free.pop().unwrap_or(self.places.len());
        if place == self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(answer);
        place as Ticket
    }

    /// Gives the answer to who waits for it.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Result<Done, Refusal>) {
        let Ok(place) = usize::try_from(ticket) else { return };
        if let Some(waiting) = self.places.get_mut(place).and_then(Option::take) {
            self.free.push(place);
            // The caller may have gone away; what it asked is done all the same.
            let _ = waiting.send(answer);
        }
    }
}
