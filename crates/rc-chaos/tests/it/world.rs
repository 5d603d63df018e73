//! What every test here needs.

use std::path::PathBuf;

use rc_chaos::run::{Options, Outcome};
use rc_chaos::world::Combination;

/// A short run of `combination`.
pub(crate) fn options(combination: Combination, folder: &std::path::Path) -> Options {
    Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_rc-chaos")),
        folder: folder.to_owned(),
        combination,
        seed: 20_261_121,
        events: 3_000,
        faults: 0,
        rate: 1_500,
        payload_bytes: 300,
        batch: 20,
        oversize: false,
        poison: false,
        prune: false,
        only: None,
        mutations: Vec::new(),
        drain_time: rc_chaos::run::DRAIN_TIME_MAX,
        disk: false,
        sync: true,
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(rc_chaos::run::run(options)).unwrap()
}
