mod codes;
mod crash;
mod http;
mod storage;
mod world;
