//! What is said over the control socket: one line of JSON asks, one line answers.
//!
//! A request is `{"v":1,"cmd":"stats"}`, with the command's fields beside `cmd`. An answer is `{"v":1,"ok":{...}}` or
//! `{"v":1,"error":{"code":"...","message":"..."}}`. What stands in `ok` is a type of observe::report. How the lines travel
//! is not here (socket).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// The version of the protocol. Changes when a known request or answer changes its meaning, not when something is added.
pub const VERSION: u64 = 1;

/// Flows listed if nothing is said.
pub const DEFAULT_FLOWS_LIMIT: u32 = 100;

/// Flows listed in one answer at most.
pub const MAX_FLOWS_LIMIT: u32 = 10_000;

/// How long a drain waits at most, in milliseconds: an hour.
pub const MAX_DRAIN_TIMEOUT_MS: u64 = 3_600_000;

/// How many seconds can be looked back at: what the server keeps.
pub const MAX_WHY_SECONDS: u64 = 60;

/// How long a server profiles itself at least and at most, in milliseconds.
pub const PROFILE_MS: std::ops::RangeInclusive<u64> = 100..=600_000;

/// One of so many turns at most is timed stage by stage.
pub const MAX_PROFILE_EVERY: u32 = 10_000;

/// One of so many turns is timed stage by stage if nothing is said.
pub const DEFAULT_PROFILE_EVERY: u32 = 8;

/// The names that a flow's state can have (RFC 9293 3.3.2); LISTEN and CLOSED have no flow.
pub const STATES: [&str; 9] = [
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
];

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole report; answered with `Stats`.
    Stats {},
    /// What is known of the last minutes; answered with `Past`.
    History {},
    /// Single flows; answered with `Flows`.
    Flows(FlowsRequest),
    /// Take over changed listeners; answered with `Reloaded`.
    Reload(ReloadRequest),
    /// Accept nothing more and wait for the flows to end; answered with `Drained`.
    Drain(DrainRequest),
    /// What the last seconds say about why connections fail or are slow; answered with `Diagnosis`.
    Why(WhyRequest),
    /// Time the workers' turns for a while; answered with `ProfileReport`.
    Profile(ProfileRequest),
}

/// How to profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileRequest {
    /// For how long, in milliseconds, within [`PROFILE_MS`].
    pub duration_ms: u64,
    /// One of so many turns is timed stage by stage, from 1 to [`MAX_PROFILE_EVERY`].
    pub every: u32,
}

impl Default for ProfileRequest {
    fn default() -> Self {
        Self { duration_ms: 5_000, every: DEFAULT_PROFILE_EVERY }
    }
}

/// Which seconds to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhyRequest {
    /// How many of the last, from 1 to [`MAX_WHY_SECONDS`].
    pub seconds: u64,
}

impl Default for WhyRequest {
    fn default() -> Self {
        Self { seconds: 10 }
    }
}

/// Which flows to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowsRequest {
    /// How many at most, up to [`MAX_FLOWS_LIMIT`].
    pub limit: u32,
    /// Only those in this state, one of [`STATES`].
    pub state: Option<String>,
}

impl Default for FlowsRequest {
    fn default() -> Self {
        Self { limit: DEFAULT_FLOWS_LIMIT, state: None }
    }
}

/// What to reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadRequest {
    /// The file to read, instead of the one the server was started with. An absolute path.
    pub config: Option<PathBuf>,
    /// Listeners to have, instead of those in the file. Files of `http:FILE` as absolute paths.
    pub listen: Vec<String>,
    /// Source prefixes to deny, instead of those in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Source prefixes to allow, instead of those in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// How to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainRequest {
    /// How long to wait for the flows to end, in milliseconds, up to [`MAX_DRAIN_TIMEOUT_MS`].
    pub timeout_ms: u64,
}

impl Default for DrainRequest {
    fn default() -> Self {
        Self { timeout_ms: 30_000 }
    }
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not one line of JSON with a known command and its fields.
    Malformed,
    /// A version of the protocol that is not spoken here.
    Version,
    /// More bytes than a request may have.
    TooLong,
    /// The line did not arrive in time.
    TimedOut,
    /// Too many clients at once.
    Busy,
    /// Understood, but not possible; the message says why.
    Refused,
    /// The server ends.
    Stopping,
}

