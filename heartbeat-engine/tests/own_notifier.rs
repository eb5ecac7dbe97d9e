//! The notifier of docs/write-your-own-notifier.md keeps every promise, and the page shows what is compiled here.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "page/mod.rs"]
mod page;
#[path = "own_notifier/pager.rs"]
mod pager;

use std::sync::{Arc, Mutex};

use heartbeat_engine::NotificationId;
use heartbeat_engine::testing::{Behaviour, FarEnd, NotifierHarness};
use pager::Pager;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A pager as the tests start it.
#[derive(Clone)]
struct Station(Arc<Mutex<Seen>>);

struct Seen {
    behaviour: Behaviour,
    taken: Vec<NotificationId>,
    attempts: usize,
}

impl FarEnd for Station {
    fn behave(&self, behaviour: Behaviour) {
        self.0.lock().unwrap().behaviour = behaviour;
    }

    fn taken(&self) -> Vec<NotificationId> {
        self.0.lock().unwrap().taken.clone()
    }

    fn attempts(&self) -> usize {
        self.0.lock().unwrap().attempts
    }
}

impl Station {
    async fn serve(self, connection: TcpStream) {
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        if connection.read_line(&mut line).await.is_err() {
            return;
        }
        match self.judge(&line) {
            // Disconnect: the connection is dropped without a word.
            Some(answer) if answer.is_empty() => (),
            Some(answer) => drop(connection.write_all(format!("{answer}\n").as_bytes()).await),
            None => std::future::pending().await,
        }
    }

    /// What it says to a line; `None` when it hangs.
    fn judge(&self, line: &str) -> Option<String> {
        let mut seen = self.0.lock().unwrap();
        seen.attempts += 1;
        let password = line.split(' ').next().unwrap_or_default();
        match seen.behaviour {
            Behaviour::Accept => {
                seen.taken.push(line.split(' ').nth(1).unwrap().parse().unwrap());
                Some(format!("taken from {password}"))
            }
            Behaviour::Refuse => Some(format!("no such pager for {password}")),
            Behaviour::Hang => None,
            Behaviour::Disconnect => Some(String::new()),
            _ => Some(format!("later, {password}")),
        }
    }
}

struct Stations;

impl NotifierHarness for Stations {
    type Notifier = Pager;
    type FarEnd = Station;

    async fn start(&self) -> (Arc<Pager>, Station) {
        let seen = Seen { behaviour: Behaviour::Accept, taken: Vec::new(), attempts: 0 };
        let station = Station(Arc::new(Mutex::new(seen)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = station.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(connection));
            }
        });
        (Arc::new(Pager { address, password: "hunter2".to_owned() }), station)
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2".to_owned()]
    }
}

heartbeat_engine::notifier_suite!(Stations);

#[test]
fn the_page_shows_this_notifier_and_how_it_is_tested() {
    let page = page::Page::read("write-your-own-notifier.md");
    page.shows_whole(include_str!("own_notifier/pager.rs"));
    page.shows(include_str!("own_notifier.rs"));
    let promises = heartbeat_engine::testing::notifier_promises::<Stations>();
    page.names_only(&promises.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
