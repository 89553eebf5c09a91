//! What a path asks for (service protocol §4.1). Pure; borrows from the path unless a segment is percent-encoded.

use std::borrow::Cow;

use abide_sdk::service::Kind;
use percent_encoding::percent_decode_str;

/// What to do with an invocation's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Wait for it.
    Attach,
    /// Look whether it is there.
    Output,
}

/// A path understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/{service}[/{key}]/{handler}[/send]`, `/restate/call|send/…`.
    Invoke { service: Cow<'a, str>, key: Option<Cow<'a, str>>, handler: Cow<'a, str>, send: bool },
    /// `/restate/invocation/…`, `/restate/workflow/…`, `/restate/attach|output/{id}`.
    Result { of: Target<'a>, wait: Wait },
    /// `/restate/attach|output` with a target in the body.
    ResultByBody { wait: Wait },
    /// `/restate/lookup` with a target in the body.
    Lookup,
    /// `/restate/awakeables/{id}/resolve|reject`, `/restate/a/…`.
    Awakeable { id: Cow<'a, str>, resolve: bool },
    /// `/restate/invocation/{id}/signal/{name}`; not in the reference.
    Signal { id: Cow<'a, str>, name: Cow<'a, str> },
    /// `/restate/health`.
    Health,
}

/// Which invocation is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// By its id.
    Id(Cow<'a, str>),
    /// The one that an idempotency key names.
    Idempotent {
        service: Cow<'a, str>,
        key: Option<Cow<'a, str>>,
        handler: Cow<'a, str>,
        idempotency_key: Cow<'a, str>,
    },
    /// The run of a workflow.
    Workflow { name: Cow<'a, str>, key: Cow<'a, str> },
}

/// Why a path asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// Not one of the shapes; the text says which one was expected.
    Shape(&'static str),
    /// A segment is not UTF-8 once decoded.
    Encoding,
    /// It has the shape of an invocation, but the service is not bound.
    UnknownService(String),
}

const SHAPES: &str = "expected /{service}/{handler}[/send], /{object}/{key}/{handler}[/send] or /restate/…";
const KEYED: &str = "the service is an object: expected /{object}/{key}/{handler}[/send]";
const UNKEYED: &str = "the service has no keys: expected /{service}/{handler}[/send]";
const RESERVED: &str = "expected /restate/{call,send,invocation,workflow,attach,output,lookup,awakeables,a,health}/…";

/// More segments than any shape has.
const SEGMENTS_MAX: usize = 8;

/// Understands `path`. `kind` knows the bound services.
pub(super) fn parse(path: &str, kind: impl Fn(&str) -> Option<Kind>) -> Result<Route<'_>, PathError> {
    let path = path.strip_prefix('/').ok_or(PathError::Shape(SHAPES))?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut buffer = [""; SEGMENTS_MAX];
    let mut count = 0;
    for segment in path.split('/') {
        // An empty segment would be an empty name or key.
        if count == SEGMENTS_MAX || segment.is_empty() {
            return Err(PathError::Shape(SHAPES));
        }
        buffer[count] = segment;
        count += 1;
    }
    match &buffer[..count] {
        ["restate", rest @ ..] => reserved(rest, kind),
        segments => invoke(segments, None, kind),
    }
}

/// `send` is known from the prefix, or is the optional last segment.
fn invoke<'a>(
    segments: &[&'a str],
    send: Option<bool>,
    kind: impl Fn(&str) -> Option<Kind>,
) -> Result<Route<'a>, PathError> {
    let longest = if send.is_some() { 3 } else { 4 };
    if !(2..=longest).contains(&segments.len()) {
        return Err(PathError::Shape(SHAPES));
    }
    let service = decode(segments[0])?;
    let Some(kind) = kind(&service) else { return Err(PathError::UnknownService(service.into_owned())) };
    let (key, rest) = match kind {
        Kind::Service => (None, &segments[1..]),
        Kind::Object | Kind::Workflow => (Some(decode(segments[1])?), &segments[2..]),
    };
    let (handler, send) = match (rest, send) {
        ([handler], send) => (decode(handler)?, send.unwrap_or(false)),
        ([handler, "send"], None) => (decode(handler)?, true),
        _ => return Err(PathError::Shape(if kind.is_keyed() { KEYED } else { UNKEYED })),
    };
    Ok(Route::Invoke { service, key, handler, send })
}

