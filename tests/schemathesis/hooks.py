"""What a JSON Schema cannot say of the API's rules: questions and answers that schemathesis would take for mistakes."""

import json
import re

import schemathesis

# Rules between two parts of a question, as the API names them. A refusal for one of them is right, though each part by
# itself is as the description says.
RULES_BETWEEN_PARTS = (
    "from: must be before to",
    "from: must not be after to",
    "a range of at most",
    "group: does not go with chat=single",
    "kind: groups have delays of read alone",
    "kind: delays of conversation_read are kept by the hour",
)
# A date of the calendar, and not only of its pattern.
NO_SUCH_DATE = "day: must be a date"
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
        known = (*RULES_BETWEEN_PARTS, NO_SUCH_DATE, *NO_SUCH_CURSOR)
        is_known = any(rule in detail for rule in known) or INTEGER_WITH_A_POINT.search(detail)
        return not (is_known or ("must be an id" in detail and has_long_id(case)))
    if failure.code == "ST201" and case.operation.definition.raw.get("operationId") == "query_receipts":
        # A mistake in one item leaves the others their answers: the item has the refusal.
        items = told(response).get("items", [])
        return not any(item.get("error", {}).get("code") == "invalid_request" for item in items)
    return True


def has_long_id(case):
    """Ids are counted in bytes; JSON Schema counts characters."""
    parts = [case.path_parameters, case.query, case.body]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)
        elif isinstance(part, str) and len(part) <= 128 < len(part.encode("utf-8", "surrogatepass")):
            return True
    return False


def told(response):
    try:
        answer = json.loads(response.content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
