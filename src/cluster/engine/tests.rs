use super::*;

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

fn stream(entries: Vec<Value>) -> Value {
    Value::Array(vec![Value::Array(vec![bulk("key"), Value::Array(entries)])])
}

fn raw_entry(id: &str, fields: &[&str]) -> Value {
    Value::Array(vec![bulk(id), Value::Array(fields.iter().copied().map(bulk).collect())])
}

#[test]
fn entries_are_read_in_any_order_of_fields() {
    let answer = stream(vec![raw_entry("7-0", &["b", "frames", "x", "y", "p", "before", "t", "tag"])]);
    let head = Head { place: 7, tag: b"tag".into() };
    let expected = Entry { head, before: b"before".into(), frames: b"frames".into() };
    assert_eq!(entries(answer).unwrap(), [expected]);
    assert!(entries(Value::Nil).unwrap().is_empty());
}

#[test]
fn entry_of_another_kind_is_at_no_place() {
    for id in ["7-1", "1700000000000-3", "7"] {
        let [entry] = &entries(stream(vec![raw_entry(id, &["message", "hi"])])).unwrap()[..] else {
            panic!("one entry")
        };
        assert_eq!((entry.head.place, entry.frames.len()), (0, 0));
    }
}

#[test]
fn answers_of_another_form_are_malformed() {
    let bad = [
        Value::Okay,
        Value::Array(Vec::new()),
        Value::Array(vec![Value::Nil]),
        stream(vec![Value::Nil]),
        stream(vec![Value::Array(vec![bulk("7-0")])]),
        stream(vec![Value::Array(vec![Value::Int(7), Value::Array(Vec::new())])]),
        stream(vec![raw_entry("x-0", &[])]),
    ];
    for answer in bad {
        assert!(matches!(entries(answer.clone()), Err(Trouble::Malformed)), "{answer:?}");
    }
}

#[test]
fn log_without_entries_has_no_head() {
    let answer = |place: Value, tag: Value| head(Value::Array(vec![place, tag]));
    assert_eq!(answer(Value::Nil, Value::Nil).unwrap(), Head::default());
    assert_eq!(answer(bulk("7"), bulk("a")).unwrap(), Head { place: 7, tag: b"a".into() });
    assert!(matches!(answer(bulk("x"), bulk("a")), Err(Trouble::Malformed)));
    assert!(matches!(answer(bulk("7"), Value::Nil), Err(Trouble::Malformed)));
    assert!(matches!(head(Value::Array(Vec::new())), Err(Trouble::Malformed)));
}

#[test]
fn only_a_master_is_an_engine() {
    let role = |name: &str| check_role(&Value::Array(vec![bulk(name), Value::Int(0)]));
    assert!(role("master").is_ok());
    for other in ["slave", "sentinel"] {
        assert!(matches!(role(other), Err(Trouble::Replica)), "{other}");
    }
    assert!(matches!(check_role(&Value::Okay), Err(Trouble::Malformed)));
}

#[test]
fn server_must_be_new_enough_and_must_not_evict() {
    let check = |version: &str, policy: &str| {
        let info = format!("# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory_policy:{policy}\r\n");
        check_info(&info).map_err(|trouble| trouble.to_string())
    };
    for version in ["6.2.0", "6.10.1", "7.0.15", "255.255.255"] {
        assert_eq!(check(version, "noeviction"), Ok(()), "{version}");
    }
    for version in ["6.0.16", "5.0.14", "2.8", "unknown"] {
        assert!(check(version, "noeviction").unwrap_err().contains("needs 6.2 or later"), "{version}");
    }
    for policy in ["allkeys-lru", "volatile-ttl"] {
        assert!(check("7.0.15", policy).unwrap_err().contains("CONFIG SET maxmemory-policy noeviction"), "{policy}");
    }
    assert!(matches!(check_info("no fields"), Err(Trouble::Malformed)));
}