fn reserved<'a>(segments: &[&'a str], kind: impl Fn(&str) -> Option<Kind>) -> Result<Route<'a>, PathError> {
    let wait = |text: &str| match text {
        "attach" => Some(Wait::Attach),
        "output" => Some(Wait::Output),
        _ => None,
    };
    let route = match *segments {
        ["call", ref rest @ ..] => return invoke(rest, Some(false), kind),
        ["send", ref rest @ ..] => return invoke(rest, Some(true), kind),
        ["health"] => Some(Route::Health),
        ["lookup"] => Some(Route::Lookup),
        [verb] => wait(verb).map(|wait| Route::ResultByBody { wait }),
        [verb, id] if wait(verb).is_some() => {
            let of = Target::Id(decode(id)?);
            wait(verb).map(|wait| Route::Result { of, wait })
        }
        ["awakeables" | "a", id, verb @ ("resolve" | "reject")] => {
            Some(Route::Awakeable { id: decode(id)?, resolve: verb == "resolve" })
        }
        ["workflow", name, key, verb] => {
            let of = Target::Workflow { name: decode(name)?, key: decode(key)? };
            wait(verb).map(|wait| Route::Result { of, wait })
        }
        ["invocation", id, "signal", name] => Some(Route::Signal { id: decode(id)?, name: decode(name)? }),
        ["invocation", ref target @ .., verb] => {
            let of = match *target {
                [id] => Some(Target::Id(decode(id)?)),
                [service, handler, idempotency_key] => Some(Target::Idempotent {
                    service: decode(service)?,
                    key: None,
                    handler: decode(handler)?,
                    idempotency_key: decode(idempotency_key)?,
                }),
                [service, key, handler, idempotency_key] => Some(Target::Idempotent {
                    service: decode(service)?,
                    key: Some(decode(key)?),
                    handler: decode(handler)?,
                    idempotency_key: decode(idempotency_key)?,
                }),
                _ => None,
            };
            of.zip(wait(verb)).map(|(of, wait)| Route::Result { of, wait })
        }
        _ => None,
    };
    route.ok_or(PathError::Shape(RESERVED))
}

