//! What is left in the outbox after many events: dead rows, and room on the disk.

use std::time::Duration;

use rc_test::Postgres;
use rc_test::nats::{Nats as Server, Sync};

use super::outbox::Outbox;
use super::{MOVE_MAX, Mover};
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Unit};
use crate::nats::Nats;
use crate::procs;
use crate::subject::Options;

/// The table of these figures.
const KEPT: &str = "The outbox on PostgreSQL after many events";

/// How long a row stays after it was relayed. It is looked at every half minute.
const KEEP: &str = "1s";
const RETAINED_MAX: Duration = Duration::from_secs(180);

/// Looks at it, each after as many events.
pub(super) const LOOKS: u64 = 5;

/// Rows of a partition, and partitions that may be there beside the one that is filled: those made ahead are empty.
const PART_ROWS: f64 = 1e6;
const PARTS_FULL_MAX: f64 = 2.0;

/// What those may take, at a kibibyte a row with its indexes. All rows of 10^7 events would take five times that.
const ROOM_MIB_MAX: f64 = PARTS_FULL_MAX * PART_ROWS / 1024.0;

pub(super) fn measure(
    options: &Options,
    server: &Postgres,
    events: u64,
    figures: &mut Figures,
) -> Result<()> {
    let nats = Server::start_own(Sync::Always, "");
    let outbox = Outbox::create(server, Mover::Ours)?;
    let log = options.scratch.join("kept.log");
    let relay = super::relay(options, &outbox, &nats, &["--outbox-keep", KEEP], &log)?;
    let ask = |sql: &str| -> Result<f64> {
        let told = server.ask(&outbox.database, sql);
        told.parse()
            .map_err(|_wrong| Failure::new(format!("PostgreSQL says `{told}`")))
    };
    let mut look = Nats::connect(nats.address())?;
    let rows = "SELECT count(*) FROM rc_events.outbox";
    let part = events / LOOKS;
    for number in 1..=LOOKS {
        crate::say(&format!("kept, {} of {events} events", number * part));
        outbox.fill((number - 1) * part..number * part)?;
        procs::wait_until(MOVE_MAX, "everything was relayed", || {
            Ok(look.last("bench") >= number * part)
        })?;
        procs::wait_until(RETAINED_MAX, "retention has dropped partitions", || {
            Ok(ask(rows)? < PART_ROWS * PARTS_FULL_MAX)
        })?;
        figures.push(KEPT, "events so far", Unit::Count, (number * part) as f64);
        figures.push(KEPT, "rows that are left", Unit::Count, ask(rows)?);
        let size = "SELECT sum(pg_total_relation_size(relid)) / 1048576.0 FROM pg_partition_tree('rc_events.outbox')";
        let figure = figures.push(KEPT, "room on the disk", Unit::Mebibytes, ask(size)?);
        figure.at_most(ROOM_MIB_MAX);
        figure.judged_by_worst();
        let dead = "SELECT coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables
                    WHERE schemaname = 'rc_events' AND relname LIKE 'outbox%' AND relname <> 'outbox_parked'";
        let name = "rows that were updated, deleted or are dead";
        let figure = figures.push(KEPT, name, Unit::Count, ask(dead)?);
        figure.at_most(0.0);
        figure.judged_by_worst();
    }
    relay.stop()?;
    outbox.forget(server);
    Ok(())
}
