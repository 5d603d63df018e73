//! Exchanges with a live gateway over real sockets.

#[cfg(test)]
mod ambiguity;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod desync;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod h2_raw;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod resilience;
#[cfg(test)]
mod seats;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod spans;
#[cfg(test)]
mod stampede;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod versions;
