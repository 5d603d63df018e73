//! No URL's secret is in what these commands print, log or serve.

use std::process::Command;

use rc_test::Nats;
use rc_test::nats::Sync;

use super::{Mover, append, postgres, until_relayed};
use crate::world::{World, told};

const SECRET: &str = "s3cr3t-of-the-url";

fn assert_silent(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what} shows the secret: {text}");
}

/// `url` with a password of its user.
fn with_password(url: &str) -> String {
    let (user, rest) = url.split_once('@').unwrap();
    format!("{user}:{SECRET}@{rest}")
}

#[test]
fn live_no_command_shows_a_password_whether_it_works_or_not() {
    let world = World::new();
    let database = super::shop(&world);
    let nats = Nats::start_own(
        Sync::Always,
        &format!("authorization {{ user: shop, password: \"{SECRET}\" }}"),
    );
    let from = with_password(&database.url);
    let plain = super::url_of(&nats, "secrets");
    let to = plain.replace("nats://", &format!("nats://shop:{SECRET}@"));
    append(&database, &["o-1"], 3);

    let moving = Mover::start(&world, &["relay", "--from", &from, "--to", &to]);
    until_relayed(&world, &from, &to, 3);
    let mut served = String::new();
    for path in ["/ready", "/metrics", "/health"] {
        served.push_str(&moving.http(path).unwrap().1);
    }
    nats.kill();
    append(&database, &["o-1"], 1);
    served.push_str(&moving.until_ready_says(503));
    nats.start_again();
    until_relayed(&world, &from, &to, 4);
    assert_silent("the relay's log", &moving.log());
    assert_silent("the relay's answers", &served);
    moving.end();

    // Wrong servers, wrong users, wrong forms; the same by the environment.
    let away = format!("postgres://shop:{SECRET}@127.0.0.1:1/shop");
    let nowhere = format!("postgres://shop:{SECRET}@127.0.0.1/no/such");
    let option = format!("postgres://shop@127.0.0.1:1/shop?password={SECRET}");
    let stranger = to.replace("shop:", "stranger:");
    let no_bus = format!("nats://shop:{SECRET}@127.0.0.1:1/shop?durability=perhaps");
    let token = format!("nats://{SECRET}@127.0.0.1:1/shop");
    let odd = format!("mysql://shop:{SECRET}@127.0.0.1/shop");
    let bare = format!("shop:{SECRET}@127.0.0.1");
    let ends: [(&str, &str); 9] = [
        (&from, &to),
        (&away, &to),
        (&nowhere, &to),
        (&option, &to),
        (&from, &stranger),
        (&from, &no_bus),
        (&from, &token),
        (&odd, &odd),
        (&bare, &bare),
    ];
    let commands: [&[&str]; 5] = [
        &["events", "status"],
        &["events", "verify"],
        &["events", "rebase", "--tenant", "acme"],
        &[
            "events", "relay", "--source", "table", "--tenant", "acme", "--table", "nothing",
        ],
        &["events", "capture", "--table", "nothing", "--tenant", "acme"],
    ];
    let mut runs: Vec<Command> = Vec::new();
    for (from, to) in ends {
        for command in commands {
            // These two run until they are ended; with what is wrong for ever they end by themselves.
            let stays = ["relay", "capture"].contains(&command[1]);
            let by_argument = world.command(&[command, &["--from", from, "--to", to]].concat());
            let mut by_variable = world.command(command);
            by_variable.env("RC_EVENTS_FROM", from).env("RC_EVENTS_TO", to);
            if stays {
                runs.push(limited(&by_argument));
            } else {
                runs.extend([by_argument, by_variable]);
            }
        }
        runs.push(world.command(&["events", "install", "--to", from]));
        runs.push(world.command(&["events", "install", "--bus", "--to", from, "--output", "json"]));
    }
    for mut run in runs {
        let output = run.output().unwrap();
        assert_silent(&format!("{:?}", run.get_args().next()), &told(&output));
    }
    assert!(postgres().ask(&database, "SELECT 1") == "1");
}

/// The same command, ended after two seconds.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited
        .args(["-s", "KILL", "2"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap());
    limited
}
