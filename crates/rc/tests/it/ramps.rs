//! A rollout over the running platform: two versions of a small service, and who gets which.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::world::{World, eventually, told};

const CATALOG: &str = "services:
  gateway: {tier: gold, owner: platform}
  site:
    tier: bronze
    owner: web
    command: [sh, -c, 'cd site && exec python3 -m http.server \"$PORT\" --bind 127.0.0.1']
    routes: [{path: /hello}]
    versions: {v2: site-v2}
  site-v2:
    tier: bronze
    owner: web
    command: [sh, -c, 'cd site-v2 && exec python3 -m http.server \"$PORT\" --bind 127.0.0.1']
";

fn tenants(percent: u32) -> String {
    format!(
        "tenants:
  acme: {{tier: gold, demo: true}}
  globex: {{tier: gold}}
rollouts:
  site-v2: {{service: site, to: v2, percent: {percent}, pin: {{globex: stable}}}}
"
    )
}

struct Site {
    world: World,
    acme: String,
    globex: String,
}

impl Site {
    fn up() -> Self {
        let world = World::new();
        world.write("service-catalog.yaml", CATALOG);
        world.write("tenants.yaml", &tenants(0));
        world.write("site/hello/index.html", "one\n");
        world.write("site-v2/hello/index.html", "two\n");
        world.up();
        let (acme, globex) = (world.key("acme"), world.key("globex"));
        Self { world, acme, globex }
    }

    fn says(&self, key: &str) -> String {
        let answer = self.world.get("/hello/index.html", key);
        assert_eq!(answer.status, 200, "{answer:?}");
        String::from_utf8(answer.body).unwrap().trim().to_owned()
    }

    fn set(&self, more: &[&str]) -> std::process::Output {
        let args = [&["ramp", "set", "site-v2", "--reason", "a test"], more].concat();
        self.world.rc(&args)
    }

    /// What the gateway's socket answers.
    fn admin(&self, target: &str) -> Value {
        let socket = self.world.path().join(".royalcrown/run/gateway.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    fn ramp(&self) -> Value {
        self.world.json(&["ramp", "show", "site-v2"])["ramps"][0].clone()
    }
}

#[test]
fn a_weight_is_set_undone_kept_over_restarts_and_not_moved_by_a_reload() {
    let site = Site::up();
    let world = &site.world;
    assert_eq!(
        (site.says(&site.acme), site.says(&site.globex)),
        ("one".into(), "one".into())
    );
    assert_eq!(site.ramp()["owner"], "start");

    let set = site.set(&["--percent", "100"]);
    assert!(set.status.success(), "{}", told(&set));
    // The gateway that was asked has it at once.
    assert_eq!(
        (site.says(&site.acme), site.says(&site.globex)),
        ("two".into(), "one".into())
    );
    let ramp = site.ramp();
    assert_eq!(
        (&ramp["owner"], &ramp["generation"], &ramp["percent"]),
        (&"ramp".into(), &1.into(), &100.0.into())
    );

    eventually("each request is counted for its version and tenant", || {
        let report = site.admin("/-/counts?service=site");
        let mut counts = Vec::new();
        for count in report["seconds"]
            .as_array()?
            .iter()
            .flat_map(|second| second["counts"].as_array().unwrap())
        {
            let text = |name: &str| count[name].as_str().unwrap().to_owned();
            assert_eq!(count["begun"], count["outcomes"]["2xx"], "{count}");
            let begun = count["begun"].as_u64().unwrap();
            counts.extend((0..begun).map(|_| (text("version"), text("tenant"), text("route"))));
        }
        counts.sort();
        let wanted = [
            ("stable", "acme"),
            ("stable", "globex"),
            ("stable", "globex"),
            ("v2", "acme"),
        ]
        .map(|(version, tenant)| (version.to_owned(), tenant.to_owned(), "/hello".to_owned()));
        (counts == wanted).then_some(())
    });

    // Of two who saw the same, the second is refused.
    let late = site.set(&["--percent", "50", "--generation", "0"]);
    assert_eq!(late.status.code(), Some(1), "{}", told(&late));
    assert!(told(&late).contains("RC-GW-081"), "{}", told(&late));
    let nobody = world.rc(&["ramp", "set", "nobody", "--percent", "1", "--reason", "x"]);
    assert!(told(&nobody).contains("RC-GW-080"), "{}", told(&nobody));

    // A reload is seen by its other changes, and moves nothing.
    world.write(
        "tenants.yaml",
        &tenants(1).replace(
            "globex: {tier: gold}",
            "globex: {tier: gold}\n  hooli: {tier: gold}",
        ),
    );
    eventually("the files are reloaded", || {
        world
            .rc(&["tenant", "key", "create", "hooli"])
            .status
            .success()
            .then_some(())
    });
    assert_eq!(site.says(&site.acme), "two");
    assert_eq!(site.ramp()["percent_at_start"], 1.0);

    assert!(world.rc(&["down"]).status.success());
    world.up();
    assert_eq!(site.says(&site.acme), "two");

    world.ok(&["ramp", "undo", "site-v2", "--reason", "enough"]);
    assert_eq!(site.says(&site.acme), "one");
    let ramp = site.ramp();
    assert_eq!(
        (&ramp["generation"], &ramp["percent"], &ramp["reason"]),
        (&2.into(), &0.0.into(), &"enough".into())
    );

    // Both acts are evidence.
    eventually("the audit log has them", || {
        let log = world.json(&["audit", "log"]).to_string();
        (log.contains("ramp.set") && log.contains("ramp.undo")).then_some(())
    });
}
