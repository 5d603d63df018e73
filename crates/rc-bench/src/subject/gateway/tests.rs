use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{Turn, steady};
use crate::load::{Arrivals, Class, Report};

/// A round in which nginx used so much and the gateway as much as ever.
fn round(nginx: f64) -> Vec<Turn> {
    let report = || Report {
        classes: vec![Class {
            latency_us: Histogram::new(3).unwrap(),
            statuses: BTreeMap::new(),
        }],
        completed: 0,
        seconds: 1.0,
        generator_cpu: 0.0,
        lateness_ns: Histogram::new(3).unwrap(),
        lost: 0,
        cut: 0,
    };
    [nginx, 9.0]
        .map(|micros| Turn {
            micros,
            report: report(),
        })
        .into()
}

#[test]
fn rounds_of_an_unsteady_machine_are_known_by_nginx() {
    let rounds: Vec<_> = [9.2, 8.0, 9.3, 9.0].map(round).into();
    assert_eq!(steady(&rounds, Arrivals::Saturation), [true, true, false, true]);
    assert_eq!(steady(&rounds, Arrivals::Rate(1.0)), [true; 4]);
}
