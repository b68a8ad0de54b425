"""What a JSON Schema cannot say of the API's rules: questions and answers that schemathesis would take for mistakes."""

import json
import re
import unicodedata
from urllib.parse import unquote

import schemathesis

# Rules between two parts of a question, as the API names them. A refusal for one of them is right, though each part by
# itself is as the description says.
RULES_BETWEEN_PARTS = (
    "from: must be before to",
    "from: must not be after to",
    "a range of at most",
    "from: must be at most",
    "group: does not go with chat=single",
    "kind: groups have delays of read alone",
    "kind: delays of conversation_read are kept by the hour",
)
# A date of the calendar and a zone of the IANA database, which no pattern knows.
NO_SUCH_NAME = ("day: must be a date", "must be the name of an IANA zone")
# Limits are written as integers: to JSON Schema 5.0 is one, too.
INTEGER_WITH_A_POINT = re.compile(r"must be an integer (of \w+ )?from \d+ to \d+, got \d+\.0$")
# A cursor is an answer's; whatever schemathesis makes up is none of this list.
NO_SUCH_CURSOR = ("cursor: ", "since: ")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Puts the schemas of parameters in their places: schemathesis 4.32 breaks off at a dictionary for one that is named."""
    schemas = raw_schema["components"]["schemas"]
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = in_place(parameter["schema"], schemas)


def in_place(schema, schemas):
    if isinstance(schema, dict):
        if "$ref" in schema:
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            return {**in_place(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas), **rest}
        return {name: in_place(part, schemas) for name, part in schema.items()}
    return [in_place(part, schemas) for part in schema] if isinstance(schema, list) else schema


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Keeps what is a finding."""
    if response.status_code == 503 and told(response).get("code") == "policy_pending":
        # Two changes of the policy in quick succession: a worker has not met the first one yet. The answer says so.
        return "retry-after" not in response.headers
    if failure.code == "ST202" and response.status_code == 400:
        detail = told(response).get("detail", "")
        known = (*RULES_BETWEEN_PARTS, *NO_SUCH_NAME, *NO_SUCH_CURSOR)
        is_known = any(rule in detail for rule in known)
        is_point = "must be an integer" in detail and any(isinstance(part, float) for part in parts_of(case))
        is_odd = "must be an id" in detail and any(is_odd_id(part) for part in parts_of(case))
        return not (is_known or is_point or is_odd or INTEGER_WITH_A_POINT.search(detail))
    if failure.code == "ST201" and case.operation.definition.raw.get("operationId") == "query_receipts":
        # A mistake in one item leaves the others their answers: the item has the refusal.
        items = told(response).get("items", [])
        return not any(item.get("error", {}).get("code") == "invalid_request" for item in items)
    return True


def parts_of(case):
    """Every value in the question."""
    parts = [case.path_parameters, case.query, case.body]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)
        else:
            yield part


def is_odd_id(part):
    """Ids are counted in bytes, and no white space or control character of Unicode is in them; JSON Schema counts characters,
    and what its patterns take for white space is each implementation's own."""
    if not isinstance(part, str):
        return False
    # Parts of a path are written as they are sent.
    text = unquote(part)
    is_long = len(text) <= 128 < len(text.encode("utf-8", "surrogatepass"))
    return is_long or any(character.isspace() or unicodedata.category(character) == "Cc" for character in text)


def told(response):
    try:
        answer = json.loads(response.content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
