"""What every view's entry in the API's description says of its problems."""

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import OpenApiResponse

from accounts.api.serializers import ProblemSerializer
from ledger.problems import PROBLEM_TYPE

_MEANINGS: Final[Mapping[int, str]] = {
    400: "Something in the request needs attention; errors name the fields.",
    401: "Not signed in.",
    403: "The role does not allow this.",
    404: "There is no such thing for this caller.",
    409: "Not in the present state.",
    413: "The body is too large.",
    415: "Send JSON.",
    424: "Something that the capability needs is not connected.",
    429: "A quota or a rate is used up.",
    502: "The agent did not answer properly.",
    503: "Something that this needs does not answer right now.",
    504: "The agent did not answer in time.",
}
_PUBLIC: Final = (400, 404)
_SIGNED_IN: Final = (401, 403)
_WITH_BODY: Final = (413, 415)


def answers(
    status: int, success: Any, *others: int, body: bool = True, public: bool = False
) -> dict[Any, Any]:
    """Return the ``responses`` of a view: ``success`` and every problem that it may answer.

    ``others`` are statuses beyond those of every view, ``body`` tells whether it reads one, and
    ``public`` that nobody has to be signed in.
    """
    shared = (*_PUBLIC, *(() if public else _SIGNED_IN), *(_WITH_BODY if body else ()))
    problems = {
        (code, PROBLEM_TYPE): OpenApiResponse(ProblemSerializer, description=_MEANINGS[code])
        for code in sorted({*shared, *others})
    }
    return {status: success, **problems}
