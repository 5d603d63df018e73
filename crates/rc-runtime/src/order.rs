//! Who waits for whom, at the start and at the end. Pure functions over specs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rc_model::ServiceId;

use crate::spec::ServiceSpec;

/// Why a set of specs cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("service `{0}` is given twice")]
    Twice(ServiceId),
    #[error("service `{service}` needs `{needed}`, which does not exist")]
    Unknown { service: ServiceId, needed: ServiceId },
    #[error("services need each other in a circle: {}", join(.0))]
    Circle(Vec<ServiceId>),
    #[error("the supervisor is stopping")]
    Stopping,
}

fn join(ids: &[ServiceId]) -> String {
    ids.iter().map(ServiceId::as_str).collect::<Vec<_>>().join(" -> ")
}

/// Specs by name, checked: no name twice, every need exists, no circle.
pub(crate) type Specs = BTreeMap<ServiceId, ServiceSpec>;

/// Checks `specs` and indexes them.
pub(crate) fn check(specs: Vec<ServiceSpec>) -> Result<Specs, SpecError> {
    let mut by_id = Specs::new();
    for spec in specs {
        let id = spec.id.clone();
        if by_id.insert(id.clone(), spec).is_some() {
            return Err(SpecError::Twice(id));
        }
    }
    for spec in by_id.values() {
        if let Some(needed) = spec.needs.iter().find(|needed| !by_id.contains_key(*needed)) {
            return Err(SpecError::Unknown {
                service: spec.id.clone(),
                needed: needed.clone(),
            });
        }
    }
    let mut done = BTreeSet::new();
    for id in by_id.keys() {
        visit(id, &by_id, &mut Vec::new(), &mut done)?;
    }
    Ok(by_id)
}

fn visit(
    id: &ServiceId,
    specs: &Specs,
    path: &mut Vec<ServiceId>,
    done: &mut BTreeSet<ServiceId>,
) -> Result<(), SpecError> {
    if let Some(start) = path.iter().position(|on_path| on_path == id) {
        let mut circle = path[start..].to_vec();
        circle.push(id.clone());
        return Err(SpecError::Circle(circle));
    }
    if !done.insert(id.clone()) {
        return Ok(());
    }
    path.push(id.clone());
    for needed in &specs[id].needs {
        visit(needed, specs, path, done)?;
    }
    path.pop();
    Ok(())
}

/// Whether `id` needs `other`, directly or through others.
fn needs(id: &ServiceId, other: &ServiceId, specs: &Specs) -> bool {
    specs[id]
        .needs
        .iter()
        .any(|needed| needed == other || needs(needed, other, specs))
}

/// For each service, those that must have ended before it is stopped: the services that need it, and those
/// that it outlives.
pub(crate) fn stop_after(specs: &Specs) -> BTreeMap<ServiceId, BTreeSet<ServiceId>> {
    let mut after: BTreeMap<ServiceId, BTreeSet<ServiceId>> =
        specs.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
    for spec in specs.values() {
        for needed in &spec.needs {
            after.entry(needed.clone()).or_default().insert(spec.id.clone());
        }
    }
    for spec in specs.values() {
        for other in &spec.outlived_by {
            // Added edge by edge, and only where it closes no circle with the edges already there.
            if specs.contains_key(other)
                && other != &spec.id
                && !needs(other, &spec.id, specs)
                && !reaches(&spec.id, other, &after)
            {
                after.entry(other.clone()).or_default().insert(spec.id.clone());
            }
        }
    }
    after
}

/// Whether stopping `from` waits, directly or through others, for `to`.
fn reaches(from: &ServiceId, to: &ServiceId, after: &BTreeMap<ServiceId, BTreeSet<ServiceId>>) -> bool {
    after[from]
        .iter()
        .any(|next| next == to || reaches(next, to, after))
}

/// The longest time an orderly stop can take: the longest chain of services that wait for each other, with
/// `slack` for each.
pub(crate) fn stop_bound(
    specs: &Specs,
    after: &BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    slack: Duration,
) -> Duration {
    fn chain(
        id: &ServiceId,
        specs: &Specs,
        after: &BTreeMap<ServiceId, BTreeSet<ServiceId>>,
        slack: Duration,
        known: &mut BTreeMap<ServiceId, Duration>,
    ) -> Duration {
        if let Some(bound) = known.get(id) {
            return *bound;
        }
        let own = specs.get(id).map_or(Duration::ZERO, |spec| spec.drain) + slack;
        let before = after.get(id).into_iter().flatten();
        let longest = before.map(|other| chain(other, specs, after, slack, known)).max();
        let bound = own + longest.unwrap_or_default();
        known.insert(id.clone(), bound);
        bound
    }
    let mut known = BTreeMap::new();
    specs
        .keys()
        .map(|id| chain(id, specs, after, slack, &mut known))
        .max()
        .unwrap_or(slack)
}

#[cfg(test)]
pub(crate) mod tests;
