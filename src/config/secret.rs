//! A text that must not be shown.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

/// What stands in place of a secret wherever one would be shown.
pub(super) const MASK: &str = "********";

/// Parts of librdkafka property names whose values must not be shown.
const SECRET_PROPERTY_PARTS: [&str; 8] =
    ["password", "passphrase", "secret", "token", "jaas", "private.key", "key.pem", "credential"];

/// Whether the value of a librdkafka property must not be shown.
pub(super) fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PROPERTY_PARTS.iter().any(|part| name.contains(part))
}

/// librdkafka properties as they may be shown: in order of their names, secret ones masked.
pub(super) fn shown_properties(properties: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    properties
        .iter()
        .map(|(name, value)| (name.as_str(), if is_secret_property(name) { MASK } else { value.as_str() }))
        .collect()
}

/// A password or token. It reads as text, but debug output and serialisation show a mask, so that no log line and no
/// printed configuration can give it away.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in clear.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text in clear.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { MASK }
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        self.expose()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), formatter)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}
