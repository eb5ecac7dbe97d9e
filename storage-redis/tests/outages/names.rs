//! Reservations of slugs and tokens.

use heartbeat_engine::testing::fixtures::{batch, create, monitor_id, next, record, replace};
use heartbeat_engine::{Name, Outcome, Record, Storage};

use super::support::{Server, until};
use super::{commit, make, open};

/// All names lie in one place.
const ONE_PARTITION: &str = "partitions=1";

/// What somebody leaves who reserved a slug for the `n`-th monitor and ended before its record was written.
fn leave_reservation(server: &Server, slug: &str, n: u64, age_ms: f64) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let (seconds, micros): (f64, f64) = redis::cmd("TIME").query(&mut connection).unwrap();
    let made_at = seconds * 1000.0 + (micros / 1000.0).floor() - age_ms;
    let reservation = [&monitor_id(n).as_bytes()[..], &1_f64.to_be_bytes(), &made_at.to_be_bytes()].concat();
    let field = format!("s{slug}");
    let _: () = redis::cmd("HSET")
        .arg("{heartbeat:names-0}:reserved")
        .arg(field)
        .arg(reservation)
        .query(&mut connection)
        .unwrap();
}

fn reserved(server: &Server) -> usize {
    server.ask(&["HLEN", "{heartbeat:names-0}:reserved"]).unwrap()
}

#[tokio::test]
async fn a_reservation_without_a_record_holds_for_a_minute() {
    let server = Server::start();
    let storage = open(&server.url(), ONE_PARTITION).await;
    leave_reservation(&server, "monitor-1", 9, 61_000.0);
    make(&storage, 1).await;
    assert_eq!(storage.find(&Name::Slug("monitor-1".into())).await.unwrap(), Some(monitor_id(1)));

    leave_reservation(&server, "monitor-2", 9, 1_000.0);
    let taken = Outcome::NameTaken { field: "slug" };
    assert_eq!(commit(&storage, &batch([create(&record(2))])).await, Ok(taken.clone()));
    assert_eq!(storage.find(&Name::Slug("monitor-2".into())).await.unwrap(), None, "nobody has it yet");
    assert_eq!(reserved(&server), 3, "the token of the second monitor is free again");

    // However old it is: whose record has the name keeps it.
    leave_reservation(&server, "monitor-1", 1, 1e9);
    let rival = next(&record(3), |monitor, _| monitor.spec.slug = "monitor-1".into());
    let rival = Record { version: record(3).version, ..rival };
    assert_eq!(commit(&storage, &batch([create(&rival)])).await, Ok(taken));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_monitors_that_want_a_slug_at_once_one_gets_it() {
    let server = Server::start();
    let (one, two) = (open(&server.url(), ONE_PARTITION).await, open(&server.url(), ONE_PARTITION).await);
    for round in 0..50 {
        let wanting = |n: u64| {
            let mut record = record(n);
            std::sync::Arc::make_mut(&mut record.monitor).spec.slug = format!("wanted-{round}").into();
            record
        };
        let (first, second) = (wanting(2 * round + 1), wanting(2 * round + 2));
        let batches = (batch([create(&first)]), batch([create(&second)]));
        let (a, b) = tokio::join!(commit(&one, &batches.0), commit(&two, &batches.1));
        let winner = match (a.unwrap(), b.unwrap()) {
            (Outcome::Committed, Outcome::NameTaken { field: "slug" }) => first.clone(),
            (Outcome::NameTaken { field: "slug" }, Outcome::Committed) => second.clone(),
            other => panic!("{other:?}"),
        };
        let found = one.find(&Name::Slug(format!("wanted-{round}"))).await.unwrap();
        assert_eq!(found, Some(winner.id()));
        let stored = two.load(&[first.id(), second.id()]).await.unwrap();
        assert_eq!(stored.into_iter().flatten().collect::<Vec<_>>(), [winner]);
    }
    until("each winner to have two names", || reserved(&server) == 100);
}

#[tokio::test]
async fn a_name_is_free_once_its_monitor_has_another() {
    let server = Server::start();
    let storage = open(&server.url(), ONE_PARTITION).await;
    let first = make(&storage, 1).await;
    let renamed = next(&first, |monitor, _| monitor.spec.slug = "elsewhere".into());
    assert_eq!(commit(&storage, &batch([replace(&renamed)])).await, Ok(Outcome::Committed));
    let heir = next(&record(2), |monitor, _| monitor.spec.slug = "monitor-1".into());
    let heir = Record { version: record(2).version, ..heir };
    assert_eq!(commit(&storage, &batch([create(&heir)])).await, Ok(Outcome::Committed));
    for (slug, owner) in [("monitor-1", 2), ("elsewhere", 1)] {
        assert_eq!(storage.find(&Name::Slug(slug.into())).await.unwrap(), Some(monitor_id(owner)));
    }
    assert_eq!(reserved(&server), 4);
}