fn decode(segment: &str) -> Result<Cow<'_, str>, PathError> {
    if segment.contains('%') {
        percent_decode_str(segment).decode_utf8().map_err(|_| PathError::Encoding)
    } else {
        Ok(Cow::Borrowed(segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(service: &str) -> Option<Kind> {
        match service {
            "Greeter" => Some(Kind::Service),
            "Counter" => Some(Kind::Object),
            _ => None,
        }
    }

    fn invoke<'a>(service: &'a str, key: Option<&'a str>, handler: &'a str, send: bool) -> Route<'a> {
        Route::Invoke { service: service.into(), key: key.map(Into::into), handler: handler.into(), send }
    }

    fn result(of: Target<'_>, wait: Wait) -> Route<'_> {
        Route::Result { of, wait }
    }

    #[test]
    fn paths_of_the_protocol() {
        let id = Target::Id("inv_1x".into());
        let unkeyed = Target::Idempotent {
            service: "Greeter".into(),
            key: None,
            handler: "hi".into(),
            idempotency_key: "i k".into(),
        };
        let keyed = Target::Idempotent {
            service: "Counter".into(),
            key: Some("k".into()),
            handler: "add".into(),
            idempotency_key: "i".into(),
        };
        let workflow = Target::Workflow { name: "W".into(), key: "k".into() };
        for (path, route) in [
            ("/Greeter/hi", invoke("Greeter", None, "hi", false)),
            ("/Greeter/hi/", invoke("Greeter", None, "hi", false)),
            ("/Greeter/hi/send", invoke("Greeter", None, "hi", true)),
            ("/Greeter/send", invoke("Greeter", None, "send", false)),
            ("/Greeter/send/send", invoke("Greeter", None, "send", true)),
            ("/Counter/k/add", invoke("Counter", Some("k"), "add", false)),
            ("/Counter/k/add/send", invoke("Counter", Some("k"), "add", true)),
            ("/Counter/k/send", invoke("Counter", Some("k"), "send", false)),
            ("/Counter/a%2Fb%20%C3%A9/add", invoke("Counter", Some("a/b é"), "add", false)),
            ("/Counter/%zz/add", invoke("Counter", Some("%zz"), "add", false)),
            ("/Counter/restate/add", invoke("Counter", Some("restate"), "add", false)),
            ("/restate/call/Greeter/hi", invoke("Greeter", None, "hi", false)),
            ("/restate/send/Counter/k/add", invoke("Counter", Some("k"), "add", true)),
            ("/restate/invocation/inv_1x/attach", result(id.clone(), Wait::Attach)),
            ("/restate/invocation/inv_1x/output/", result(id.clone(), Wait::Output)),
            ("/restate/invocation/Greeter/hi/i%20k/output", result(unkeyed, Wait::Output)),
            ("/restate/invocation/Counter/k/add/i/attach", result(keyed, Wait::Attach)),
            ("/restate/workflow/W/k/attach", result(workflow, Wait::Attach)),
            ("/restate/attach/inv_1x", result(id.clone(), Wait::Attach)),
            ("/restate/output/inv_1x", result(id, Wait::Output)),
            ("/restate/attach", Route::ResultByBody { wait: Wait::Attach }),
            ("/restate/output", Route::ResultByBody { wait: Wait::Output }),
            ("/restate/lookup", Route::Lookup),
            ("/restate/awakeables/sign_1/resolve", Route::Awakeable { id: "sign_1".into(), resolve: true }),
            ("/restate/a/sign_1/reject", Route::Awakeable { id: "sign_1".into(), resolve: false }),
            ("/restate/invocation/inv_1x/signal/a%20b", Route::Signal { id: "inv_1x".into(), name: "a b".into() }),
            ("/restate/invocation/inv_1x/signal/attach", Route::Signal { id: "inv_1x".into(), name: "attach".into() }),
            ("/restate/health", Route::Health),
        ] {
            assert_eq!(parse(path, kind), Ok(route), "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for (path, error) in [
            ("", PathError::Shape(SHAPES)),
            ("/", PathError::Shape(SHAPES)),
            ("//", PathError::Shape(SHAPES)),
            ("/Greeter", PathError::Shape(SHAPES)),
            ("*", PathError::Shape(SHAPES)),
            ("/Greeter/k/hi", PathError::Shape(UNKEYED)),
            ("/Greeter/hi/send/send", PathError::Shape(UNKEYED)),
            ("/Counter/add", PathError::Shape(KEYED)),
            ("/Counter//add", PathError::Shape(SHAPES)),
            ("/Counter/k/add/other", PathError::Shape(KEYED)),
            ("/Counter/k/add/send/more", PathError::Shape(SHAPES)),
            ("/1/2/3/4/5/6/7/8/9/10", PathError::Shape(SHAPES)),
            ("/Counter/%ff/add", PathError::Encoding),
            ("/Nobody/hi", PathError::UnknownService("Nobody".into())),
            ("/Nobody/k/hi/send", PathError::UnknownService("Nobody".into())),
            ("/restate/call/Counter/k/add/send", PathError::Shape(SHAPES)),
            ("/restate/call/Nobody/k/add", PathError::UnknownService("Nobody".into())),
            ("/restate", PathError::Shape(RESERVED)),
            ("/restate/", PathError::Shape(RESERVED)),
            ("/restate/scope/s/call/Greeter/hi", PathError::Shape(RESERVED)),
            ("/restate/invocation/inv_1x", PathError::Shape(RESERVED)),
            ("/restate/invocation/inv_1x/cancel", PathError::Shape(RESERVED)),
            ("/restate/invocation/a/b/attach", PathError::Shape(RESERVED)),
            ("/restate/a/x/other", PathError::Shape(RESERVED)),
            ("/restate/other/x", PathError::Shape(RESERVED)),
        ] {
            assert_eq!(parse(path, kind), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(path in ".{0,80}") {
            let _ = parse(&path, kind);
        }

        #[test]
        fn any_bytes_as_a_key_survive(bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
            let key = String::from_utf8_lossy(&bytes).into_owned();
            let path = format!("/Counter/{}/add", percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC));
            prop_assert_eq!(parse(&path, kind), Ok(invoke("Counter", Some(&key), "add", false)));
        }

        #[test]
        fn prefixes_and_segments_in_any_order(segments in proptest::collection::vec(
            prop_oneof![
                Just("restate"), Just("call"), Just("send"), Just("invocation"), Just("workflow"), Just("attach"),
                Just("output"), Just("a"), Just("resolve"), Just("Counter"), Just("Greeter"), Just("%f"), Just("")
            ], 0..10)) {
            let _ = parse(&format!("/{}", segments.join("/")), kind);
        }
    }
}