/// An error as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of error.
    pub code: ErrorCode,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl Refusal {
    /// An error of that kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Request {
    /// The request in a line.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Malformed`] or [`ErrorCode::Version`], with the reason.
    pub fn parse(line: &[u8]) -> Result<Request, Refusal> {
        let malformed = |reason: String| Refusal::new(ErrorCode::Malformed, reason);
        let mut value: Value = serde_json::from_slice(line).map_err(|error| malformed(format!("not JSON: {error}")))?;
        let object = value.as_object_mut().ok_or_else(|| malformed("not a JSON object".into()))?;
        match object.remove("v") {
            Some(version) if version == VERSION => {}
            Some(version) => {
                let message = format!("version {version} is not spoken here, only {VERSION}");
                return Err(Refusal::new(ErrorCode::Version, message));
            }
            None => return Err(malformed(format!("no version: \"v\":{VERSION} is missing"))),
        }
        let request: Request = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        request.check().map_err(malformed)
    }

    /// The request if its values are within their limits, else the reason.
    fn check(self) -> Result<Request, String> {
        match &self {
            Request::Flows(FlowsRequest { limit, .. }) if *limit > MAX_FLOWS_LIMIT => {
                Err(format!("limit {limit} is more than {MAX_FLOWS_LIMIT}"))
            }
            Request::Flows(FlowsRequest { state: Some(state), .. }) if !STATES.contains(&state.as_str()) => {
                Err(format!("state {state} must be one of {}", STATES.join(", ")))
            }
            Request::Drain(DrainRequest { timeout_ms }) if *timeout_ms > MAX_DRAIN_TIMEOUT_MS => {
                Err(format!("timeout_ms {timeout_ms} is more than {MAX_DRAIN_TIMEOUT_MS}"))
            }
            Request::Why(WhyRequest { seconds }) if !(1..=MAX_WHY_SECONDS).contains(seconds) => {
                Err(format!("seconds {seconds} must be from 1 to {MAX_WHY_SECONDS}"))
            }
            Request::Profile(ProfileRequest { duration_ms, .. }) if !PROFILE_MS.contains(duration_ms) => {
                Err(format!("duration_ms {duration_ms} must be from {} to {}", PROFILE_MS.start(), PROFILE_MS.end()))
            }
            Request::Profile(ProfileRequest { every, .. }) if !(1..=MAX_PROFILE_EVERY).contains(every) => {
                Err(format!("every {every} must be from 1 to {MAX_PROFILE_EVERY}"))
            }
            Request::Flows(_)
            | Request::Drain(_)
            | Request::Stats {}
            | Request::History {}
            | Request::Reload(_)
            | Request::Why(_)
            | Request::Profile(_) => Ok(self),
        }
    }

    /// The request as a line, without the line feed.
    pub fn line(&self) -> String {
        enveloped(serde_json::to_value(self))
    }
}

/// What an answer carries.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok(Value),
    Error(Refusal),
}

/// An answer as a line, without the line feed.
pub fn answer_line<T: Serialize>(outcome: Result<T, Refusal>) -> String {
    enveloped(match outcome {
        Ok(report) => serde_json::to_value(report).map(|report| serde_json::json!({ "ok": report })),
        Err(refusal) => serde_json::to_value(refusal).map(|refusal| serde_json::json!({ "error": refusal })),
    })
}

/// Puts the version in front.
fn enveloped(value: serde_json::Result<Value>) -> String {
    let value = value.expect("what is said here can be written as JSON");
    let mut envelope = serde_json::Map::from_iter([("v".to_owned(), VERSION.into())]);
    envelope.extend(value.as_object().cloned().unwrap_or_default());
    Value::Object(envelope).to_string()
}

