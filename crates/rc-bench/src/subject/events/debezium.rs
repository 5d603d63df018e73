//! Debezium Server, as its documentation runs it: PostgreSQL through a slot, the EventRouter, JetStream.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::procs::{Cores, Process};

use super::outbox::Outbox;

/// The stream that it makes.
pub(super) const STREAM: &str = "DebeziumStream";

/// The unpacked distribution.
#[derive(Debug)]
pub(super) struct Debezium {
    folder: PathBuf,
}

impl Debezium {
    pub(super) fn at(folder: &Path) -> Result<Self> {
        if !folder.join("run.sh").is_file() {
            return Err(Failure::new(format!(
                "{} has no `run.sh`: unpack `io.debezium:debezium-server-dist:3.0.8.Final:tar.gz` of Maven Central there",
                folder.display()
            )));
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
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
        // Its script reads `config` and `lib` of the folder it stands in.
        for part in ["lib", "run.sh"] {
            std::os::unix::fs::symlink(self.folder.join(part), state.join(part))?;
        }
        for entry in fs_err::read_dir(&self.folder)? {
            let entry = entry?;
            let jar = entry.path();
            if jar.extension().is_some_and(|extension| extension == "jar") {
                std::os::unix::fs::symlink(&jar, state.join(entry.file_name()))?;
            }
        }
        let script = format!("cd '{}' && exec sh ./run.sh", state.display());
        Process::start(Path::new("/bin/sh"), &["-c", &script], &Cores::all()?, log)
    }
}
