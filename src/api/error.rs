//! Everything that can go wrong, and its two forms on the wire.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::fold::Outcome;
use crate::store::StoreError;

/// Why a request is not answered with what it asked for.
///
/// As a response it is a bare status that carries itself along; `layers` gives it a body in the form that the path
/// speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// A parameter breaks a rule, which is told.
    InvalidRequest(String),
    /// No bearer token, or none that is known.
    Unauthorized,
    /// The policy lets only the sender see this list.
    NotSender,
    /// The policy lets only members see this list.
    NotMember,
    /// The caller's role does not reach this; who may is told.
    Forbidden(&'static str),
    /// The caller, his app, or all who have no good token, have asked too much.
    RateLimited {
        /// When the next request will be answered.
        retry_after_seconds: u64,
    },
    /// No such message in this app, or another app's.
    NotFound,
    /// No such app, or another one than the caller's.
    UnknownApp,
    /// The path leads nowhere.
    NoSuchPath,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The message has no known audience, so nobody is known not to have read it.
    AudienceUnknown,
    /// The message was taken back.
    Recalled,
    /// What is to be changed must be named (If-Match), or two writers would undo each other's work.
    PreconditionRequired,
    /// What is to be changed is not what the request names; the version there is now is told.
    PreconditionFailed(u64),
    /// The version written last has not come to the tables yet.
    PolicyPending,
    /// The range that is to be folded takes more than it may; how much is told.
    RangeTooLarge(String),
    /// What was in front of the range that is to be folded has been removed.
    HistoryGone,
    /// As many ranges as may be are being folded.
    WhatIfBusy,
    /// Folding a range took longer than `api.what_if.timeout_ms`.
    WhatIfTimedOut,
    /// The request's body is larger than `api.max_body_bytes`.
    PayloadTooLarge,
    /// The request's body is of a kind that is not read.
    UnsupportedMediaType,
    /// The request's headers are too large.
    HeadersTooLarge,
    /// It took longer than `api.timeout_ms`.
    TimedOut,
    /// ClickHouse does not answer.
    Unavailable,
    /// ClickHouse cut the question at one of the limits of `api.query`.
    QueryTooExpensive,
    /// As many exports as may be, of the app or of all, are under way.
    ExportsBusy,
    /// The keys of signed tokens cannot be had.
    KeysUnavailable,
    /// A defect, or a configuration that cannot work; the log has the reason.
    Internal,
    /// A refusal of the framework's with no name of its own here.
    Other(StatusCode),
}

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    problem_type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong with this request.
    detail: String,
    /// Name of the problem: an outcome's name, or one of the API's own.
    code: &'static str,
    /// What the vendor's client shows, where it knows the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'static str>,
    /// The vendor's number of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u16>,
}

/// A problem with one of many things asked for at once: a problem document without what is HTTP's.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ItemProblem {
    /// Name of the problem: an outcome's name, or one of the API's own.
    code: &'static str,
    /// What was wrong with this item.
    detail: String,
    /// What the vendor's client shows, where it knows the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'static str>,
    /// The vendor's number of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u16>,
}

/// The vendor's form of an error (WIRE.md section 1).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EasemobError {
    /// Name of the problem.
    error: &'static str,
    /// When it was met, in ms since 1970.
    timestamp: i64,
    /// How long the request took, in ms.
    duration: u64,
    /// Class of the problem.
    exception: String,
    /// What was wrong; the SDK hands it to the application.
    error_description: String,
    /// The vendor's number, by which the SDK tells cases apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<u32>,
}