/// The report, or the refusal, in a line of answer. The error says why it is no answer.
pub fn parse_answer<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<Result<T, Refusal>, String> {
    let mut value: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let object = value.as_object_mut().ok_or("not a JSON object")?;
    match object.remove("v") {
        Some(version) if version == VERSION => {}
        version => return Err(format!("version {} instead of {VERSION}", version.unwrap_or_default())),
    }
    match serde_json::from_value(value).map_err(|error| error.to_string())? {
        Outcome::Ok(report) => serde_json::from_value(report).map(Ok).map_err(|error| error.to_string()),
        Outcome::Error(refusal) => Ok(Err(refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::{Drained, Stats};
    use proptest::prelude::*;

    #[test]
    fn requests_are_one_line_with_the_version_in_front() {
        let requests = [
            (Request::Stats {}, r#"{"v":1,"cmd":"stats"}"#),
            (Request::History {}, r#"{"v":1,"cmd":"history"}"#),
            (
                Request::Flows(FlowsRequest { limit: 5, state: Some("TIME-WAIT".into()) }),
                r#"{"v":1,"cmd":"flows","limit":5,"state":"TIME-WAIT"}"#,
            ),
            (
                Request::Reload(ReloadRequest {
                    config: Some("/a".into()),
                    listen: vec!["80=http".into()],
                    ..ReloadRequest::default()
                }),
                r#"{"v":1,"cmd":"reload","config":"/a","listen":["80=http"]}"#,
            ),
            (
                Request::Reload(ReloadRequest { deny: vec!["::/0".into()], ..ReloadRequest::default() }),
                r#"{"v":1,"cmd":"reload","config":null,"listen":[],"deny":["::/0"]}"#,
            ),
            (Request::Drain(DrainRequest { timeout_ms: 7 }), r#"{"v":1,"cmd":"drain","timeout_ms":7}"#),
            (Request::Why(WhyRequest { seconds: 3 }), r#"{"v":1,"cmd":"why","seconds":3}"#),
            (
                Request::Profile(ProfileRequest { duration_ms: 100, every: 1 }),
                r#"{"v":1,"cmd":"profile","duration_ms":100,"every":1}"#,
            ),
        ];
        for (request, line) in requests {
            assert_eq!(request.line(), line);
            assert_eq!(Request::parse(line.as_bytes()), Ok(request));
        }
        assert_eq!(Request::parse(br#"{"cmd":"flows","v":1}"#), Ok(Request::Flows(FlowsRequest::default())));
        assert_eq!(Request::parse(br#"{"v":1,"cmd":"drain"}"#), Ok(Request::Drain(DrainRequest::default())));
    }

    #[test]
    fn each_mistake_in_a_request_is_answered_with_its_reason() {
        let mistakes = [
            ("", ErrorCode::Malformed, "not JSON"),
            ("stats", ErrorCode::Malformed, "not JSON"),
            ("[1]", ErrorCode::Malformed, "not a JSON object"),
            (r#"{"cmd":"stats"}"#, ErrorCode::Malformed, "\"v\":1 is missing"),
            (r#"{"v":2,"cmd":"stats"}"#, ErrorCode::Version, "version 2 is not spoken"),
            (r#"{"v":"1","cmd":"stats"}"#, ErrorCode::Version, "only 1"),
            (r#"{"v":1}"#, ErrorCode::Malformed, "cmd"),
            (r#"{"v":1,"cmd":"halt"}"#, ErrorCode::Malformed, "halt"),
            (r#"{"v":1,"cmd":"stats","x":1}"#, ErrorCode::Malformed, "unknown field `x`"),
            (r#"{"v":1,"cmd":"flows","limit":-1}"#, ErrorCode::Malformed, "-1"),
            (r#"{"v":1,"cmd":"flows","limit":10001}"#, ErrorCode::Malformed, "more than 10000"),
            (r#"{"v":1,"cmd":"flows","state":"OPEN"}"#, ErrorCode::Malformed, "state OPEN must be one of SYN-SENT"),
            (r#"{"v":1,"cmd":"drain","timeout_ms":3600001}"#, ErrorCode::Malformed, "more than 3600000"),
            (r#"{"v":1,"cmd":"why","seconds":61}"#, ErrorCode::Malformed, "must be from 1 to 60"),
            (r#"{"v":1,"cmd":"profile","duration_ms":99}"#, ErrorCode::Malformed, "must be from 100 to 600000"),
            (r#"{"v":1,"cmd":"profile","every":0}"#, ErrorCode::Malformed, "every 0 must be from 1 to 10000"),
        ];
        for (line, code, reason) in mistakes {
            let refusal = Request::parse(line.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, code, "{line}");
            assert!(refusal.message.contains(reason), "{line}: {}", refusal.message);
        }
    }

    #[test]
    fn answers_carry_a_report_or_a_refusal() {
        let line = answer_line(Ok(Drained { remaining: 3 }));
        assert_eq!(line, r#"{"v":1,"ok":{"remaining":3}}"#);
        assert_eq!(parse_answer(line.as_bytes()), Ok(Ok(Drained { remaining: 3 })));
        let refusal = Refusal::new(ErrorCode::TooLong, "why");
        let line = answer_line::<()>(Err(refusal.clone()));
        assert_eq!(line, r#"{"v":1,"error":{"code":"too_long","message":"why"}}"#);
        assert_eq!(parse_answer::<Drained>(line.as_bytes()), Ok(Err(refusal)));
        assert!(parse_answer::<Drained>(br#"{"v":2,"ok":{}}"#).unwrap_err().contains("version 2"));
        assert!(parse_answer::<Drained>(br#"{"v":1}"#).is_err());
        assert!(parse_answer::<Stats>(br#"{"v":1,"ok":{}}"#).unwrap_err().contains("version"));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..60), near in r#"\{("v":1,|"cmd":"flows",|"limit":[0-9]{1,12}|,|\}|\[){0,6}"#) {
            let _ = Request::parse(&line);
            let _ = Request::parse(near.as_bytes());
            let _ = parse_answer::<Stats>(&line);
        }
    }
}
