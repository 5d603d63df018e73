//! Debezium Server, as its documentation runs it: PostgreSQL through a slot, the EventRouter, JetStream.

use std::net::SocketAddr;
use std::path::Path;

use crate::failure::{Failure, Result};
use crate::procs::{Cores, Process};

use super::outbox::Outbox;

/// The stream that it makes.
pub(super) const STREAM: &str = "DebeziumStream";

/// The unpacked distribution.
#[derive(Debug)]
pub(super) struct Debezium {
    /// What Java loads from it.
    classes: String,
}

impl Debezium {
    pub(super) fn at(folder: &Path) -> Result<Self> {
        for entry in fs_err::read_dir(folder)? {
            let jar = entry?.path();
            // As in its `run.sh`, which wants to stand in a folder with its state.
            if jar.to_string_lossy().ends_with("-runner.jar") {
                let classes = format!("{}:{}/lib/*", jar.display(), folder.display());
                return Ok(Self { classes });
            }
        }
        Err(Failure::new(format!(
            "{} is not an unpacked Debezium Server: `cargo xtask setup --debezium` fetches one",
            folder.display()
        )))
    }

    /// Starts it with a state of its own below `scratch`.
    pub(super) fn start(
        &self,
        scratch: &Path,
        postgres: SocketAddr,
        outbox: &Outbox,
        nats: SocketAddr,
        log: &Path,
    ) -> Result<Process> {
        let state = scratch.join(format!("debezium-{}", outbox.database.name));
        fs_err::create_dir_all(state.join("config"))?;
        let database = &outbox.database.name;
        fs_err::write(
            state.join("config/application.properties"),
            format!(
                "debezium.sink.type=nats-jetstream\n\
                 debezium.sink.nats-jetstream.url=nats://{nats}\n\
                 debezium.sink.nats-jetstream.create-stream=true\n\
                 debezium.sink.nats-jetstream.subjects=outbox.event.>\n\
                 debezium.sink.nats-jetstream.storage=file\n\
                 debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
                 debezium.source.offset.storage.file.filename={offsets}\n\
                 debezium.source.database.hostname={host}\n\
                 debezium.source.database.port={port}\n\
                 debezium.source.database.user=postgres\n\
                 debezium.source.database.password=none\n\
                 debezium.source.database.dbname={database}\n\
                 debezium.source.topic.prefix=bench\n\
                 debezium.source.plugin.name=pgoutput\n\
                 debezium.source.slot.name={database}\n\
                 debezium.source.table.include.list=public.outbox\n\
                 debezium.transforms=outbox\n\
                 debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter\n\
                 quarkus.http.port=0\n\
                 quarkus.log.level=WARN\n",
                offsets = state.join("offsets").display(),
                host = postgres.ip(),
                port = postgres.port(),
            ),
        )?;
        // It reads `config` of the folder that it runs in.
        let script = format!(
            "cd '{}' && exec java -cp '{}' io.debezium.server.Main",
            state.display(),
            self.classes
        );
        Process::start(Path::new("/bin/sh"), &["-c", &script], &Cores::all()?, log)
    }
}