/// What any question about an app's data can be answered instead: to be named among a handler's responses.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by the derived description alone")]
pub(crate) enum CommonProblems {
    /// A parameter breaks a rule (`invalid_request`).
    #[response(status = 400, content_type = "application/problem+json")]
    InvalidRequest(Problem),
    /// No good bearer token (`unauthorized`).
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The caller's role, or the app's policy, does not let him (`forbidden`, `not_member`).
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// Nothing of this name in the caller's app (`not_found`).
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// Too many requests of this token, or of its app (`rate_limited`); `Retry-After` says when to go on.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(Problem),
    /// The database does not answer in time (`unavailable`, `timed_out`), or the question takes too much of it
    /// (`query_too_expensive`); `Retry-After` says when to try again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

impl ApiError {
    /// The error that the framework meant by a bare status.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE => {
                Self::InvalidRequest("the request cannot be read".to_owned())
            }
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::NOT_FOUND => Self::NoSuchPath,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Self::TimedOut,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeadersTooLarge,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal,
            other => Self::Other(other),
        }
    }

    /// The status in seenby's own API. Never 406: the vendor's SDK does not settle on it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotSender | Self::NotMember | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownApp | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::AudienceUnknown | Self::HistoryGone => StatusCode::CONFLICT,
            Self::RangeTooLarge(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Recalled => StatusCode::GONE,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TimedOut
            | Self::Unavailable
            | Self::PolicyPending
            | Self::WhatIfBusy
            | Self::WhatIfTimedOut
            | Self::QueryTooExpensive
            | Self::ExportsBusy
            | Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Other(status) => *status,
        }
    }

    /// The name in `code`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::NotSender | Self::Forbidden(_) => "forbidden",
            Self::NotMember => Outcome::NotMember.name(),
            Self::NotFound | Self::UnknownApp | Self::NoSuchPath => Outcome::NotFound.name(),
            Self::RateLimited { .. } => "rate_limited",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::AudienceUnknown => "audience_unknown",
            Self::Recalled => Outcome::Recalled.name(),
            Self::PreconditionRequired => "precondition_required",
            Self::PreconditionFailed(_) => "precondition_failed",
            Self::PolicyPending => "policy_pending",
            Self::RangeTooLarge(_) => "range_too_large",
            Self::HistoryGone => "history_gone",
            Self::WhatIfBusy => "busy",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TimedOut | Self::WhatIfTimedOut => "timed_out",
            Self::Unavailable | Self::KeysUnavailable => "unavailable",
            Self::QueryTooExpensive => "query_too_expensive",
            Self::ExportsBusy => "exports_busy",
            Self::Internal => "internal",
            Self::Other(_) => "refused",
        }
    }

    fn detail(&self) -> String {
        let text = match self {
            Self::InvalidRequest(rule) => rule,
            Self::Unauthorized => {
                "a bearer token is needed (Authorization: Bearer …): there is none, or it is unknown or has expired"
            }
            Self::NotSender => "the app's policy lets only the sender of the message see its readers",
            Self::NotMember => "the app's policy lets only members of the group see its reader lists",
            Self::Forbidden(who) => who,
            Self::NotFound => "there is no such message in this app",
            Self::UnknownApp => "there is no such app",
            Self::NoSuchPath => "there is nothing at this path; /docs shows what there is, and /openapi.json lists it",
            Self::RateLimited { .. } => "too many requests; the header Retry-After says when the next one is answered",
            Self::MethodNotAllowed => "the path does not take this method; the header Allow names those it takes",
            Self::AudienceUnknown => {
                "who has not read is unknown: the group's roster was not known when the message was sent, or the \
                 message is not open for receipts"
            }
            Self::Recalled => "the message was taken back",
            Self::PreconditionRequired => {
                "If-Match: must name the latest_version that the change was made from, in quotes, or be *"
            }
            Self::PreconditionFailed(latest) => {
                return format!("If-Match: the latest version is \"{latest}\" by now; nothing was written");
            }
            Self::PolicyPending => {
                "the policy written last has not come to the tables yet: workers have to meet it first; try again"
            }
            Self::RangeTooLarge(how) => how,
            Self::HistoryGone => {
                "the tables no longer hold what was in front of the range, which was removed after the retention time; \
                 ask for a later one"
            }
            Self::WhatIfBusy => "as many ranges as may be are being folded; try again",
            Self::WhatIfTimedOut => {
                "folding the range took longer than api.what_if.timeout_ms; ask for a shorter one, or for one group"
            }
            Self::PayloadTooLarge => "the request's body is larger than this service reads",
            Self::UnsupportedMediaType => "the body must be JSON, sent with the header Content-Type: application/json",
            Self::HeadersTooLarge => "the request's headers are larger than this service reads",
            Self::TimedOut => "the answer was not ready in time; try again",
            Self::Unavailable => "the database does not answer; try again",
            Self::QueryTooExpensive => {
                "the question takes more of the database than one question may; ask for less at once, or later"
            }
            Self::ExportsBusy => "as many exports as may be, of this app or of all, are under way; try again",
            Self::KeysUnavailable => "the keys that tokens are checked with cannot be had; try again",
            Self::Internal => "the request met a defect; the log has the reason under the request's id",
            Self::Other(_) => "the request was refused",
        };
        text.to_owned()
    }

    /// After how many seconds to try again; `None` where the same request would only fail again.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TimedOut | Self::Unavailable | Self::PolicyPending | Self::KeysUnavailable => Some(1),
            Self::WhatIfBusy | Self::ExportsBusy => Some(5),
            // What was too much is too much a moment later as well; merges and quieter hours may change that.
            Self::QueryTooExpensive | Self::WhatIfTimedOut => Some(30),
            Self::RateLimited { retry_after_seconds } => Some(*retry_after_seconds),
            _ => None,
        }
    }

    /// The problem document.
    pub(crate) fn problem(&self) -> Problem {
        let status = self.status();
        let client_error = match self {
            Self::NotFound => Outcome::NotFound.client_error(),
            _ => None,
        };
        Problem {
            problem_type: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: self.detail(),
            code: self.code(),
            words: client_error.map(|client_error| client_error.words),
            number: client_error.map(|client_error| client_error.code),
        }
    }

    /// The same about one of many things asked for at once.
    pub(crate) fn item_problem(&self) -> ItemProblem {
        let Problem { code, detail, words, number, .. } = self.problem();
        ItemProblem { code, detail, words, number }
    }

    /// The vendor's status, number and description: what its SDK looks at.
    fn easemob(&self) -> (StatusCode, Option<u32>, String) {
        match self {
            // These words alone make the SDK say "token expired or wrong" (its type 52).
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, None, "Unable to authenticate (OAuth)".to_owned()),
            Self::NotSender => {
                let words = Outcome::PermissionDenied.client_error().map_or("", |client_error| client_error.words);
                (StatusCode::FORBIDDEN, Some(60_002), words.to_owned())
            }
            Self::NotMember => (StatusCode::NOT_FOUND, Some(60_003), self.detail()),
            // These words make the SDK say "limit reached" (its type 50), any others "server is busy".
            Self::RateLimited { .. } => (self.status(), None, "The request has reached the maximum limit".to_owned()),
            _ => (self.status(), None, self.detail()),
        }
    }

    /// The whole response in seenby's own form.
    pub(crate) fn into_problem_response(self) -> Response {
        let mut response = (self.status(), Json(self.problem())).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }

    /// The whole response in the vendor's form.
    pub(crate) fn into_easemob_response(self, duration_millis: u64) -> Response {
        let (status, error_code, error_description) = self.easemob();
        let body = EasemobError {
            error: self.code(),
            timestamp: super::now().millis(),
            duration: duration_millis,
            exception: format!("seenby.{}", self.code()),
            error_description,
            error_code,
        };
        (status, Json(body)).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooSlow { .. } => {
                tracing::warn!(%error, "a question was cut");
                Self::TimedOut
            }
            StoreError::TooExpensive { .. } => {
                tracing::warn!(%error, "a question was cut");
                Self::QueryTooExpensive
            }
            _ if error.is_retryable() => {
                tracing::warn!(%error, "a question could not be answered");
                Self::Unavailable
            }
            _ => {
                tracing::error!(%error, "a question cannot be answered");
                Self::Internal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_becomes_406() {
        for code in 400..600 {
            let status = StatusCode::from_u16(code).unwrap_or_default();
            let error = ApiError::from_status(status);
            assert_ne!(error.status(), StatusCode::NOT_ACCEPTABLE);
            assert_ne!(error.easemob().0, StatusCode::NOT_ACCEPTABLE);
        }
    }
}
