"""Several kinds of credentials, any one of which proves a caller (floor 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tusserver.errors import Forbidden, TusError, Unauthenticated

if TYPE_CHECKING:
    from tusserver.caller import Caller
    from tusserver.gates import AccessRequest


class Proof(Protocol):
    """An authoriser that can tell whether a request brings what it looks at."""

    @property
    def needs_upload(self) -> bool:
        """Tell whether `AccessRequest.upload` is wanted."""

    def carries(self, access: AccessRequest) -> bool:
        """Tell whether the request brings this kind of credential."""

    async def authorize(self, access: AccessRequest) -> Caller:
        """Say who asks; see `Authorizer.authorize`."""


class Chain:
    """Asks the proofs whose credential came, in their order, until one accepts."""

    def __init__(self, *proofs: Proof) -> None:
        """Ask these."""
        self._proofs = proofs

    @property
    def needs_upload(self) -> bool:
        """Tell whether any of them wants the record."""
        return any(proof.needs_upload for proof in self._proofs)

    async def authorize(self, access: AccessRequest) -> Caller:
        """Say who asks; the first refusal is told when nobody accepts.

        Raises: Unauthenticated, Forbidden, and at once what else a proof raises.
        """
        refusal: TusError | None = None
        for proof in self._proofs:
            if proof.carries(access):
                try:
                    return await proof.authorize(access)
                except (Unauthenticated, Forbidden) as error:
                    refusal = refusal or error
        raise refusal or Unauthenticated
