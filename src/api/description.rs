//! Words of the API's description that many endpoints share.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use super::parameters::MAX_LIMIT;
use super::time_range::Step;
use crate::event::MAX_ID_BYTES;
use crate::fold::Outcome;
use crate::store::query::{ExportFormat, ExportTable};

/// What no id holds: `/`, `#`, white space (Unicode's White_Space) and control characters (Cc).
const ID_PATTERN: &str = r"^[^/#\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$";

macro_rules! described {
    ($($(#[$doc:meta])* $name:ident: $schema:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

described! {
    /// A name of something: half an app's, a user, a group, a message (DESIGN.md section 2).
    Id: text()
        .description(Some("A name: 1 to 128 bytes of UTF-8 without `/`, `#`, white space and control characters."))
        .min_length(Some(1))
        .max_length(Some(MAX_ID_BYTES))
        .pattern(Some(ID_PATTERN));

    /// Where a list goes on.
    PageCursor: text()
        .description(Some(
            "A place in a list, as an answer gave it. What is in it is nobody's concern; one that was made up, or that \
             belongs to another list, is refused.",
        ))
        .min_length(Some(1))
        .pattern(Some("^[A-Za-z0-9_-]+$"));

    /// `chat` of a question.
    ChatWord: text().enum_values(Some(["single", "group"]));

    /// `step` of what is kept by the hour.
    StepOfHours: text().enum_values(Some(Step::WORDS_OF_HOURS.map(|(word, _)| word)));

    /// `table` of an export.
    ExportTableWord: text().enum_values(Some(ExportTable::WORDS.map(|(word, _)| word)));

    /// `format` of an export.
    ExportFormatWord: text()
        .enum_values(Some(ExportFormat::WORDS.map(|(word, _)| word)))
        .default(Some("ndjson".into()));

    /// The outcome of a refused record.
    Refusal: text().enum_values(Some(Outcome::ALL.iter().filter(|outcome| outcome.is_rejected()).map(|outcome| outcome.name())));

    /// `limit` as the vendor's clients send it: whatever they like, and they are never refused for it.
    VendorLimit: ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::String]))
        .default(Some(MAX_LIMIT.into()));
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
