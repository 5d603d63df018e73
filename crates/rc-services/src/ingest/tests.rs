mod codes;
mod crash;
mod http;
mod world;
