mod codes;
mod http;
mod world;
