//! The supervisor over real child processes.

#[cfg(test)]
mod apply;
#[cfg(test)]
mod orphans;
#[cfg(test)]
mod output;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod supervise;
#[cfg(test)]
mod world;
