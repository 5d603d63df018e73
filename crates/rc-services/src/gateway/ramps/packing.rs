//! Tenants for a part of the traffic: few differ as much in what they send as tenants do.

use std::collections::HashMap;

use rc_model::split::{BUCKETS, Rollout, Share, SplitBy, Weight, bucket};
use rc_model::{RolloutId, TenantId};

/// All tenants, with the requests that each sent lately.
pub type Traffic = HashMap<TenantId, u64>;

/// The tenants that make up `percent` of `traffic`, in the order in which they come; `None` where the rollout does not go
/// by traffic.
///
/// A growing part keeps whom it has and takes more while they fit, the largest first; a shrinking one gives back who
/// came last. Tenants with a pin or a share of their own are not moved by this and do not count. Tenants that send
/// nothing weigh as one request, so that a part of a quiet service is one of tenants.
pub(crate) fn pack(
    name: &RolloutId,
    rollout: &Rollout,
    weight: &Weight,
    percent: Share,
    traffic: &Traffic,
) -> Option<Vec<TenantId>> {
    if rollout.by != SplitBy::Traffic {
        return None;
    }
    let own = |tenant: &TenantId| rollout.pin.contains_key(tenant) || rollout.percent_of.contains_key(tenant);
    let weigh = |tenant: &TenantId| u128::from(traffic.get(tenant).copied().unwrap_or(0).max(1));
    let mut tenants: Vec<&TenantId> = traffic.keys().filter(|tenant| !own(tenant)).collect();
    // The same at every gateway, and by the rollout's name before the alphabet.
    tenants.sort_by_key(|tenant| (bucket(name, tenant, None), (*tenant).clone()));
    let mut members: Vec<TenantId> = match &weight.members {
        Some(members) => members
            .iter()
            .filter(|tenant| traffic.contains_key(*tenant) && !own(tenant))
            .cloned()
            .collect(),
        // Until now those in the part's buckets were.
        None => {
            let inside = tenants
                .iter()
                .filter(|tenant| bucket(name, tenant, None) < weight.percent.buckets());
            inside.map(|tenant| (*tenant).clone()).collect()
        }
    };
    if percent.is_all() {
        let others: Vec<TenantId> = tenants
            .into_iter()
            .filter(|tenant| !members.contains(tenant))
            .cloned()
            .collect();
        members.extend(others);
        return Some(members);
    }
    let all: u128 = tenants.iter().map(|tenant| weigh(tenant)).sum();
    let room = all * u128::from(percent.buckets()) / u128::from(BUCKETS);
    let mut used: u128 = members.iter().map(weigh).sum();
    if percent < weight.percent {
        while used > room
            && let Some(last) = members.pop()
        {
            used -= weigh(&last);
        }
        return Some(members);
    }
    tenants.sort_by_key(|tenant| std::cmp::Reverse(weigh(tenant)));
    let known: std::collections::HashSet<TenantId> = members.iter().cloned().collect();
    for tenant in tenants.into_iter().filter(|tenant| !known.contains(*tenant)) {
        if used + weigh(tenant) <= room {
            used += weigh(tenant);
            members.push(tenant.clone());
        }
    }
    Some(members)
}

#[cfg(test)]
mod tests;
