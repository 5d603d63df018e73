//! Exchanges with a live gateway over real sockets.

mod basics;
mod bodies;
mod faults;
mod h2_raw;
mod limits;
mod reload;
mod smuggling;
mod support;
mod tls;
