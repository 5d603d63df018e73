use rc_events::contract;
use rc_test::Nats;

use super::*;

mod world;

use world::World;

rc_events::bus_contract!(World::shared());
