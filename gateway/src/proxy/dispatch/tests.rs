use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{Answer, StaticAnswer};

fn api(name: &str, host: Option<&str>, listen_path: &str) -> Arc<Api> {
    let answer = StaticAnswer { status: 200, body: "".into(), content_type: "text/plain".into() };
    Arc::new(Api {
        name: name.into(),
        host: host.map(Arc::from),
        listen_path: listen_path.into(),
        strip_listen_path: false,
        answer: Answer::Respond(answer),
        auth: None,
        limits: Vec::new(),
        shaping: crate::model::Shaping::default(),
        body: crate::model::BodyBound::default(),
        client_certificate: crate::model::Certificates::default(),
        request_total: None,
    })
}

#[test]
fn the_longest_listen_path_of_the_host_wins() {
    let apis = [
        api("root", None, "/"),
        api("orders", None, "/orders/"),
        api("deep", None, "/orders/eu/west"),
        api("shop", Some("shop.example"), "/orders"),
        api("v6", Some("[2001:db8::1]"), "/"),
    ];
    let routes = Routes::build(&apis);
    for (host, path, expected) in [
        ("a.example", "/", "root"),
        ("a.example", "/orders", "orders"),
        ("a.example", "/orders/", "orders"),
        ("a.example", "/orders/7?x=/orders/eu/west", "orders"),
        ("a.example", "/ordersX", "root"),
        ("a.example", "/orders/eu/west/1", "deep"),
        ("a.example", "/orders/eu/wes", "orders"),
        ("shop.example", "/orders/eu/west", "shop"),
        ("SHOP.Example.:8443", "/orders/7", "shop"),
        ("shop.example", "/other", "root"),
        ("[2001:db8::1]:80", "/orders", "v6"),
        ("", "/orders", "orders"),
    ] {
        let found = routes.find(host, path.split('?').next().unwrap()).map(|idx| &*apis[idx.0].name);
        assert_eq!(found, Some(expected), "{host} {path}");
    }
    assert_eq!(Routes::build(&apis[1..2]).find("a.example", "/x"), None);
}

#[test]
fn paths_that_mean_the_same_are_the_same() {
    for (path, expected) in [
        ("/deny/", "/deny/"),
        ("/x/../deny/", "/deny/"),
        ("/%64eny/", "/deny/"),
        ("/%64%65ny/", "/deny/"),
        ("//deny/", "/deny/"),
        ("/./deny/.", "/deny/"),
        ("/x/%2e%2E/deny/", "/deny/"),
        ("/../../deny/", "/deny/"),
        ("/x\\..\\deny/", "/deny/"),
        ("/deny", "/deny"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%", "/a%"),
        ("/a%zz", "/a%zz"),
        ("/", "/"),
        ("/..", "/"),
        ("/.hidden", "/.hidden"),
    ] {
        assert_eq!(normalise(path), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn normal_paths_stay_normal(path in "/[ -~]{0,40}") {
        let once = normalise(&path).into_owned();
        prop_assert!(once.starts_with('/'));
        prop_assert!(!once.split('/').any(|segment| segment == ".." || segment == "."));
    }
}
