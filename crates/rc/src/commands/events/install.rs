//! `rc events install`: an outbox in somebody's own database.

use rc_events::bus::postgres as bus;
use rc_events::outbox::postgres::{LAYOUT, layout};
use rc_events::outbox::{Grants, install_sql};
use rc_store::{Postgres, PostgresOptions};

use super::place::{End, Place, Typed, newer_outbox};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Make an outbox in a PostgreSQL database: its tables, and the functions that append an event
///
/// A service appends in the transaction that changes its own data, with `SELECT rc_events.append_event(...)` or with
/// the Rust crate `rc-outbox`; `rc events relay` moves what was committed. Installing again changes nothing, or
/// brings the functions to what this binary has.
///
/// With `--print` nothing is done, and the SQL goes to stdout: for who brings changes to a database in
/// another way.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: `postgres://user@host:port/database`; the user owns what is made
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    to: Option<Typed>,
    /// The schema of the outbox
    #[arg(long, value_name = "NAME", default_value = "rc_events")]
    schema: String,
    /// Let this role append and nothing else: the service's own
    #[arg(long, value_name = "ROLE")]
    writer: Option<String>,
    /// Let this role relay and nothing else: the one in the URLs of `rc events relay`
    #[arg(long, value_name = "ROLE")]
    relay: Option<String>,
    /// Make the tables of a bus in this database instead, for `rc events relay --to postgres://…`
    #[arg(long, conflicts_with_all = ["writer", "schema", "print"])]
    bus: bool,
    /// Let this role read the bus and say how far it is, and nothing else
    #[arg(long, value_name = "ROLE", requires = "bus")]
    reader: Option<String>,
    /// Print the SQL and do nothing
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    if args.print {
        cx.say(sql(&args)?.trim_end());
        return Ok(Outcome::Done);
    }
    let place = End::To.place(cx, args.to.as_ref())?;
    let Place::Postgres(_, url) = &place else {
        return Err(
            Fault::usage("RC-EVT-050", format!("{place} is no PostgreSQL database"))
                .hint("an outbox in SQLite is made by the crate `rc-outbox`; a stream of NATS makes itself")
                .into(),
        );
    };
    let failed = |error: rc_store::Error| {
        Fault::world(error.code(), format!("nothing could be made at {place}")).because(error)
    };
    if args.bus {
        let grants = bus::Grants {
            relay: args.relay.as_deref(),
            reader: args.reader.as_deref(),
        };
        let grants = grants.sql().map_err(name_fault)?;
        let options = PostgresOptions::new("rc events install", bus::SCHEMA);
        let db = Postgres::connect(url, &options).map_err(failed)?;
        let report = db.migrate(&bus::MIGRATIONS).await.map_err(failed)?;
        if !grants.is_empty() {
            let client = db.client().await.map_err(failed)?;
            client.simple(&grants).await.map_err(failed)?;
        }
        tell(
            cx,
            &place,
            bus::SCHEMA,
            !report.steps.is_empty() || !grants.is_empty(),
        );
        return Ok(Outcome::Done);
    }
    let sql = sql(&args)?;
    let schema: &'static str = args.schema.clone().leak();
    let options = PostgresOptions::new("rc events install", schema);
    let db = Postgres::connect(url, &options).map_err(failed)?;
    if let Some(found) = layout(&db).await.map_err(failed)?
        && found > LAYOUT
    {
        return Err(newer_outbox(&place, found).into());
    }
    let client = db.client().await.map_err(failed)?;
    client.simple(&sql).await.map_err(failed)?;
    tell(cx, &place, schema, true);
    if !cx.json() {
        cx.note(format!(
            "\nappend in your own transaction: `SELECT {schema}.append_event('acme', 'orders', 'o-1', 'order.paid.v1', '{{}}')`\n\
             then `rc events relay --from {place} --schema {schema} --to nats://HOST:4222`"
        ));
    }
    Ok(Outcome::Done)
}

fn sql(args: &Args) -> Result<String, Fault> {
    let grants = Grants {
        writer: args.writer.as_deref(),
        relay: args.relay.as_deref(),
    };
    install_sql(&args.schema, grants).map_err(name_fault)
}

fn name_fault(error: rc_events::Error) -> Fault {
    Fault::usage(error.code(), "a schema or a role cannot be called like that").because(error)
}

fn tell(cx: &Cx, place: &Place, schema: &str, changed: bool) {
    if cx.json() {
        cx.print_json(&serde_json::json!({ "to": place.to_string(), "schema": schema, "changed": changed }));
    } else if changed {
        cx.say(format!("schema `{schema}` is ready at {place}"));
    } else {
        cx.say(format!("schema `{schema}` was ready at {place}; nothing changed"));
    }
}
