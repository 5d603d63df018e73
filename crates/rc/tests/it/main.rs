//! The built binary, as a user meets it: one file a command area, one scratch project a test.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod db;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod init;
#[cfg(test)]
mod nats;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod ramps;
#[cfg(test)]
mod real_documents;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod up;
#[cfg(test)]
mod world;
