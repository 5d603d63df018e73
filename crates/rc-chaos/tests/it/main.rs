//! The short form of the suite: every combination under every kind of fault, and every mutation noticed.

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod parked;
#[cfg(test)]
mod power;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod world;
